"""One way to run a Lightning training: quiet, with our bar, and going on where it was stopped."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint

from wsdet.training.progress import TrainingBar
from wsdet.types import InputError

log = logging.getLogger(__name__)


def fit(
    module: pl.LightningModule,
    loaders: pl.LightningDataModule,
    out: Path,
    epochs: int,
    name: str,
    options: Mapping[str, Any],
    callbacks: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """Trains `module` in place, going on from the last checkpoint in `<out>/checkpoints`, and returns its trainer.

    Args:
        module: what learns; left on the CPU.
        loaders: what it learns from.
        out: folder of the training.
        epochs: at most so many.
        name: what is trained, for the bar and the log: "classifier".
        options: further arguments of `pytorch_lightning.Trainer`; what is decided here cannot be changed by them.
        callbacks: further callbacks.

    Raises:
        InputError: Lightning refuses the options.
    """
    folder = out / "checkpoints"
    resume_from = _newest_checkpoint(folder, name)
    checkpoint = ModelCheckpoint(folder, "{epoch:04d}", save_on_train_epoch_end=True, enable_version_counter=False)
    fixed = {
        "max_epochs": epochs,
        "default_root_dir": out,
        "logger": False,
        "callbacks": [checkpoint, TrainingBar(f"training the {name}"), *callbacks],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    with _quiet_lightning(), torch.random.fork_rng():
        try:
            trainer = pl.Trainer(**(dict(options) | fixed))
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(f"trainer: Lightning's Trainer does not take {dict(options)}: {error}") from error
        trainer.fit(module, datamodule=loaders, ckpt_path=resume_from, weights_only=True)
    module.cpu()
    return trainer


def _newest_checkpoint(folder: Path, name: str) -> Path | None:
    """The last whole checkpoint; one that a kill cut short is removed."""
    for path in sorted(folder.glob("*.ckpt"), key=lambda path: re.findall(r"\d+", path.stem), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can fail anywhere inside the reader
            log.warning("%s cannot be read (%s); going on from the checkpoint before it", path, error)
            path.unlink()
        else:
            log.info("%s: going on from %s", name, path)
            return path
    return None


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware, loggers and worker counts, which say nothing that a user could act on."""
    noisy = [logging.getLogger(f"pytorch_lightning.{name}") for name in ("utilities.rank_zero", "accelerators.cuda")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
