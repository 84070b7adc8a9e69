"""What the values of a config may be that no class of their own refuses, said before any work starts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wsdet.types import InputError


@dataclass(frozen=True)
class Range:
    """Numbers that a value may be.

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


def _whole(least: int, or_null: bool = False) -> Range:
    return Range(least, whole=True, or_null=or_null)


_SHARE = Range(0, 1)
_LEARNING = {"learning_rate": Range(0, above=True), "weight_decay": Range(0)}

# by place in the config of whichever program has it
RANGES = {
    **{name: _whole(0) for name in ("limit", "seed", "workers", "visualize", "top_k", "draw", "resamples")},
    **{name: _whole(1) for name in ("batch_size", "in_flight", "every")},
    "min_score": Range(or_null=True),
    "draw_above": Range(),
    "network.input_size": _whole(32, or_null=True),
    **{f"network.training.{name}": _whole(1) for name in ("epochs", "batch_size")},
    **{f"network.training.{name}": allowed for name, allowed in _LEARNING.items()},
    "network.training.min_crop": Range(0, 1, above=True),
    "network.training.jitter": _SHARE,
    "network.training.masked": _SHARE,
    "network.training.validation": Range(0, 1, below=True),
    **{f"region_classifier.{name}": _whole(1) for name in ("heads", "epochs", "batch_size")},
    **{f"region_classifier.{name}": allowed for name, allowed in _LEARNING.items()},
    "region_classifier.share": Range(0, 1, above=True),
    **{f"box_regressor.{name}": _whole(1) for name in ("map_side", "epochs", "patience")},
    **{f"detector.{name}": _whole(1) for name in ("top_k", "max_rows", "max_per_class")},
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
            raise InputError(f"{name}: {argument} must be {described}, got {value!r}")


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
