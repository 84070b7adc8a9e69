"""Combining localizers' generators, so that independent parts of a method ask their questions together."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from wsdet.questions import Question

T = TypeVar("T")
Dialogue = Generator[Sequence[Question], Sequence[Any], T]


def side_by_side(dialogues: Sequence[Dialogue[T]]) -> Dialogue[list[T]]:
    """Runs several dialogues about one image in step: each round asks the next questions of all that go on.

    Returns:
        What each of them returned, in their order.
    """
    results: dict[int, T] = {}
    answers: dict[int, Sequence[Any] | None] = dict.fromkeys(range(len(dialogues)))
    while answers:
        asked: dict[int, Sequence[Question]] = {}
        for index, answer in answers.items():
            try:
                asked[index] = dialogues[index].send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                results[index] = stop.value
        replies = list((yield [question for questions in asked.values() for question in questions])) if asked else []
        answers = {index: [replies.pop(0) for _ in questions] for index, questions in asked.items()}
    return [results[index] for index in range(len(dialogues))]
