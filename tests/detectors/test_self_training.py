"""What rounds of self-training are made of: parts of the images, and signals that need no ground truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from wsdet.detectors.self_training import SelfTraining, agreement, class_divergence, parts
from wsdet.types import Boxes, InputError


def boxes_of(*rows: tuple[list[float], int]) -> Boxes:
    return Boxes(
        np.array([xyxy for xyxy, _ in rows], np.float32).reshape(-1, 4),
        labels=np.array([label for _, label in rows], np.int64),
    )


def test_no_detector_looks_at_what_it_was_trained_on() -> None:
    ids = [f"i{n}" for n in range(10)]
    folds = parts(ids, 3, seed=1)
    assert len(folds) == 3
    assert sorted(image_id for _, looked_at in folds for image_id in looked_at) == sorted(ids)
    for learned_from, looked_at in folds:
        assert sorted([*learned_from, *looked_at]) == sorted(ids)
        assert 3 <= len(looked_at) <= 4
    assert parts(ids, 3, seed=1) == folds
    assert parts(ids, 0, seed=1) == [(ids, ids)]


def test_agreement_is_the_mean_iou_of_first_boxes() -> None:
    before = {"a": boxes_of(([0, 0, 10, 10], 0), ([50, 50, 60, 60], 0), ([0, 0, 4, 4], 1)), "b": Boxes.empty()}
    after = {"a": boxes_of(([0, 0, 10, 5], 0), ([0, 0, 4, 4], 1)), "b": boxes_of(([1, 1, 2, 2], 2))}
    assert agreement(before, after) == pytest.approx((0.5 + 1 + 0) / 3)
    assert agreement(before, before) == 1
    assert math.isnan(agreement({}, {}))


def test_boxes_distributed_as_the_labels_do_not_diverge() -> None:
    boxes = {"a": boxes_of(([0, 0, 1, 1], 0), ([0, 0, 1, 1], 1)), "b": boxes_of(([0, 0, 1, 1], 1))}
    assert class_divergence(boxes, {"a": (0, 1), "b": (1,)}, 3) == pytest.approx(0)
    assert class_divergence(boxes, {"a": (2,), "b": (2,)}, 3) > 0.1


@pytest.mark.parametrize("options", [{"rounds": -1}, {"folds": -1}, {"stop_agreement": 2.0}, {"keep_share": -1.0}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        SelfTraining(**options)
