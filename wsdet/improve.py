"""Detectors trained again with a person's corrections: `python -m wsdet.improve run=RUN corrections=PATH out=DIR`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import experiment_of, open_run
from wsdet.cli.planned import planned
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_USED = ("run", "corrections", "train_on", "trust", "out", "shared")
_IN_PLACE = ("device", "workers", "batch_size", "in_flight", "strict")  # of the run's own: how to compute, not what


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    from wsdet.cli.saved_run import saved_config
    from wsdet.stages.improve import improve

    of_run = saved_config(Path(str(cfg.run)), cfg.trust)
    if "detector" not in of_run:
        raise InputError(f"run={cfg.run} trained no detectors; give a run of python -m wsdet.train")
    _say_ignored(cfg.run)
    for key in ("out", *_IN_PLACE):
        of_run[key] = cfg[key]
    corrections = None if cfg.corrections is None else Path(cfg.corrections)
    run = open_run(of_run)
    with planned(of_run, "improve", run, is_new=True):
        improve(run, experiment_of(of_run), Path(str(cfg.run)), corrections, list(cfg.train_on))


def _say_ignored(run: str) -> None:
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    ignored = [one for one in given if one.partition("=")[0].lstrip("+~") not in (*_USED, *_IN_PLACE)]
    if ignored:
        log.warning("%s: not taken; detectors are trained as %s/config.yaml says", ", ".join(ignored), run)


def main() -> None:
    """Entry point."""
    entry_point("improve", run)


if __name__ == "__main__":
    main()
