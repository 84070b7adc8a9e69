"""Values of configs are held to what they may be, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest
from omegaconf import OmegaConf

from wsdet.cli.entry_point import CONF, compose
from wsdet.cli.validation import SETTINGS, Allowed, ListOf, OneOf, Range, Stores, Text, check_arguments
from wsdet.detectors.rcnn.confidence import WEIGHTINGS
from wsdet.detectors.rcnn.svm import solver_named
from wsdet.linear_models.box_regressor import Channels
from wsdet.networks.classifier import PRECISIONS
from wsdet.training.box_examples import Budget
from wsdet.training.box_regressor import Loss, PerClass
from wsdet.types import InputError

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "says"),
    [
        (Range(1, whole=True), [1, 7], [0, 1.5, True, "1", None], "a whole number of at least 1"),
        (Range(0, above=True), [1e-9, 3], [0, -1, math.nan, math.inf], "a number above 0"),
        (Range(0, 1), [0, 0.5, 1], [-0.1, 1.1, False], "a number in [0, 1]"),
        (Range(0, 1, above=True), [0.1, 1], [0], "a number in (0, 1]"),
        (Range(0, 1, below=True), [0, 0.9], [1], "a number in [0, 1)"),
        (Range(or_null=True), [None, -5], ["x"], "a number or null"),
        (OneOf((True, False, "auto")), [True, "auto"], [1, "true", None, []], "true, false or auto"),
        (OneOf(("train", None)), ["train", None], ["test", 0], "train or null"),
        (Text(), ["", "a/b"], [3, None, ["a"]], "text, in quotes where it looks like a number"),
        (
            ListOf(Text()),
            [[], ["a"]],
            ["a", [1], None],
            "a list, [A,B], each text, in quotes where it looks like a number",
        ),
        (ListOf(Range(), or_one=True), [3, [3, 4]], ["x", ["x"]], "a number, or a list of such"),
        (
            Stores(),
            [None, "a", ["a", "b"], {"n": "a"}],
            [3, [3], {"n": 3}],
            "a store, [STORE,STORE], {name: STORE, ...} or null",
        ),
    ],
)
def test_what_is_allowed_is_what_it_says(allowed: Allowed, inside: list[Any], outside: list[Any], says: str) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)
    assert str(allowed) == says


def test_every_entry_is_of_a_setting_that_a_program_has() -> None:
    programs = {
        "train": [],
        "detect": ["model=m", "images=i", "out=o"],
        "export": ["boxes=b", "format=coco"],
        "evaluate": ["boxes=b"],
        "localize": [],
        "compare": ["runs=[a]"],
    }
    configs = [compose(program, overrides) for program, overrides in programs.items()]
    nothing = object()
    for name in SETTINGS:
        parent, _, key = name.rpartition(".")
        nodes = [OmegaConf.select(cfg, parent) if parent else cfg for cfg in configs]
        assert any(node is not None and node.get(key, nothing) is not nothing for node in nodes), name


def test_choices_are_those_of_the_stages() -> None:
    assert SETTINGS["precision"] == OneOf(("auto", *PRECISIONS))
    assert SETTINGS["detector.weighting"] == OneOf(tuple(WEIGHTINGS))
    assert SETTINGS["box_regressor.budget"] == OneOf(get_args(Budget))
    assert SETTINGS["box_regressor.channels"] == OneOf(get_args(Channels))
    assert SETTINGS["box_regressor.loss"] == OneOf(get_args(Loss))
    assert SETTINGS["box_regressor.per_class"] == OneOf((*get_args(PerClass), "auto"))
    solvers = SETTINGS["detector.solver"]
    assert isinstance(solvers, OneOf)
    assert all(solver_named(str(name)) for name in solvers.values)


@pytest.mark.parametrize("path", sorted((CONF / "network").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_defaults_are_allowed(path: Path) -> None:
    compose("train", [f"network={path.stem}"])


class Target:
    def __init__(
        self,
        count: int,
        share: float = 0.5,
        name: str | None = None,
        is_on: bool = False,
        kind: Literal["a", "b"] | None = "a",
        sizes: Sequence[int] = (),
        path: Path | str | None = None,
    ) -> None: ...


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"count": 3},
        {"share": 1},
        {"share": 0.1},
        {"name": None},
        {"name": "x"},
        {"is_on": True},
        {"kind": "b"},
        {"kind": None},
        {"sizes": "left to the target", "path": 3, "unknown": 3},
    ],
    ids=str,
)
def test_values_of_the_right_type_pass(values: dict[str, Any]) -> None:
    check_arguments(Target, values, "node")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1.5}, "node.count must be a whole number, got 1.5"),
        ({"count": True}, "node.count must be a whole number, got True"),
        ({"share": "much"}, "node.share must be a number, got 'much'"),
        ({"share": None}, "node.share must be a number, got None"),
        ({"name": 3}, "node.name must be text or null, got 3"),
        ({"is_on": 1}, "node.is_on must be true or false, got 1"),
        ({"kind": "c"}, "node.kind must be 'a' or 'b' or null, got 'c'"),
    ],
    ids=lambda value: str(value) if isinstance(value, Mapping) else "",
)
def test_a_value_of_another_type_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_arguments(Target, values, "node")
    assert str(caught.value) == message


def test_classes_without_readable_annotations_check_for_themselves() -> None:
    class Plain: ...

    def takes(value: Decimal) -> None: ...

    check_arguments(Plain, {"value": 3}, "node")
    check_arguments(takes, {"value": 3}, "node")
