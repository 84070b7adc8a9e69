"""Selective Search: boxes of the regions that hierarchical grouping makes, over several color spaces and scales.

Uijlings, van de Sande, Gevers, Smeulders: Selective Search for Object Recognition, IJCV 104 (2013). The segments are
OpenCV's graph segmentation, with the values of the authors' published code and never OpenCV's own defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from wsdet import check
from wsdet.boxes import scale
from wsdet.proposals.grouping import COLOR_BINS, TEXTURE_BINS, color_bins, group, histograms, texture_bins
from wsdet.proposals.ordering import distinct
from wsdet.sampling import image_generator
from wsdet.types import Boxes, Floats, InputError, Ints, Pixels, Sample
from wsdet.vision import opencv
from wsdet.vision.resizing import shrunk
from wsdet.vision.segmentation import COLOR_SPACES, graph_segments, in_color_space

_TERMS = "CTSF"


class SelectiveSearch:
    """Selective Search, by default the paper's "fast" form.

    Args:
        color_spaces: of `hsv`, `lab`, `rgi`, `h`, `intensity`.
        ks: scales k of the graph segmentation; each is also its smallest segment in pixels.
        similarities: the sums of terms that grouping runs with, each a word of the letters C (color), T (texture),
            S (size) and F (fill).
        sigma: smoothing of the graph segmentation in pixels.
        max_side: an image with a longer side is handled at this size, VOC's 500 pixels.
        min_width: narrower or lower boxes are dropped; a fraction of the image's longer side: 20 pixels of 500.
        max_boxes: maximum number of boxes per image, best first; 0: all.
        seed: of the order of the boxes. The order depends on it and on the image's id alone.

    Raises:
        InputError: an argument is out of its range; or OpenCV lacks its contrib modules.
    """

    def __init__(
        self,
        color_spaces: Sequence[str] = ("hsv", "lab"),
        ks: Sequence[float] = (50, 100),
        similarities: Sequence[str] = ("CTSF", "TSF"),
        sigma: float = 0.8,
        max_side: int = 500,
        min_width: float = 0.04,
        max_boxes: int = 2000,
        seed: int = 0,
    ) -> None:
        check.each(partial(check.one_of, COLOR_SPACES), color_spaces=color_spaces)
        check.each(check.positive, ks=ks)
        check.positive(sigma=sigma)
        if not similarities or not all(terms and set(terms) <= set(_TERMS) for terms in similarities):
            raise InputError(f"similarities must be words of the letters {_TERMS}, got {list(similarities)}")
        check.at_least(1, max_side=max_side)
        check.within("[0, 1)", min_width=min_width)
        check.at_least(0, max_boxes=max_boxes)
        opencv.require("ximgproc.segmentation.createGraphSegmentation")
        self.color_spaces = tuple(color_spaces)
        self.ks = tuple(ks)
        self.similarities = tuple(similarities)
        self.sigma = sigma
        self.max_side = max_side
        self.min_width = min_width
        self.max_boxes = max_boxes
        self.seed = seed

    def propose(self, sample: Sample) -> Boxes:
        """Boxes of all regions of all groupings without repeats, ordered by position x random (paper, section 4.4).

        The position of the last region of a grouping, the whole image, is 1. The score is the negative product.
        """
        image = shrunk(sample.pixels, self.max_side)
        groupings = [xyxy[::-1] for xyxy in self._groupings(image)]
        xyxy = np.concatenate(groupings)
        position = np.concatenate([np.arange(1, len(grouping) + 1) for grouping in groupings])
        value = position * image_generator(sample.image_id, self.seed).random(len(position))
        order = np.argsort(value, kind="stable")
        order = order[_wide_enough(xyxy[order], image.shape[:2], self.min_width)]
        order = order[distinct(xyxy[order])][: self.max_boxes or None]
        return Boxes(scale(xyxy[order], image.shape[:2], sample.size_hw), scores=-value[order].astype(np.float32))

    def _groupings(self, image: Pixels) -> Iterator[Floats]:
        for name in self.color_spaces:
            colors = in_color_space(image, name)
            colors_binned, textures_binned = color_bins(colors), texture_bins(colors)
            for k in self.ks:
                segments = graph_segments(colors, self.sigma, k, min_size=round(k))
                appearances = {
                    "C": histograms(segments, colors_binned, COLOR_BINS),
                    "T": histograms(segments, textures_binned, TEXTURE_BINS),
                }
                for terms in self.similarities:
                    chosen = [appearance for term, appearance in appearances.items() if term in terms]
                    yield group(segments, chosen, size="S" in terms, fill="F" in terms)


def _wide_enough(xyxy: Floats, size_hw: tuple[int, int], min_width: float) -> Ints:
    # of an image that is itself narrower, boxes over its whole width are wide enough
    sides = xyxy[:, 2:] - xyxy[:, :2]
    least = np.minimum(min_width * max(size_hw), size_hw[::-1])
    return np.flatnonzero((sides >= least).all(axis=1))
