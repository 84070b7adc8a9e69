"""Boxes that any detector is trained on, each scored by its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsdet import check
from wsdet.types import Boxes, Dataset, InputError, readable


def ground_truth_positives(dataset: Dataset, ids: Sequence[str]) -> dict[str, Boxes]:
    """The ground-truth boxes of those of `ids` that have any: all of them with weight 1, VOC's difficult ones flagged.

    An annotation that cannot be used is left out, with a warning.

    Raises:
        InputError: none has.
    """
    truth = {
        image_id: Boxes(true.xyxy, np.ones(len(true), np.float32), true.labels, true.difficult)
        for image_id, true in readable(dataset.truth, ids, "gives no ground-truth box to train on")
    }
    if not truth:
        raise InputError("train_on=ground_truth needs ground-truth boxes, and no training image has any; leave it out")
    return truth


def best_positives(boxes_by_id: Mapping[str, Boxes], ids: Sequence[str], top_k: int = 1) -> dict[str, Boxes]:
    """The `top_k` boxes of highest score of each label of each image, from which pseudo-boxes to train on are made.

    Equal scores keep the order in which they came; boxes without a label are left out.
    """
    check.at_least(1, top_k=top_k)
    best = {}
    for image_id in ids:
        boxes = boxes_by_id.get(image_id, Boxes.empty())
        labeled = boxes[boxes.labels >= 0]
        best[image_id] = labeled[labeled.best_rows(top_k)]
    return best
