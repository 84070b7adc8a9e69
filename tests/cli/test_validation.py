"""Values of configs are held to what they may be, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from wsdet.cli.entry_point import CONF, compose
from wsdet.cli.validation import SETTINGS, check_arguments
from wsdet.networks.classifier import PRECISIONS
from wsdet.types import InputError

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.mark.parametrize(
    ("name", "inside", "outside", "says"),
    [
        ("limit", [0, 7], [-1, 1.5, True, "1", None, [1]], "must be a whole number of at least 0"),
        ("batch_size", [1], [0], "must be a whole number of at least 1"),
        ("draw_above", [-0.6, 3, None], [math.nan, math.inf, "x"], "must be a number in"),
        ("min_score", [None, -5], ["x", math.nan], "must be a number in"),
        ("strict", [True, False], [1, "true", None], "must be true or false"),
        ("incremental", [True, "auto"], [1, "true", None], "must be true, false or auto"),
        ("split", ["train", None], ["validation", 0], "must be train, test or null"),
        ("device", ["cuda:1"], [3, None, ["a"]], "must be text, in quotes where it looks like a number"),
        ("device", [], ["", "  "], "must not be empty"),
        ("runs", [[], ["a"]], ["a", None], r"must be a list, \[A,B\]"),
        ("show", [["a"]], [[1]], r"\[0\] must be text"),
        ("n_boxes", [3, [3, 4]], ["x"], "must be a whole number of at least 0"),
        ("n_boxes", [], [[3, -1]], r"\[1\] must be a whole number of at least 0"),
        ("n_boxes", [], [[]], "must have at least one entry"),
        ("boxes", [None, "a", ["a", "b"], {"n": "a"}], [3], "must be text"),
        ("boxes", [], [{"n": 3}], r"\[n\] must be text"),
    ],
)
def test_settings_without_a_class_are_checked_by_name(
    name: str, inside: list[Any], outside: list[Any], says: str
) -> None:
    for value in inside:
        SETTINGS[name](**{name: value})
    for value in outside:
        with pytest.raises(InputError, match=f"^{name} ?{says}"):
            SETTINGS[name](**{name: value})


@pytest.mark.slow
def test_every_entry_is_of_a_setting_that_a_program_has() -> None:
    programs = {
        "train": [],
        "detect": ["model=m", "images=i", "out=o"],
        "export": ["boxes=b", "format=coco"],
        "evaluate": ["boxes=b"],
        "localize": [],
        "compare": ["runs=[a]"],
        "review": ["run=r"],
        "improve": ["run=r", "out=o"],
        "choose": [],
    }
    configs = [compose(program, overrides) for program, overrides in programs.items()]
    for name in SETTINGS:
        assert any(name in cfg for cfg in configs), name


def test_precisions_are_those_of_the_network() -> None:
    for precision in ("auto", *PRECISIONS):
        SETTINGS["precision"](precision=precision)
    with pytest.raises(InputError, match="precision must be auto, "):
        SETTINGS["precision"](precision="float8")


@pytest.mark.slow
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
        ({"kind": "c"}, "node.kind must be a or b or null, got 'c'"),
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
