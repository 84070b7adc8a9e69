"""The whole experiment: class labels -> pseudo-boxes -> detectors -> how close they come to ground truth.

`python -m wsdet.train data=... network=... localizer=...` strings the stages together. Each leaves its result in a
sub-folder of the run, and a run that was stopped goes on where it was. What runs have in common (the classifier,
pseudo-boxes, proposals, feature maps) they compute once when `shared` names one folder for all of them.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsdet.cli.build import build, check_parts, settings_of
from wsdet.cli.entry_point import entry_point
from wsdet.cli.factories import experiment_of, open_run, recipe
from wsdet.cli.planned import planned
from wsdet.types import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

# what task=self_training does not take from the run that it goes on from
_OWN = {
    *("out", "task", "run", "trust", "rounds", "folds", "self_training", "report", "visualize"),
    *("device", "workers", "runner", "trainer", "strict"),
}


def run(cfg: DictConfig) -> None:
    """What the program does with a composed config."""
    tasks = {
        "experiment": _experiment,
        "self_training": _self_training,
        "classifier": _classifier,
        "box_regressor": _box_regressor,
    }
    tasks[cfg.task](cfg)


def _experiment(cfg: DictConfig) -> None:
    from wsdet.stages.experiment import run_experiment

    check_parts(cfg, "localizer", "proposals")
    run = open_run(cfg)
    with planned(cfg, "train", run):
        run_experiment(run, experiment_of(cfg))


def _self_training(cfg: DictConfig) -> None:
    from wsdet.stages.experiment import run_experiment

    run = open_run(cfg)
    with planned(cfg, "train task=self_training", run):
        run_experiment(run, replace(experiment_of(cfg), trained_in=Path(cfg.run)))


def complete(cfg: DictConfig) -> None:
    """task=self_training goes on from a finished run, with its settings."""
    from wsdet.cli.saved_run import saved_config

    if cfg.task != "self_training":
        return
    if cfg.run is None:
        raise InputError("task=self_training goes on from a finished run: give its folder as run=RUN")
    of_run = saved_config(Path(cfg.run), cfg.trust)
    if "detector" not in of_run:
        raise InputError(f"run={cfg.run} trained no detectors; give a run of python -m wsdet.train")
    for key in cfg:
        if key in of_run and key not in _OWN:
            cfg[key] = of_run[key]
    if cfg.self_training.get("rounds") == 0:
        cfg.self_training.rounds = 1


def _classifier(cfg: DictConfig) -> None:
    run = open_run(cfg)
    with planned(cfg, "train task=classifier", run):
        path = run.train_classifier()
    log.info("the classifier is in %s; use it as network.weights=%s", path, path)


def _box_regressor(cfg: DictConfig) -> None:
    from wsdet.stages.box_regressors import run_box_regressors

    if not isinstance(cfg.boxes, str):
        raise InputError(f"boxes must be ground_truth, pseudo or one store, got {cfg.boxes}")
    options = build(cfg.box_regressor, "box_regressor")
    n_boxes = settings_of(cfg, "n_boxes")["n_boxes"]
    n_boxes = n_boxes if isinstance(n_boxes, list) else [n_boxes]
    parts = recipe(cfg, "localizer"), recipe(cfg, "proposals")
    run = open_run(cfg)
    with planned(cfg, "train task=box_regressor", run):
        run_box_regressors(run, cfg.boxes, n_boxes, *parts, options)


def main() -> None:
    """Entry point."""
    entry_point("train", run, complete=complete)


if __name__ == "__main__":
    main()
