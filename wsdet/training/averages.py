"""The exponential moving average of weights, as PyTorch computes it, in a form that can be sent to other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


@dataclass(frozen=True)
class MovingAverage:
    """Moves averages towards weights; an argument of `torch.optim.swa_utils.AveragedModel`.

    PyTorch's own is a function inside a function, which spawned processes (`trainer=ddp`) cannot be given.

    Attributes:
        decay: share of an average that stays in a step.
    """

    decay: float

    def __call__(self, averages: Sequence[Tensor], weights: Sequence[Tensor], n_averaged: Any = None) -> None:
        """One step, in place."""
        get_ema_multi_avg_fn(self.decay)(averages, weights, n_averaged)
