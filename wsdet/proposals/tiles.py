"""A source's boxes of tiles of the image beside those of all of it: small objects of large images."""

from __future__ import annotations

import numpy as np

from wsdet import check
from wsdet.boxes import nms
from wsdet.tiles import Tiling, cut, shifted
from wsdet.types import Boxes, ProposalSource, Sample


class Tiles:
    """The boxes that a source proposes for the image and for each of its tiles, in turns, without near repeats.

    Sources shrink images and leave out what is small then, so what a tile shows is lost in the whole image.

    Args:
        source: proposes for the image and for each tile as if that were an image.
        tile: side of the tiles, see `wsdet.tiles.Tiling`.
        tile_overlap: see there.
        max_boxes: maximum number of boxes of the image, and of each tile, best first; 0: all.
        nms_iou: a box that overlaps one that comes before it more is a repeat.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        source: ProposalSource,
        tile: float = 0.5,
        tile_overlap: float = Tiling.overlap,
        max_boxes: int = 400,
        nms_iou: float = 0.9,
    ) -> None:
        check.at_least(0, max_boxes=max_boxes)
        check.share(nms_iou=nms_iou)
        self.source = source
        self.tiling = Tiling(tile, tile_overlap)
        self.max_boxes = max_boxes
        self.nms_iou = nms_iou

    def propose(self, sample: Sample) -> Boxes:
        """The joined list. Scores of different tiles do not compare, so the score is the negative place in the list."""
        lists = [
            shifted(self.source.propose(cut(sample, window)), window)[: self.max_boxes or None]
            for window in self.tiling.windows(sample.size_hw)
        ]
        place = np.concatenate([np.arange(len(boxes), dtype=np.float32) for boxes in lists])
        xyxy = np.concatenate([boxes.xyxy for boxes in lists])
        xyxy = xyxy[nms(xyxy, -place, self.nms_iou)]
        return Boxes(xyxy, scores=-np.arange(len(xyxy), dtype=np.float32))
