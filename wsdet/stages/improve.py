"""Stage: a person's corrections kept with the run, and detectors trained again with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wsdet.stages.corrections import (
    changes,
    corrections_of,
    digest_of,
    keep_corrections,
    read_corrections,
    summary,
)
from wsdet.stages.experiment import CORRECTED, Experiment, run_experiment
from wsdet.stages.review import pseudo_boxes_of, shown_boxes
from wsdet.stages.run import Run
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)


def improve(run: Run, experiment: Experiment, before: Path, corrections: Path | None, train_on: Sequence[str]) -> None:
    """Trains again: corrected images count as true and complete, the others as before.

    Args:
        run: its folder is that of the result; it shares the pseudo-boxes, proposals and feature maps of `before`.
        experiment: of the run `before`.
        before: the run that was corrected; `corrections` in it keeps all boxes that people gave.
        corrections: what a tool exported; None: those that are kept already.
        train_on: a detector for each; `corrected` is the one that this is about.

    Raises:
        InputError: there are no corrections, or they cannot be read.
    """
    store = corrections_of(before, run.dataset, run.data)
    if corrections is not None:
        corrected = read_corrections(corrections, run.dataset, run.train_ids, run.out / "corrections_read")
        _say_changes(run, experiment, corrected)
        keep_corrections(store, corrected)
    mine = {image_id: store[image_id] for image_id in run.train_ids if image_id in store}
    if not mine:
        raise InputError(f"{before} has no corrections yet; give corrections=PATH, what the annotation tool exported")
    log.info("training again: %d images count as true, %d as pseudo-boxes", len(mine), len(run.train_ids) - len(mine))
    positives = replace(experiment.positives, train_on=tuple(train_on))
    depends_on = {**experiment.depends_on, CORRECTED: digest_of(mine)}
    run_experiment(run, replace(experiment, positives=positives, depends_on=depends_on, corrected=mine))
    _say_figures(before, run.out)


def _say_changes(run: Run, experiment: Experiment, corrected: Mapping[str, Boxes]) -> None:
    recipe = experiment.localizer
    pseudo = pseudo_boxes_of(run.shared, recipe.name, recipe.settings, run.data)
    before = shown_boxes(pseudo, list(corrected), experiment.positives)
    found = {image_id: changes(before.get(image_id, Boxes.empty()), after) for image_id, after in corrected.items()}
    log.info(summary(found))
    write_json(run.out / "corrections.json", {image_id: asdict(one) for image_id, one in found.items()})


def _say_figures(before: Path, after: Path) -> None:
    """mAP before and after, where the data has ground-truth boxes to measure it."""
    old, new = _maps(before / "metrics.json"), _maps(after / "metrics.json")
    if CORRECTED in new:
        known = [f"{name} {value:.3f}" for name, value in old.items()]
        log.info("mAP with corrections %.3f; before: %s", new[CORRECTED], ", ".join(known) or "not measured")


def _maps(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    detectors: dict[str, Any] = read_object(path).get("detectors", {})
    return {name: float(figures["map"]) for name, figures in detectors.items() if figures.get("map") is not None}
