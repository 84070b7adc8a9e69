"""From the outputs of a network to the scores of a dataset's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from wsdet.networks.weights import Activation
from wsdet.questions import Outputs
from wsdet.types import Floats


class ClassScores:
    """Makes `Outputs` of logits.

    Args:
        n_outputs: c, outputs of the network.
        class_outputs: for each dataset class, the indices of the outputs that stand for it; empty for none.
        activation: how logits become probabilities: "softmax" over all outputs, or a "sigmoid" each.
    """

    def __init__(self, n_outputs: int, class_outputs: Sequence[Sequence[int]], activation: Activation) -> None:
        self.n_outputs = n_outputs
        self.class_outputs = tuple(tuple(outputs) for outputs in class_outputs)
        self.activation: Activation = activation

    def outputs(self, logits: Floats) -> Outputs:
        """The answer whose rows are `logits`, (n, c)."""
        scores = softmax(logits, axis=1) if self.activation == "softmax" else expit(logits)
        class_scores = np.full((len(logits), len(self.class_outputs)), np.nan, np.float32)
        for index, outputs in enumerate(self.class_outputs):
            if outputs:
                class_scores[:, index] = scores[:, list(outputs)].max(axis=1)
        return Outputs(logits, scores.astype(np.float32), class_scores)

    def outputs_of(self, rows: Sequence[Any]) -> Outputs:
        """The answer whose rows are n arrays (c,), of which there may be none."""
        return self.outputs(np.stack(rows) if len(rows) else np.zeros((0, self.n_outputs), np.float32))
