"""How well a set of boxes stands for all objects of its images: recall, precision and counts.

CorLoc looks at the first box of a class in an image. A detector is trained on the whole set, and an object that no box
covers becomes background to it: so here every object counts, and every box. What is correct is VOC's rule: a box whose
IoU with the object of its class that it overlaps most is above the threshold, and that is the first, best score first,
on it. Difficult objects are not to be found, and boxes on them count neither way; so do boxes that are flagged
`difficult` themselves: they say where the method is not sure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsdet.boxes import area
from wsdet.metrics.average_precision import match
from wsdet.types import Boxes, Ints

SIZES = {"small": (0, 32), "medium": (32, 96), "large": (96, math.inf)}  # COCO's: square roots of areas in pixels


@dataclass(frozen=True, eq=False)
class InstanceCounts:
    """Boxes and objects of each class over some images.

    Attributes:
        correct: (classes,) boxes that found an object.
        boxes: (classes,) boxes that count.
        objects: (classes,) objects to find.
        n_images: over how many images.
    """

    correct: Ints
    boxes: Ints
    objects: Ints
    n_images: int

    @property
    def recall(self) -> float:
        """Share of all objects that a box covers; NaN without objects."""
        return _share(self.correct.sum(), self.objects.sum())

    @property
    def precision(self) -> float:
        """Share of all boxes that are correct; NaN without boxes."""
        return _share(self.correct.sum(), self.boxes.sum())

    @property
    def boxes_per_image(self) -> float:
        """How many boxes per image has, on average."""
        return _share(self.boxes.sum(), self.n_images)

    @property
    def objects_per_image(self) -> float:
        """How many objects per image has, on average."""
        return _share(self.objects.sum(), self.n_images)


def count_instances(
    boxes: Mapping[str, Boxes],
    truth: Mapping[str, Boxes],
    ids: Sequence[str],
    n_classes: int,
    iou_threshold: float = 0.5,
) -> InstanceCounts:
    """Counts the boxes of the images `ids` against their objects.

    Args:
        boxes: labeled boxes by image id; an image that is absent has none, and those without a label are left out.
        truth: ground-truth boxes by image id. Every one of `ids` must be there.
        ids: the images.
        n_classes: how many classes there are.
        iou_threshold: the IoU that must be exceeded.

    Raises:
        ValueError: a label is `n_classes` or more.
    """
    found = {image_id: boxes.get(image_id, Boxes.empty()) for image_id in ids}
    sure = {image_id: one[~one.difficult & (one.labels >= 0)] for image_id, one in found.items()}
    matches = match(sure, truth, ids, n_classes, iou_threshold)
    return InstanceCounts(
        correct=np.array([one.correct.sum() for one in matches], np.int64),
        boxes=np.array([(~one.ignored).sum() for one in matches], np.int64),
        objects=np.array([one.n_objects.sum() for one in matches], np.int64),
        n_images=len(ids),
    )


def recall_by_size(
    boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str], n_classes: int
) -> dict[str, tuple[float, int]]:
    """COCO's small, medium and large objects: (the share of them that a box covers, NaN for none; their number).

    Objects of the other sizes are left out as difficult ones are. Arguments as for `count_instances`.
    """
    found = {}
    for name, (least, most) in SIZES.items():
        is_other = {i: (area(truth[i].xyxy) < least**2) | (area(truth[i].xyxy) >= most**2) for i in ids}
        of_size = {i: replace(truth[i], difficult=truth[i].difficult | is_other[i]) for i in ids}
        counts = count_instances(boxes, of_size, ids, n_classes)
        found[name] = counts.recall, int(counts.objects.sum())
    return found


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
