"""Answers to `Masked`: the image with a box painted over, hundreds of times for each image.

Two such inputs differ from the image, and from a uniform image of the mask's color, only near the box's edge. On a CPU
the activations of both are therefore computed once, cached, and each masked input takes only what is new in it
(`wsdet.networks.incremental`). Where that is no faster, for a box in the middle range of sizes say, the input takes a
full pass.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch

from wsdet.networks.backbones import Backbone
from wsdet.networks.class_scores import ClassScores
from wsdet.networks.incremental import CachedActivations, IncrementalNetwork
from wsdet.networks.preprocessor import Preprocessor, View
from wsdet.questions import Fill, NetworkInput, Question
from wsdet.types import Bools, Floats, Ints

log = logging.getLogger(__name__)


class MaskedPasses:
    """Answers `Masked`.

    Args:
        backbone: in evaluation mode, on its device.
        preprocessor: paints boxes over.
        scores: makes answers of logits.
        incremental: whether inputs are computed incrementally; "auto": those where it is faster.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocessor: Preprocessor,
        scores: ClassScores,
        incremental: bool | Literal["auto"],
    ) -> None:
        self.n_forward_passes = 0
        self._backbone = backbone
        self._preprocessor = preprocessor
        self._scores = scores
        self._is_incremental = incremental
        # the engine drops a view when its image is done, and the weak keys drop its activations with it
        self._of_view: WeakKeyDictionary[View, CachedActivations] = WeakKeyDictionary()
        self._of_fill: dict[Fill, CachedActivations] = {}

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """Logits (c,) for each input."""
        self.n_forward_passes += len(inputs)
        boxes = np.stack([question.xyxy[row] for _, question, row in inputs])
        xyxy = self._preprocessor.in_input(boxes, [view.size_hw for view, _, _ in inputs])
        is_incremental = self._chosen(xyxy)
        rows: list[Any] = [None] * len(inputs)
        for chosen, logits_of in ((is_incremental, self._incrementally), (~is_incremental, self._in_full)):
            places = np.flatnonzero(chosen).tolist()
            if places:
                logits = logits_of([inputs[i] for i in places], xyxy[places])
                for place, row in zip(places, logits, strict=True):
                    rows[place] = row
        return rows

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """`Outputs`."""
        return self._scores.outputs_of(rows)

    def _chosen(self, xyxy: Ints) -> Bools:
        """(n,) which of (n, 4) boxes in pixels of the input are done incrementally."""
        if self._network is None:
            return np.zeros(len(xyxy), np.bool_)
        return self._network.is_faster(xyxy) if self._is_incremental == "auto" else np.ones(len(xyxy), np.bool_)

    @cached_property
    def _network(self) -> IncrementalNetwork | None:
        if not self._is_incremental or not self._backbone.is_convolutional:  # every token sees the box
            return None
        side = self._preprocessor.input_size
        try:
            like = torch.zeros(3, side, side, dtype=self._preprocessor.dtype, device=self._preprocessor.device)
            return IncrementalNetwork(self._backbone, like)
        except ValueError as error:
            log.info("masked inputs take full passes: %s", error)
            return None

    def _incrementally(self, inputs: Sequence[NetworkInput], xyxy: Ints) -> Floats:
        """(n, c) logits."""
        network = self._network
        if network is None:  # nothing is chosen for it then
            return np.zeros((0, self._scores.n_outputs), np.float32)
        for view, question, _ in inputs:
            if view not in self._of_view:
                self._of_view[view] = network.cache(view.input)
            if question.fill not in self._of_fill:
                uniform = self._preprocessor.color(question.fill).expand_as(view.input)
                self._of_fill[question.fill] = network.cache(uniform)
        logits = network.compose(
            [self._of_view[view] for view, _, _ in inputs],
            [self._of_fill[question.fill] for _, question, _ in inputs],
            xyxy,
        )
        return logits.float().cpu().numpy()

    def _in_full(self, inputs: Sequence[NetworkInput], xyxy: Ints) -> Floats:
        """(n, c) logits."""
        views, fills = [view for view, _, _ in inputs], [question.fill for _, question, _ in inputs]
        batch = self._preprocessor.masked(views, xyxy, fills)
        return self._backbone(batch).float().cpu().numpy()
