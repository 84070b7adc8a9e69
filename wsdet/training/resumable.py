"""Trainings that are done once: by Lightning, with our progress bar, going on where they were stopped.

Every training of wsdet is a call of `train_once`. Its folder holds, beside the weights,

    settings.json   what the weights depend on; training there with other settings refuses
    checkpoints/    the state after the last epoch, while the training is under way
    log/*/          losses by step as CSV, and for a tracker, where a logger is asked for
    training.json   what was measured; written last, it says that the training is finished
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from wsdet.storage.files import write_json
from wsdet.storage.provenance import check_settings, flatten
from wsdet.training import torchrun
from wsdet.training.loggers import loggers_of
from wsdet.training.progress import TrainingBar
from wsdet.types import InputError

log = logging.getLogger(__name__)


def train_once(name: str, path: Path, settings: Mapping[str, Any], train: Callable[[], Mapping[str, Any]]) -> None:
    """Calls `train`, unless an earlier call with the same settings has finished in the folder of `path`.

    What ends in an `InputError` before its first epoch leaves nothing behind that asks for the same settings again.

    Args:
        name: what is trained, for the log: "classifier".
        path: of the trained weights; its folder is the training's own.
        settings: all that the weights depend on, as plain JSON values.
        train: fits by `fit` in that folder, saves the weights, and returns what it measured, as plain JSON values.

    Raises:
        InputError: the folder holds a training with other settings.
    """
    report, checkpoints = path.parent / "training.json", path.parent / "checkpoints"
    check_settings(path.parent, settings)
    if report.exists():
        log.info("%s: trained already -> %s", name, path)
    else:
        start = time.perf_counter()
        try:
            measured = train()
        except InputError:
            if not checkpoints.exists():
                (path.parent / "settings.json").unlink()
            raise
        seconds = round(time.perf_counter() - start, 1)
        write_json(report, {**measured, "seconds": seconds})
        said = (
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in flatten(measured).items()
        )
        log.info("%s: %s; %.1f s -> %s", name, ", ".join(said), seconds, path)
    shutil.rmtree(checkpoints, ignore_errors=True)


def fit(
    module: pl.LightningModule,
    batches: pl.LightningDataModule,
    out: Path,
    epochs: int,
    name: str,
    options: Mapping[str, Any],
    callbacks: Sequence[pl.Callback] = (),
) -> pl.Trainer:
    """Trains `module` in place, going on from the last checkpoint in `<out>/checkpoints`, and returns its trainer.

    Args:
        module: what learns; it logs its "loss" in every step. Left on the CPU.
        batches: what it learns from.
        out: folder of the training.
        epochs: maximum number of them.
        name: what is trained, for the bar and the log: "classifier".
        options: further arguments of `pytorch_lightning.Trainer`; what is decided here cannot be changed by them. Its
            `logger` is a name, see `wsdet.training.loggers`; without one nothing is logged.
        callbacks: further callbacks.

    Raises:
        InputError: Lightning refuses the options; or the training diverged, and its checkpoints are removed.
    """
    folder, logger = out / "checkpoints", options.get("logger")
    resume_from = _newest_checkpoint(folder, name)
    checkpoint = ModelCheckpoint(folder, "{epoch:04d}", save_on_train_epoch_end=True, enable_version_counter=False)
    # stops for no other reason: it has patience for all epochs
    diverged = EarlyStopping("loss", patience=epochs, check_finite=True, check_on_train_epoch_end=True)
    fixed = {
        "max_epochs": epochs,
        "default_root_dir": out,
        "logger": loggers_of(out, name, logger) if isinstance(logger, str) else False,
        "callbacks": [checkpoint, diverged, TrainingBar(f"training the {name}"), *callbacks],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    trainer = torchrun.hand_out(partial(_fit, module, batches, dict(options), fixed, resume_from))()
    if trainer.world_size > 1:
        log.info("%s: trained by %d processes on %d nodes", name, trainer.world_size, trainer.num_nodes)
    module.cpu()
    loss = float(trainer.callback_metrics.get("loss", 0.0))  # none where a checkpoint held the last epoch
    if not (math.isfinite(loss) and all(parameter.isfinite().all() for parameter in module.parameters())):
        shutil.rmtree(folder, ignore_errors=True)
        raise InputError(
            f"the training of the {name} diverged: its loss or weights are no longer finite; give a lower "
            "learning_rate, or trainer.precision=32-true where it trains with less"
        )
    return trainer


def _fit(
    module: pl.LightningModule,
    batches: pl.LightningDataModule,
    options: Mapping[str, Any],
    fixed: Mapping[str, Any],
    resume_from: Path | None,
) -> pl.Trainer:
    """What each process of a training does."""
    with _quiet_lightning(), torch.random.fork_rng():
        try:
            trainer = pl.Trainer(**(dict(options) | dict(fixed)))
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise InputError(f"trainer: Lightning's Trainer does not take {dict(options)}: {error}") from error
        trainer.fit(module, datamodule=batches, ckpt_path=resume_from, weights_only=True)
    return trainer


def _newest_checkpoint(folder: Path, name: str) -> Path | None:
    """The last whole checkpoint; one that a kill cut short is removed."""
    for path in sorted(folder.glob("*.ckpt"), key=lambda path: re.findall(r"\d+", path.stem), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can fail anywhere inside the reader
            reason = type(error).__name__  # its text tells to trust the file
            log.warning("%s is damaged (%s); going on from the checkpoint before it", path, reason)
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
