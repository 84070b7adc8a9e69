"""Answers to questions that a plain forward pass over one input each can answer: the image, crops, masks of pixels.

Whatever the question, its inputs are of one size, so inputs of all kinds and of all images share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsdet.networks.backbones import Backbone
from wsdet.networks.class_scores import ClassScores
from wsdet.networks.preprocessor import Preprocessor
from wsdet.questions import Cropped, FeatureMap, Kept, NetworkInput, Question


class ForwardPasses:
    """Answers `Whole`, `Cropped`, `Kept` and `FeatureMap`."""

    def __init__(self, backbone: Backbone, preprocessor: Preprocessor, scores: ClassScores) -> None:
        self.n_forward_passes = 0
        self._backbone = backbone
        self._preprocessor = preprocessor
        self._scores = scores

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """A row for each input: logits (c,), or for `FeatureMap` the map."""
        self.n_forward_passes += len(inputs)
        outputs, maps = self._backbone.outputs_and_map(self._batch(inputs))
        logits = outputs.float().cpu().numpy()
        return [
            maps[row].float().cpu().numpy() if isinstance(one.question, FeatureMap) else logits[row]
            for row, one in enumerate(inputs)
        ]

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """`Outputs`, or for `FeatureMap` the map."""
        return rows[0] if isinstance(question, FeatureMap) else self._scores.outputs_of(rows)

    def _batch(self, inputs: Sequence[NetworkInput]) -> Tensor:
        """(n, 3, s, s) what the network is shown; the crops of one image are cut together."""
        batch = torch.stack([one.view.input for one in inputs])
        crops: dict[int, list[int]] = {}
        for row, (view, question, i) in enumerate(inputs):
            if isinstance(question, Cropped):
                crops.setdefault(id(view), []).append(row)
            elif isinstance(question, Kept):
                batch[row] *= torch.from_numpy(question.masks[i]).to(batch.device)
        for rows in crops.values():
            xyxy = np.stack([inputs[row].question.xyxy[inputs[row].row] for row in rows])
            batch[rows] = self._preprocessor.crops_of(inputs[rows[0]].view, xyxy)
        return batch.contiguous(memory_format=torch.channels_last)
