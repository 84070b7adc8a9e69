"""Two sources in one list: the first few boxes of one, then the other's."""

from __future__ import annotations

import numpy as np

from wsdet import check
from wsdet.boxes import iou
from wsdet.types import Boxes, ProposalSource, Sample


class Merge:
    """The first `n_first` boxes of `first`, then those of `then`, without near repeats.

    STL puts STL-WL's ten before MCG's or EdgeBoxes' boxes: the best curve for any number of boxes (Bazzani et al.,
    Self-Taught Object Localization with Deep Networks, section 4).

    Args:
        first: the source whose best boxes come first.
        then: the source that goes on.
        n_first: how many boxes of `first`.
        iou_threshold: a box of `then` is dropped when its IoU with a box of `first` that is kept is above this.
        max_boxes: maximum number of boxes per image; 0: all.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        first: ProposalSource,
        then: ProposalSource,
        n_first: int = 10,
        iou_threshold: float = 0.7,
        max_boxes: int = 0,
    ) -> None:
        check.at_least(0, n_first=n_first, max_boxes=max_boxes)
        check.share(iou_threshold=iou_threshold)
        self.first = first
        self.then = then
        self.n_first = n_first
        self.iou_threshold = iou_threshold
        self.max_boxes = max_boxes

    def propose(self, sample: Sample) -> Boxes:
        """The joined list. The sources' scores do not compare, so the score is the negative place in the list."""
        first = self.first.propose(sample)[: self.n_first]
        then = self.then.propose(sample)
        repeats = (iou(then.xyxy, first.xyxy) > self.iou_threshold).any(axis=1)
        xyxy = np.concatenate([first.xyxy, then.xyxy[~repeats]])[: self.max_boxes or None]
        return Boxes(xyxy, scores=-np.arange(len(xyxy), dtype=np.float32))
