"""Detectors trained again with a person's corrections: `python -m wsdet.improve run=RUN corrections=PATH out=DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import experiment_of, open_run
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def _run(cfg: DictConfig) -> None:
    from wsdet.cli.saved_run import saved_config
    from wsdet.stages.improve import improve

    of_run = saved_config(Path(str(cfg.run)), cfg.trust)
    if "detector" not in of_run:
        raise InputError(f"run={cfg.run} trained no detectors; give a run of python -m wsdet.train")
    of_run.out = cfg.out
    of_run.device, of_run.workers = cfg.device, cfg.workers
    corrections = None if cfg.corrections is None else Path(cfg.corrections)
    improve(open_run(of_run), experiment_of(of_run), Path(str(cfg.run)), corrections, list(cfg.train_on))


def main() -> None:
    """Entry point."""
    entry_point("improve", _run)


if __name__ == "__main__":
    main()
