"""A class-agnostic source of boxes as a localizer: its first boxes, once for each label of the image.

The self-taught localization paper trains detectors on boxes of other methods so (its Tables 1 and 2: BING, EdgeBoxes,
Selective Search): what a method thinks of first in an image of a class is taken for an object of the class.
"""

from __future__ import annotations

import numpy as np

from wsdet import check
from wsdet.localizers.dialogue import Dialogue
from wsdet.types import Boxes, ProposalSource, Sample


class Proposals:
    """The first boxes of a source for each label of the image (label -1 when it has none).

    Args:
        source: gives boxes, best first.
        n_boxes: how many of them; 0: all.

    Raises:
        InputError: `n_boxes` is negative.
    """

    def __init__(self, source: ProposalSource, n_boxes: int = 10) -> None:
        check.at_least(0, n_boxes=n_boxes)
        self.source = source
        self.n_boxes = n_boxes

    def localize(self, sample: Sample) -> Dialogue[Boxes]:
        """The same boxes with the source's scores for every label; asks nothing."""
        yield from ()
        boxes = self.source.propose(sample)[: self.n_boxes or None]
        labels = sample.labels or (-1,)
        return Boxes.concatenate(Boxes(boxes.xyxy, boxes.scores, np.full(len(boxes), label)) for label in labels)
