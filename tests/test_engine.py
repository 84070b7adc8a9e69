"""The engine: full batches, one computation per input, order, bounds, failures."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from tests.conftest import FakeNetwork
from wsdet.engine import localize_all
from wsdet.localizers.dialogue import Dialogue, side_by_side
from wsdet.questions import Masked, Note, Whole
from wsdet.types import Boxes, InputError, Sample


def echo() -> FakeNetwork:
    """A network whose one score is the sum of a masked box's corners."""
    return FakeNetwork(lambda one: [one.question.xyxy[one.row].sum() if isinstance(one.question, Masked) else 0.0])


class Asker:
    """Asks about `rounds(image)` rounds of `n` boxes each; scores its one box with the sum of all answers."""

    def __init__(self, n: int, rounds: int) -> None:
        self.n, self.rounds = n, rounds

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        total = 0.0
        for i in range(self.rounds + int(sample.image_id)):
            corners = np.arange(self.n) + i * self.n
            (answer,) = yield [Masked(np.stack([corners, corners, corners + 1, corners + 1], axis=1))]
            total += answer.scores.sum()
        return Boxes(np.array([[0, 0, 1, 1]]), np.array([total]))


def samples(n: int) -> list[tuple[str, Sample | InputError]]:
    return [(str(i), Sample(str(i), np.zeros((4, 4, 3), np.uint8))) for i in range(n)]


def expected(image: int, n: int, rounds: int) -> float:
    return float(sum(4 * k + 2 for k in range(n * (rounds + image))))


@pytest.mark.parametrize("in_flight", [1, 3, 20])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_results_come_in_order_and_do_not_depend_on_batching(batch_size: int, in_flight: int) -> None:
    results = list(localize_all(samples(7), Asker(3, 2), echo(), batch_size, in_flight))
    assert [image_id for image_id, _ in results] == [str(i) for i in range(7)]
    assert [float(boxes.scores[0]) for _, boxes in results] == [expected(i, 3, 2) for i in range(7)]  # type: ignore[union-attr]


def test_batches_are_full_while_enough_images_are_alive() -> None:
    network = echo()
    list(localize_all(samples(40), Asker(2, 4), network, batch_size=8, in_flight=8))
    assert max(network.batches) == 8
    assert np.mean(np.array(network.batches[:-10]) == 8) > 0.9


def test_no_more_images_are_prepared_than_in_flight() -> None:
    network = echo()
    stream = localize_all(samples(50), Asker(1, 3), network, batch_size=4, in_flight=5)
    next(stream)
    assert len(network.prepared) <= 6


def test_few_of_the_largest_images_are_alive_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdet.engine._MAX_PIXELS", 2 * 16)  # two of the images here
    network = echo()
    stream = localize_all(samples(50), Asker(1, 3), network, batch_size=4, in_flight=20)
    next(stream)
    assert len(network.prepared) <= 3
    assert len(list(stream)) == 49


def test_an_input_asked_for_twice_is_computed_once() -> None:
    class Repeater:
        def localize(self, sample: Sample) -> Dialogue[Boxes]:
            box = np.array([[0, 0, 2, 2]], np.float32)
            first = yield [Masked(box), Masked(box), Whole()]
            second = yield [Masked(box), Masked(box, "black")]
            assert first[0].scores == first[1].scores == second[0].scores == 4
            return Boxes.empty()

    network = echo()
    list(localize_all(samples(1), Repeater(), network))
    assert sum(network.batches) == 3


def test_notes_reach_whoever_looks_on_and_cost_nothing() -> None:
    class Talker:
        def localize(self, sample: Sample) -> Dialogue[Boxes]:
            answers = yield [Note("tree", sample.image_id), Whole(), Note("map", 1)]
            assert answers[0] is None
            assert answers[1].scores == 0
            assert answers[2] is None
            return Boxes.empty()

    heard: list[tuple[str, str, Any]] = []
    network = echo()
    given = samples(2)
    list(
        localize_all(
            given, Talker(), network, look_on=lambda image_id, note: heard.append((image_id, note.name, note.value))
        )
    )
    assert heard == [("0", "tree", "0"), ("0", "map", 1), ("1", "tree", "1"), ("1", "map", 1)]
    assert sum(network.batches) == 2


def test_a_bad_image_and_a_refusing_localizer_become_outcomes() -> None:
    class Refuser:
        def localize(self, sample: Sample) -> Dialogue[Boxes]:
            yield [Whole()]
            raise InputError("no label")

    given = [("a", InputError("truncated")), *samples(1)]
    outcomes = dict(localize_all(given, Refuser(), echo()))
    assert str(outcomes["a"]) == "truncated"
    assert str(outcomes["0"]) == "no label"


def test_a_localizer_that_asks_nothing_needs_no_batch() -> None:
    class Silent:
        def localize(self, sample: Sample) -> Dialogue[Boxes]:
            yield [Masked(np.zeros((0, 4), np.float32))]
            return Boxes.empty()

    network = echo()
    assert len(list(localize_all(samples(5), Silent(), network, in_flight=2))) == 5
    assert network.batches == []


@pytest.mark.parametrize("bounds", [{"batch_size": 0}, {"in_flight": 0}])
def test_bounds_below_one_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(localize_all(samples(1), Asker(1, 1), echo(), **bounds))


def test_side_by_side_asks_together_and_keeps_order() -> None:
    def count(n: int) -> Dialogue[int]:
        total = 0
        for _ in range(n):
            (answer,) = yield [Whole()]
            total += answer
        return total

    def conversation() -> Generator[int, None, list[int]]:
        dialogue = side_by_side([count(2), count(0), count(3)])
        answer: Any = None
        while True:
            try:
                questions = dialogue.send(answer)
            except StopIteration as stop:
                return list(stop.value)
            yield len(questions)
            answer = list(range(1, len(questions) + 1))

    results: list[int] = []

    def collect() -> Generator[int, None, None]:
        results.extend((yield from conversation()))

    assert list(collect()) == [2, 2, 1]
    assert results == [2, 0, 5]  # 1 + 1, nothing, 2 + 2 + 1
