"""Which of a localizer's ranked boxes stand for objects: several to an image and class, or one.

MIST (Ren et al., "Instance-aware, Context-focused, and Memory-efficient Weakly Supervised Object Detection", CVPR 2020,
section 4.1) takes of the best-scored regions each one that hardly overlaps any better-ranked one. How far down the
ranking objects go is not known without ground-truth boxes, so there are two cuts, relative to the best box of the class
in the image: above the first a box is an object, between the two it may be one. What may be an object is flagged
`difficult`: a detector neither learns from it nor takes what overlaps it for background. By default nothing is flagged:
on the sets that were measured (docs/pseudo_boxes.md) that cost more hard negatives, parts of objects above all, than it
saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsdet import boxes as box_functions
from wsdet import check
from wsdet.types import Boxes


def choose_instances(
    boxes_by_id: Mapping[str, Boxes],
    ids: Sequence[str],
    max_boxes: int = 10,
    nms_iou: float = 0.3,
    keep_above: float = 0.8,
    ignore_above: float = 1.0,
) -> dict[str, Boxes]:
    """The boxes that stand for objects, from which pseudo-boxes to train on are made; what may be one is flagged.

    The best box of each label of an image is always one. Of equal scores the first comes first, so a localizer that
    does not score its boxes gives one. Boxes without a label are left out.

    Args:
        boxes_by_id: scored boxes of a localizer by image id; an image that is absent has none.
        ids: the images.
        max_boxes: maximum number of boxes for a label of an image, flagged ones not counted.
        nms_iou: a box that overlaps a better one of its label more than this is left out.
        keep_above: score relative to the label's best in the image from which on a box is an object.
        ignore_above: the same, from which on it may be one; such a box is flagged `difficult`. 1: none is.

    Raises:
        InputError: an argument is outside its range.
    """
    check.at_least(1, max_boxes=max_boxes)
    check.share(nms_iou=nms_iou, keep_above=keep_above, ignore_above=ignore_above)
    return {
        image_id: Boxes.concatenate(
            _instances(own[own.labels == label], max_boxes, nms_iou, keep_above, ignore_above)
            for own in [boxes_by_id.get(image_id, Boxes.empty())]
            for label in np.unique(own.labels[own.labels >= 0])
        )
        for image_id in ids
    }


def _instances(own: Boxes, max_boxes: int, nms_iou: float, keep_above: float, ignore_above: float) -> Boxes:
    """Those of one label's boxes in an image, best first."""
    own = own[box_functions.nms(own.xyxy, own.scores, nms_iou)]
    best = own.scores[0]
    relative = np.divide(own.scores, best, out=np.zeros(len(own), np.float32), where=best > 0)
    relative[0] = np.inf
    is_kept = (relative >= keep_above) & (np.arange(len(own)) < max_boxes)
    flagged = Boxes(own.xyxy, own.scores, own.labels, ~is_kept)
    return flagged[is_kept | ((relative >= ignore_above) & (ignore_above < 1))]
