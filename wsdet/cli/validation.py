"""What the settings of a config may be that no class of theirs checks: those of conf/base.yaml and of the programs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wsdet import check
from wsdet.storage.shard import Shard
from wsdet.tiles import Tiling
from wsdet.types import InputError

Check = Callable[..., None]  # takes values by name; see `wsdet.check`

_flag = partial(check.one_of, (True, False))
_number = partial(check.within, "(-inf, inf)")
_count = partial(check.at_least, 0)


def _text(**arguments: object) -> None:
    for name, value in arguments.items():
        if not isinstance(value, str):
            raise InputError(f"{name} must be text, in quotes where it looks like a number, got {value!r}")
        if not value.strip():
            raise InputError(f"{name} must not be empty; {name}=. is the current folder")


def _device(**arguments: object) -> None:
    _text(**arguments)
    for name, value in arguments.items():
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)):
            raise InputError(f"{name} must be auto, cpu, cuda or cuda:NUMBER, got {value!r}")


def _or_null(one: Check, /, **arguments: object) -> None:
    one(**{name: value for name, value in arguments.items() if value is not None})


def _shard(**arguments: object) -> None:
    for value in arguments.values():
        if value is not None:
            Shard.of_text(str(value), Path())


def _tile(**arguments: object) -> None:
    for value in arguments.values():
        Tiling.of(value, Tiling.overlap)  # type: ignore[arg-type]


def _seed(**arguments: object) -> None:
    """What all generators of random numbers take."""
    _count(**arguments)
    for name, value in arguments.items():
        if isinstance(value, int) and value >= 2**32:
            raise InputError(f"{name} must be below 2^32 = {2**32}, got {value}")


def _list_of(one: Check, /, **arguments: object) -> None:
    for name, value in arguments.items():
        if not isinstance(value, list):
            raise InputError(f"{name} must be a list, [A,B], got {value!r}")
        one(**{f"{name}[{index}]": entry for index, entry in enumerate(value)})


def _one_or_list_of(one: Check, /, **arguments: object) -> None:
    for name, value in arguments.items():
        (partial(check.each, one) if isinstance(value, list) else one)(**{name: value})


def _stores(**arguments: object) -> None:
    """Box stores: a path, a list of them, or paths by name; or none."""
    for name, value in arguments.items():
        if isinstance(value, list | dict):
            check.each(_text, **{name: value})
        elif value is not None:
            _text(**{name: value})


# By place in the config of whichever program has it. What a class owns (`_target_`) is checked by that class.
SETTINGS: dict[str, Check] = {
    **dict.fromkeys(("limit", "workers", "visualize", "verdict", "draw", "resamples", "judge", "port"), _count),
    "top_k": partial(_or_null, _count),
    "seed": _seed,
    **dict.fromkeys(("batch_size", "in_flight", "every"), partial(check.at_least, 1)),
    **dict.fromkeys(("strict", "masks", "report", "prepare"), _flag),
    "shard": _shard,
    "device": _device,
    **dict.fromkeys(("images", "shared", "logger"), _text),
    **dict.fromkeys(("model", "corrections", "run", "background"), partial(_or_null, _text)),
    **dict.fromkeys(("budget", "sample"), partial(check.at_least, 1)),
    **dict.fromkeys(("trust", "serve"), _flag),
    **dict.fromkeys(("boxes", "proposal_stores", "detections"), _stores),
    **dict.fromkeys(("runs", "show", "export", "localizers", "networks"), partial(_list_of, _text)),
    "compare_with": partial(_list_of, _text),
    "incremental": partial(check.one_of, (True, False, "auto")),
    "precision": partial(check.one_of, ("auto", "float32", "bfloat16", "float16")),
    "task": partial(check.one_of, ("experiment", "classifier", "box_regressor", "self_training")),
    "split": partial(check.one_of, ("train", "test", None)),
    "tile": _tile,
    "tile_overlap": partial(check.within, "[0, 0.9]"),
    "published": partial(_or_null, _text),
    "n_boxes": partial(_one_or_list_of, _count),
    "min_score": partial(_or_null, _number),
    "draw_above": partial(_or_null, _number),
}

OPTIONS = ("network", "region_classifier", "box_regressor")  # classes that need no torch: built before any work


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
    return " or ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else _PLAIN[hint]
