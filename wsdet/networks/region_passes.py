"""Answers to `Regions` and `RegionFeatures`: any number of boxes read off a few passes over the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from wsdet.networks.backbones import Backbone
from wsdet.networks.class_scores import ClassScores
from wsdet.networks.preprocessor import Preprocessor, View
from wsdet.networks.pyramid import Pyramid, SummedMap
from wsdet.questions import NetworkInput, Question, RegionFeatures, Regions
from wsdet.tiles import Tiling
from wsdet.types import Floats

_GRID = 3  # cells along a side of a region that the head is given: more change little and cost more
_HEAD_BATCH = 128  # regions that the head is given at once


class RegionPasses:
    """Answers `Regions` and `RegionFeatures`."""

    def __init__(self, backbone: Backbone, preprocessor: Preprocessor, scores: ClassScores) -> None:
        self.n_forward_passes = 0
        self._backbone = backbone
        self._preprocessor = preprocessor
        self._scores = scores
        # a localizer asks about the regions of an image again and again: its maps stay as long as its view
        self._levels: WeakKeyDictionary[View, dict[Tiling | None, tuple[SummedMap, ...]]] = WeakKeyDictionary()

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """A row for each question: (n, c) logits of its boxes, or (n, d) features."""
        self.n_forward_passes += len(inputs)
        return [self._read_off(one.view, one.question) for one in inputs]

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """`Outputs`, or for `RegionFeatures` the features."""
        return rows[0] if isinstance(question, RegionFeatures) else self._scores.outputs(rows[0])

    def _read_off(self, view: View, question: Regions | RegionFeatures) -> Floats:
        grid = question.grid if isinstance(question, RegionFeatures) else _GRID
        pyramid = Pyramid.of(self._backbone, tiling=question.tiling)
        averages = pyramid.averages(self._levels_of(view, pyramid), view.size_hw, question.xyxy, grid)
        if isinstance(question, RegionFeatures):
            return averages.flatten(1).cpu().numpy()
        return self.logits(averages.flatten(1))

    @torch.inference_mode()
    def logits(self, features: Tensor) -> Floats:
        """(n, c) of (n, d) features of boxes, as a `RegionFeatures` of the default grid gives them."""
        cells = features.unflatten(1, (_GRID, _GRID, -1)).permute(0, 3, 1, 2)  # (n, d, grid, grid)
        parts = [self._backbone.head(part.to(self._preprocessor.dtype)).float() for part in cells.split(_HEAD_BATCH)]
        return torch.cat([features.new_empty(0, self._backbone.n_outputs), *parts]).cpu().numpy()

    def _levels_of(self, view: View, pyramid: Pyramid) -> tuple[SummedMap, ...]:
        """The image's maps at several scales, which cost as many passes as the image has network inputs there."""
        of_view = self._levels.setdefault(view, {})
        if pyramid.tiling not in of_view:
            maps: list[Tensor] = []
            for x1, y1, x2, y2 in pyramid.windows(view.size_hw).tolist():
                # of tiles every pixel counts, of the image alone its smaller copy does
                image = view.image[..., y1:y2, x1:x2].float() if pyramid.tiling else view.copy
                sizes_hw = pyramid.sizes_hw((y2 - y1, x2 - x1))
                self.n_forward_passes += round(sum(h * w for h, w in sizes_hw) / self._preprocessor.input_size**2)
                maps += level_maps(self._backbone, self._preprocessor, image, sizes_hw)
            of_view[pyramid.tiling] = tuple(map(SummedMap.of, maps))
        return of_view[pyramid.tiling]


@torch.inference_mode()
def level_maps(
    backbone: Backbone, preprocessor: Preprocessor, image: Tensor, sizes_hw: Sequence[tuple[int, int]]
) -> tuple[Tensor, ...]:
    """The trunk's map of an image, (1, 3, h, w) in [0, 255], at each of several sizes: (rows, columns, d) each."""
    return tuple(backbone.trunk(preprocessor.resized(image, size))[0].permute(1, 2, 0) for size in sizes_hw)
