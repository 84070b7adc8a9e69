"""What arguments may be: one wording, one error. `check.at_least(1, epochs=epochs, patience=patience)`.

Constructors call these functions; the programs put the argument's place in the config before the message
(`wsdet.cli.build.build`): `localizer.k must be a whole number of at least 1, got 0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from wsdet.types import InputError

_WRITTEN: dict[object, str] = {True: "true", False: "false", None: "null"}  # as in a config


def at_least(least: float, /, **arguments: object) -> None:
    """Numbers of at least `least`; whole numbers where that is an `int`.

    >>> at_least(0.0, weight=0.5)
    >>> at_least(1, epochs=0)
    Traceback (most recent call last):
    wsdet.types.InputError: epochs must be a whole number of at least 1, got 0

    Raises:
        InputError: an argument is something else.
    """
    kind, described = (Integral, "a whole number") if isinstance(least, int) else (Real, "a number")
    _require(f"{described} of at least {least:g}", lambda value: _is(kind, value) and value >= least, arguments)


def positive(**arguments: object) -> None:
    """Numbers above 0.

    Raises:
        InputError: an argument is something else.
    """
    _require("a number above 0", lambda value: _is(Real, value) and value > 0, arguments)


def within(interval: str, /, **arguments: object) -> None:
    """Numbers in an interval, as it is written in mathematics.

    >>> within("[0, 1)", validation=1.0)
    Traceback (most recent call last):
    wsdet.types.InputError: validation must be a number in [0, 1), got 1.0

    Raises:
        InputError: an argument is something else.
    """
    low, high = map(float, interval[1:-1].split(","))

    def is_inside(value: Any) -> bool:
        above = low < value or (interval[0] == "[" and value == low) if _is(Real, value) else False
        return above and (value < high or (interval[-1] == "]" and value == high))

    _require(f"a number in {interval}", is_inside, arguments)


def share(**arguments: object) -> None:
    """Numbers in [0, 1].

    Raises:
        InputError: an argument is something else.
    """
    within("[0, 1]", **arguments)


def one_of(choices: Iterable[object], /, **arguments: object) -> None:
    """Some values and no others.

    >>> one_of(("mean", "median"), combine="max")
    Traceback (most recent call last):
    wsdet.types.InputError: combine must be mean or median, got 'max'

    Raises:
        InputError: an argument is something else.
    """
    choices = list(choices)
    *others, last = (_WRITTEN.get(choice, str(choice)) for choice in choices)
    described = f"{', '.join(others)} or {last}" if others else last
    # 1 == True, and neither stands for the other
    _require(described, lambda value: any(type(value) is type(one) and value == one for one in choices), arguments)


def each(one: Callable[..., None], /, **arguments: object) -> None:
    """Sequences, or mappings, with at least one entry, of which each passes a check.

    >>> each(positive, scales=[2, 0])
    Traceback (most recent call last):
    wsdet.types.InputError: scales[1] must be a number above 0, got 0

    Raises:
        InputError: an argument is something else.
    """
    for name, values in arguments.items():
        if not isinstance(values, Sequence | Mapping) or isinstance(values, str) or not values:
            raise InputError(f"{name} must have at least one entry, got {values!r}")
        items = values.items() if isinstance(values, Mapping) else enumerate(values)
        for key, value in items:
            one(**{f"{name}[{key}]": value})


def _require(described: str, is_allowed: Callable[..., bool], arguments: dict[str, object]) -> None:
    for name, value in arguments.items():
        if not is_allowed(value):
            raise InputError(f"{name} must be {described}, got {value!r}")


def _is(kind: type, value: object) -> bool:
    """Whether it is a finite number of this kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]
