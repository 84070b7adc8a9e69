"""What the settings of a config may be, where no class of theirs is there to refuse them before work starts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from wsdet.types import InputError


class Allowed(Protocol):
    """Values that a setting may have; as text, what they are."""

    def __contains__(self, value: object) -> bool: ...


@dataclass(frozen=True)
class Range:
    """Numbers.

    Attributes:
        least: the smallest of them; with `above`, they are all larger.
        most: the largest of them; with `below`, they are all smaller.
        above: whether `least` itself is left out.
        below: whether `most` itself is left out.
        whole: whether only whole numbers are allowed.
        or_null: whether there may be no value.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    or_null: bool = False

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.or_null
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return (
            math.isfinite(value)
            and (value > self.least if self.above else value >= self.least)
            and (value < self.most if self.below else value <= self.most)
        )

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isfinite(self.most):
            kind += f" in {'(' if self.above else '['}{self.least:g}, {self.most:g}{')' if self.below else ']'}"
        elif math.isfinite(self.least):
            kind += f" {'above' if self.above else 'of at least'} {self.least:g}"
        return f"{kind} or null" if self.or_null else kind


@dataclass(frozen=True)
class OneOf:
    """Some values, and no others.

    Attributes:
        values: as they are written in a config.
    """

    values: tuple[str | bool | None, ...]

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str | bool | NoneType) and value in self.values

    def __str__(self) -> str:
        *others, last = (_WRITTEN.get(value, str(value)) for value in self.values)
        return f"{', '.join(others)} or {last}"


@dataclass(frozen=True)
class Text:
    """Text: names and paths.

    Attributes:
        or_null: whether there may be none.
    """

    or_null: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) or (self.or_null and value is None)

    def __str__(self) -> str:
        return "text, in quotes where it looks like a number" + (", or null" if self.or_null else "")


@dataclass(frozen=True)
class ListOf:
    """A list.

    Attributes:
        one: what each of its entries may be.
        or_one: whether an entry may stand alone.
    """

    one: Allowed
    or_one: bool = False

    def __contains__(self, value: object) -> bool:
        return all(one in self.one for one in value) if isinstance(value, list) else self.or_one and value in self.one

    def __str__(self) -> str:
        return f"{self.one}, or a list of such" if self.or_one else f"a list, [A,B], each {self.one}"


@dataclass(frozen=True)
class Stores:
    """Box stores: a path, a list of them, or paths by name; or none."""

    def __contains__(self, value: object) -> bool:
        paths = list(value.values()) if isinstance(value, dict) else value
        return paths is None or paths in ListOf(Text(), or_one=True)

    def __str__(self) -> str:
        return "a store, [STORE,STORE], {name: STORE, ...} or null"


def _whole(least: int, or_null: bool = False) -> Range:
    return Range(least, whole=True, or_null=or_null)


_WRITTEN: dict[str | bool | None, str] = {True: "true", False: "false", None: "null"}
_SHARE = Range(0, 1)
_FLAG = OneOf((True, False))
_LEARNING = {"learning_rate": Range(0, above=True), "weight_decay": Range(0)}
_DETECTORS = ("pseudo", "ground_truth", "center_box")

# By place in the config of whichever program has it. Choices that a stage defines are written again here: importing the
# stages would load torch before `--help`; a test holds them equal.
SETTINGS: dict[str, Allowed] = {
    **dict.fromkeys(("limit", "seed", "workers", "visualize", "top_k", "draw", "resamples"), _whole(0)),
    **dict.fromkeys(("batch_size", "in_flight", "every"), _whole(1)),
    **dict.fromkeys(("strict", "masks", "report"), _FLAG),
    **dict.fromkeys(("device", "model", "images", "shared"), Text()),
    **dict.fromkeys(("boxes", "proposal_stores", "detections"), Stores()),
    **dict.fromkeys(("runs", "show", "export"), ListOf(Text())),
    "incremental": OneOf((True, False, "auto")),
    "precision": OneOf(("auto", "float32", "bfloat16", "float16")),
    "task": OneOf(("experiment", "classifier", "box_regressor")),
    "split": OneOf(("train", "test", None)),
    "published": Text(or_null=True),
    "n_boxes": ListOf(_whole(0), or_one=True),
    "min_score": Range(or_null=True),
    "draw_above": Range(),
    "network.input_size": _whole(32, or_null=True),
    "network.weights": Text(or_null=True),
    "network.head": OneOf(("pretrained", "finetune")),
    "network.activation": OneOf(("softmax", "sigmoid")),
    **dict.fromkeys(("network.training.epochs", "network.training.batch_size"), _whole(1)),
    **{f"network.training.{name}": allowed for name, allowed in _LEARNING.items()},
    "network.training.head_only": _FLAG,
    "network.training.min_crop": Range(0, 1, above=True),
    "network.training.jitter": _SHARE,
    "network.training.masked": _SHARE,
    "network.training.validation": Range(0, 1, below=True),
    **dict.fromkeys(("region_classifier.heads", "region_classifier.epochs", "region_classifier.batch_size"), _whole(1)),
    **{f"region_classifier.{name}": allowed for name, allowed in _LEARNING.items()},
    "region_classifier.share": Range(0, 1, above=True),
    **dict.fromkeys(("box_regressor.map_side", "box_regressor.epochs", "box_regressor.patience"), _whole(1)),
    "box_regressor.mirror": _FLAG,
    "box_regressor.budget": OneOf(("class", "total")),
    "box_regressor.channels": OneOf(("max", "sum")),
    "box_regressor.loss": OneOf(("squared", "overlap")),
    "box_regressor.per_class": OneOf(("nothing", "bias", "map", "auto")),
    **dict.fromkeys(("detector.top_k", "detector.max_rows", "detector.max_per_class"), _whole(1)),
    "detector.train_on": ListOf(OneOf(_DETECTORS)),
    "detector.weighting": OneOf(("none", "keep", "ignore", "weight")),
    "detector.solver": OneOf(("newton_cg", "liblinear")),
    "detector.box_regression": _FLAG,
    "detector.agree_with": ListOf(Text()),
    "detector.max_per_image": _whole(0),
    "detector.cache_gigabytes": Range(0),
    "detector.doubtful_below": _SHARE,
    "detector.nms_iou": _SHARE,
}


def check_arguments(target: Callable[..., Any], values: dict[str, Any], name: str) -> None:
    """Whether plain values have the types that `target` says it takes.

    Looked at are numbers, text, truth values and choices; what is made of others is left to the target.

    Args:
        target: a class or function with annotations.
        values: by argument.
        name: of the node of the config that they come from.

    Raises:
        InputError: a value has another type; the message names it, what is allowed and what came.
    """
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # of a type that is imported for type checkers alone
        return
    for argument, value in values.items():
        allowed = list(_alternatives(hints.get(argument, Any)))
        if all(map(_is_plain, allowed)) and not any(_fits(value, one) for one in allowed):
            described = " or ".join(map(_described, allowed))
            raise InputError(f"{name}.{argument} must be {described}, got {value!r}")


_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


def _alternatives(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _is_plain(hint: Any) -> bool:
    return hint in _PLAIN or get_origin(hint) is Literal


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _described(hint: Any) -> str:
    return " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else _PLAIN[hint]
