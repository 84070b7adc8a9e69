"""Where a training's losses and measurements go: a CSV file always, and a tracker beside it where one is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdet import check
from wsdet.types import InputError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

PACKAGES = {"csv": (), "tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy"), "wandb": ("wandb",)}
_PROJECT = "wsdet"


def check_logger(logger: str) -> None:
    """Whether there is such a logger and its packages are installed; without importing them.

    Raises:
        InputError: not so.
    """
    check.one_of(tuple(PACKAGES), logger=logger)
    missing = [package for package in PACKAGES[logger] if find_spec(package) is None]
    if missing:
        raise InputError(
            f"logger={logger} needs the package {missing[0]}, which is not installed: pip install 'wsdet[{logger}]'; "
            "logger=csv needs none"
        )


def loggers_of(out: Path, name: str, logger: str = "csv") -> list[Logger]:
    """Lightning's loggers of one start of a training.

    Each start, resumed ones too, writes a folder `<out>/log/start_N` of its own, so nothing of before is lost. MLflow's
    runs go where `MLFLOW_TRACKING_URI` says, else into `<out>/mlflow.db`; Weights & Biases follows `WANDB_MODE`.

    Args:
        out: folder of the training.
        name: what is trained: "classifier".
        logger: a key of `PACKAGES`.

    Raises:
        InputError: see `check_logger`; or the tracker does not start.
    """
    from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger

    check_logger(logger)
    version = f"start_{len(list((out / 'log').glob('start_*')))}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.absolute() / 'mlflow.db'}"
    trackers: dict[str, Callable[[], Logger]] = {
        "tensorboard": partial(TensorBoardLogger, out, "log", version),
        "mlflow": partial(MLFlowLogger, _PROJECT, name, tracking_uri=uri),
        "wandb": partial(WandbLogger, name, save_dir=out, project=_PROJECT),
    }
    loggers: list[Logger] = [CSVLogger(out, "log", version)]
    if logger in trackers:
        out.mkdir(parents=True, exist_ok=True)
        try:
            tracker: Any = trackers[logger]()
            _ = tracker.experiment  # starts it now, not in the middle of the training
            loggers.append(tracker)
        except Exception as error:  # without network, login or database each tracker has errors of its own
            raise InputError(f"logger={logger} does not start: {error}; logger=csv needs nothing") from error
    return loggers
