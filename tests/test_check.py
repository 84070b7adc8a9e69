"""Checks of arguments: what passes, and what the message says."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from wsdet import check
from wsdet.types import InputError


@pytest.mark.parametrize(
    ("checked", "inside", "outside", "says"),
    [
        (
            partial(check.at_least, 1),
            [1, 7, np.int64(3)],
            [0, 1.5, True, "1", None, [], [1]],
            "a whole number of at least 1",
        ),
        (
            partial(check.at_least, 0.0),
            [0, 0.5, 3, np.float32(0.5)],
            [-0.1, math.nan, math.inf, False, "0"],
            "a number of at least 0",
        ),
        (check.positive, [1e-9, 3], [0, -1, math.nan, math.inf, None], "a number above 0"),
        (check.share, [0, 0.5, 1], [-0.1, 1.1, False, math.nan], r"a number in \[0, 1\]"),
        (partial(check.within, "(0, 1]"), [0.1, 1], [0, 1.01], r"a number in \(0, 1\]"),
        (partial(check.within, "[0, 1)"), [0, 0.9], [1, -0.1], r"a number in \[0, 1\)"),
        (partial(check.one_of, ["a", "b", "c"]), ["a", "c"], ["d", None, 0, ["a"]], "a, b or c"),
        (partial(check.one_of, (True, "auto", None)), [True, "auto", None], [1, False, "True"], "true, auto or null"),
        (partial(check.one_of, {"only": 1}), ["only"], ["other"], "only"),
    ],
)
def test_what_passes_is_what_the_message_says(
    checked: Callable[..., None], inside: list[Any], outside: list[Any], says: str
) -> None:
    for value in inside:
        checked(name=value)
    for value in outside:
        with pytest.raises(InputError, match=f"^name must be {says}, got "):
            checked(name=value)


def test_the_argument_that_is_out_of_range_is_named() -> None:
    with pytest.raises(InputError, match=r"^patience must be a whole number of at least 1, got 0$"):
        check.at_least(1, epochs=3, patience=0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([2, 0], r"^ks\[1\] must be a number above 0, got 0$"),
        ({"a": -1}, r"^ks\[a\] must be a number above 0, got -1$"),
        ((), r"^ks must have at least one entry, got \(\)$"),
        (3, "^ks must have at least one entry, got 3$"),
        ("33", "^ks must have at least one entry, got '33'$"),
    ],
    ids=str,
)
def test_each_entry_is_checked_and_the_first_wrong_one_named(values: Any, says: str) -> None:
    check.each(check.positive, ks=[1, 2], cs=(3,), ws={"a": 0.5})
    with pytest.raises(InputError, match=says):
        check.each(check.positive, ks=values)
