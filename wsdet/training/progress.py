"""One progress bar over all steps of a training, with rate and remaining time."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from wsdet.progress import Bar


class TrainingBar(Callback):
    """A bar on the first process; whatever the module logs stands beside it.

    Args:
        description: what the bar says.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._bar: Bar | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the bar where a resumed training stands."""
        self._bar = Bar(
            desc=self.description,
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.global_step,
            unit="step",
            smoothing=0.1,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Moves on by one step."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in trainer.callback_metrics.items()}, False)
            self._bar.update()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the finished bar on the screen."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the bar where the training stopped."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
