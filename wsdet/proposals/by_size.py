"""One source for small images, another for large ones: what saves time on photos would cost boxes on thumbnails."""

from __future__ import annotations

from wsdet import check
from wsdet.types import Boxes, ProposalSource, Sample


class BySize:
    """Boxes of `small` for images whose longer side has at most `side` pixels, of `large` for all others.

    Args:
        small: the source for small images.
        large: the source for the others.
        side: in pixels.
        max_boxes: maximum number of boxes of an image, best first; 0: all.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, small: ProposalSource, large: ProposalSource, side: int = 250, max_boxes: int = 2000) -> None:
        check.at_least(1, side=side)
        check.at_least(0, max_boxes=max_boxes)
        self.small = small
        self.large = large
        self.side = side
        self.max_boxes = max_boxes

    def propose(self, sample: Sample) -> Boxes:
        """The boxes of the source that the image's size chooses."""
        source = self.small if max(sample.size_hw) <= self.side else self.large
        return source.propose(sample)[: self.max_boxes or None]
