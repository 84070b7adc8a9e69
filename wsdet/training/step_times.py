"""Where the time of a training goes: waiting for data, or computing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer


class StepTimes(Callback):
    """Measures each step of a training in this process; a resumed training counts its own steps only.

    On a GPU the times are right because something in each step waits for the losses, as the progress bar does.
    """

    def __init__(self) -> None:
        self._waiting: list[float] = []
        self._computing: list[float] = []
        self._last = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waiting for the first batch begins."""
        self._last = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is there."""
        self._waiting.append(self._lap())

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """The weights were changed, and waiting for the next batch begins."""
        self._computing.append(self._lap())

    def measured(self) -> dict[str, float | int]:
        """Seconds per step, means but for `computing_median`; empty where no step was done.

        `computing` is forward pass, backward pass and optimizer. A mean far above the median tells of steps that cost
        something once, such as those of a new input size on a GPU.
        """
        if not self._computing:
            return {}
        figures = {
            "waiting_for_data": np.mean(self._waiting),
            "computing": np.mean(self._computing),
            "computing_median": np.median(self._computing),
        }
        return {"steps": len(self._computing), **{name: round(float(value), 4) for name, value in figures.items()}}

    def _lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before
