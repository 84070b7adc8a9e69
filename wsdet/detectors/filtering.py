"""Which of a detector's or localizer's boxes become pseudo-boxes to train on: several of a class, no parts of others.

Follows SoS-WSOD (Sui, Zhang and Wu, CVPR 2022), pseudo ground truth generation: an image holds several objects of a
class, so training on the best box alone makes the others background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsdet import check
from wsdet.boxes import area, intersection
from wsdet.types import Boxes, Ints


@dataclass(frozen=True)
class Filtering:
    """The thresholds; they are set, not fitted to ground truth.

    Attributes:
        keep_share: of a class's boxes in an image, those are kept that score at least this share of its best, and the
            best itself. Scores are shifted so that the lowest of them is not negative.
        inside_share: a box of which at least this share lies inside another of its class is dropped; of two that lie
            inside each other, the one of the lower score.
        max_per_class: of a class in an image are kept; 0: all.

    Raises:
        InputError: a value is out of its range.
    """

    keep_share: float = 0.2
    inside_share: float = 0.85
    max_per_class: int = 10

    def __post_init__(self) -> None:
        check.share(keep_share=self.keep_share)
        check.within("(0, 1]", inside_share=self.inside_share)
        check.at_least(0, max_per_class=self.max_per_class)


def filtered(boxes: Boxes, labels: Sequence[int], filtering: Filtering, fallback: Boxes | None = None) -> Boxes:
    """The pseudo-boxes among an image's boxes, each scored by the share of its class's best score.

    Args:
        boxes: of an image, with labels; those of classes that the image does not have are left out.
        labels: of the image.
        filtering: the thresholds.
        fallback: boxes of the image to take for a label that none of `boxes` has, as they are.
    """
    kept = []
    for label in labels:
        own = boxes[np.flatnonzero(boxes.labels == label)]
        if len(own):
            kept.append(_of_class(own, filtering))
        elif fallback is not None:
            kept.append(fallback[np.flatnonzero(fallback.labels == label)])
    return Boxes.concatenate(kept)


def _of_class(boxes: Boxes, filtering: Filtering) -> Boxes:
    scores = boxes.scores - min(0.0, float(boxes.scores.min()))
    best = scores.max()
    shares = scores / best if best > 0 else np.ones_like(scores)
    order = np.argsort(-shares, kind="stable")
    high = order[(shares[order] >= filtering.keep_share) | (np.arange(len(order)) == 0)]
    kept = high[not_inside(boxes[high], filtering.inside_share)][: filtering.max_per_class or None]
    return Boxes(boxes.xyxy[kept], shares[kept], boxes.labels[kept], boxes.difficult[kept])


def not_inside(boxes: Boxes, share: float) -> Ints:
    """Rows, of boxes that come best first, which do not lie inside another row of their class that stays or is larger.

    Args:
        boxes: of an image.
        share: of a box, that makes it lie inside another.
    """
    covered = intersection(boxes.xyxy, boxes.xyxy) >= share * area(boxes.xyxy)[:, None]  # row inside column
    covered &= boxes.labels[:, None] == boxes.labels[None]
    np.fill_diagonal(covered, False)
    mutual = covered & covered.T
    later = np.arange(len(boxes))[:, None] > np.arange(len(boxes))[None]
    dropped = (covered & ~mutual) | (mutual & later)
    return np.flatnonzero(~dropped.any(axis=1))
