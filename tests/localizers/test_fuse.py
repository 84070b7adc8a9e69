"""Fusion of made-up members whose boxes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsdet.localizers.dialogue import Dialogue
from wsdet.localizers.fuse import Fuse
from wsdet.questions import Whole
from wsdet.types import Boxes, Sample


class Member:
    """Finds the same boxes everywhere, after a number of questions."""

    def __init__(self, *rows: tuple[list[float], int], n_questions: int = 0) -> None:
        self.xyxy = np.array([xyxy for xyxy, _ in rows], np.float32).reshape(-1, 4)
        self.labels = np.array([label for _, label in rows], np.int64)
        self.n_questions = n_questions

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        for _ in range(self.n_questions):
            (answer,) = yield [Whole()]
            assert answer == "answer"
        return Boxes(self.xyxy, np.arange(len(self.xyxy), 0, -1, dtype=np.float32) * 100, self.labels)


HERE, NEARBY, THERE = [10.0, 10.0, 50.0, 50.0], [14.0, 10.0, 54.0, 50.0], [60.0, 60.0, 90.0, 95.0]


def fuse(*members: Member, labels: tuple[int, ...] = (0,), **arguments: Any) -> Boxes:
    localizer = Fuse({str(i): member for i, member in enumerate(members)}, **arguments)
    dialogue = localizer.localize(Sample("scene", np.zeros((100, 100, 3), np.uint8), labels))
    try:
        questions = next(dialogue)
        while True:
            questions = dialogue.send(["answer"] * len(questions))
    except StopIteration as stop:
        return stop.value


def test_members_that_find_nothing_give_nothing() -> None:
    assert len(fuse(Member(), Member())) == 0


def test_one_member_alone_keeps_its_boxes_and_their_order() -> None:
    found = fuse(Member((HERE, 0), (THERE, 0), n_questions=2))
    assert found.xyxy.tolist() == [HERE, THERE]
    assert found.scores.tolist() == [1, 0.5]


def test_agreement_comes_first_at_the_mean_of_the_corners() -> None:
    found = fuse(Member((THERE, 0), (HERE, 0)), Member((NEARBY, 0), n_questions=1), Member(n_questions=3))
    # the first member's second box votes 1/2 where the second's best votes 1
    mean = [(14 + 10 / 2) / 1.5, 10, (54 + 50 / 2) / 1.5, 50]
    np.testing.assert_allclose(found.xyxy, np.array([mean, THERE]), rtol=1e-6)
    np.testing.assert_allclose(found.scores, [1.5 / 3, 1 / 3], rtol=1e-6)
    assert fuse(Member((HERE, 0)), Member((HERE, 0))).scores.tolist() == [1]


def test_a_member_votes_once_in_a_cluster() -> None:
    found = fuse(Member((HERE, 0), (NEARBY, 0), (HERE, 0)), Member((THERE, 0)))
    assert found.scores.tolist() == [0.5, 0.5]


def test_the_median_is_not_moved_by_one_stray_box() -> None:
    stray = [10.0, 10.0, 70.0, 60.0]
    found = fuse(Member((HERE, 0)), Member((HERE, 0)), Member((stray, 0)), combine="median")
    assert found.xyxy.tolist() == [HERE]


def test_weights_say_whose_box_counts() -> None:
    found = fuse(Member((HERE, 0)), Member((NEARBY, 0)), Member((THERE, 0)), weights={"0": 3, "1": 1, "2": 2})
    np.testing.assert_allclose(found.xyxy, np.array([[11, 10, 51, 50], THERE]))
    np.testing.assert_allclose(found.scores, [4 / 6, 2 / 6], rtol=1e-6)


def test_labels_are_kept_apart_and_boxes_without_label_count_for_each() -> None:
    found = fuse(Member((HERE, 0), (THERE, 3)), Member((HERE, -1)), labels=(0, 3))
    assert [(int(b.labels[0]), b.xyxy[0].tolist()) for b in found] == [(0, HERE), (3, THERE), (3, HERE)]
    np.testing.assert_allclose(found.scores, [1, 0.5, 0.5])
    assert set(fuse(Member((HERE, -1)), Member((THERE, -1))).labels) == {-1}


def test_only_the_best_boxes_of_a_member_count() -> None:
    many = [([x, 0.0, x + 10.0, 10.0], 0) for x in (0.0, 20.0, 40.0, 60.0)]
    assert len(fuse(Member(*many), n_boxes=2)) == 2
    assert len(fuse(Member(*many), max_boxes=3)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"members": {}}, "members must"),
        ({"weights": {"b": 1}}, "weights must"),
        ({"weights": {"a": 0}}, r"weights\[a\] must"),
        ({"combine": "sum"}, "combine must"),
        ({"iou_threshold": 2}, "iou_threshold must"),
        ({"n_boxes": 0}, "n_boxes must"),
        ({"max_boxes": -1}, "max_boxes must"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fuse(**{"members": {"a": Member()}, **arguments})
