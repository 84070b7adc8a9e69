"""Which boxes stand for objects."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.localizers.instances import choose_instances
from wsdet.types import Boxes, InputError

LEFT, NEAR, RIGHT, BELOW = [0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 20, 10, 30]


def ranked(scores: list[float], labels: list[int] | None = None) -> Boxes:
    xyxy = np.array([LEFT, NEAR, RIGHT, BELOW], np.float32)
    return Boxes(xyxy, np.array(scores, np.float32), np.array(labels or [0, 0, 0, 0]))


def test_without_boxes_there_are_no_instances() -> None:
    chosen = choose_instances({"a": Boxes.empty()}, ["a", "absent"])
    assert [len(chosen[image_id]) for image_id in ("a", "absent")] == [0, 0]


def test_a_box_is_an_object_may_be_one_or_is_left_out_by_its_score_relative_to_the_best() -> None:
    chosen = choose_instances({"a": ranked([0.8, 0.7, 0.5, 0.2])}, ["a"], keep_above=0.5, ignore_above=0.2)["a"]
    assert chosen.xyxy.tolist() == [LEFT, RIGHT, BELOW]  # one of the two that overlap
    assert chosen.difficult.tolist() == [False, False, True]
    stricter = choose_instances({"a": ranked([0.8, 0.7, 0.5, 0.2])}, ["a"], keep_above=0.7, ignore_above=0.5)["a"]
    assert stricter.xyxy.tolist() == [LEFT, RIGHT]
    assert stricter.difficult.tolist() == [False, True]
    certain = choose_instances({"a": ranked([0.8, 0.7, 0.7, 0.6])}, ["a"])["a"]
    assert certain.xyxy.tolist() == [LEFT, RIGHT]
    assert not certain.difficult.any()


def test_each_label_has_its_own_best_and_boxes_without_one_are_left_out() -> None:
    chosen = choose_instances({"a": ranked([0.8, 0.1, 0.01, 0.9], [1, 0, 1, -1])}, ["a"])["a"]
    assert sorted(zip(chosen.labels.tolist(), chosen.xyxy.tolist(), strict=True)) == [(0, NEAR), (1, LEFT)]


def test_top_k_is_a_maximum_beyond_which_a_box_may_be_an_object() -> None:
    boxes = {"a": ranked([0.8, 0.1, 0.7, 0.6])}
    assert choose_instances(boxes, ["a"], max_boxes=2, ignore_above=0.5)["a"].difficult.tolist() == [False, False, True]
    assert choose_instances(boxes, ["a"], max_boxes=1)["a"].xyxy.tolist() == [LEFT]


@pytest.mark.parametrize("score", [0.0, -1.0])
def test_boxes_that_are_not_scored_give_the_first(score: float) -> None:
    assert choose_instances({"a": ranked([score] * 4)}, ["a"])["a"].xyxy.tolist() == [LEFT]


def test_impossible_options_are_refused() -> None:
    for wrong in ({"max_boxes": 0}, {"keep_above": 1.5}, {"ignore_above": -0.1}, {"nms_iou": 2}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            choose_instances({}, [], **wrong)
