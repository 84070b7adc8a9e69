"""Boxes that a person judged right or wrong: what that says of CorLoc, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsdet.storage.untrusted import read_object, shown
from wsdet.types import InputError


def judged(answers: Sequence[bool]) -> dict[str, Any]:
    """CorLoc as judged, over boxes, and its 95 % interval by Wilson's score (JASA 22, 1927).

    >>> judged([True] * 24 + [False] * 6)["corloc"]
    0.8
    """
    from scipy.stats import binomtest

    n, n_correct = len(answers), sum(answers)
    interval = binomtest(n_correct, n).proportion_ci(0.95, "wilson")
    return {
        "judged": n,
        "correct": n_correct,
        "corloc": n_correct / n,
        "corloc_interval": [float(interval.low), float(interval.high)],
    }


def judged_text(result: Mapping[str, Any]) -> str:
    """What judgments say, in a line."""
    low, high = result["corloc_interval"]
    return (
        f"{result['correct']} of {result['judged']} boxes are correct: CorLoc {result['corloc']:.2f}, "
        f"95 % interval {low:.2f} to {high:.2f}"
    )


def read_judged(path: Path) -> dict[str, Any]:
    """What `judged` said of the answers in a `judged.json`, and these; what they say is counted again.

    Raises:
        InputError: it is missing, damaged, or holds no answer.
    """
    content = read_object(path)
    answers = content.get("answers")
    if not isinstance(answers, list) or not answers or not all(_is_answer(one) for one in answers):
        raise InputError(f"{shown(path)} must hold answers, each with box and correct; delete it to judge anew")
    return content | judged([one["correct"] for one in answers])


def _is_answer(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("correct"), bool) and isinstance(one.get("box"), list)
