"""Stage: a person's corrections kept with the run, and detectors trained again with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wsdet.stages.corrections import (
    Changes,
    changes,
    corrections_of,
    digest_of,
    keep_corrections,
    read_corrections,
    summary,
)
from wsdet.stages.experiment import Experiment, run_experiment
from wsdet.stages.positives import CORRECTED, CORRECTED_ALONE
from wsdet.stages.review import pseudo_boxes_of, shown_boxes
from wsdet.stages.run import Run
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)


def improve(run: Run, experiment: Experiment, before: Path, corrections: Path | None, train_on: Sequence[str]) -> None:
    """Trains again: corrected images count as true and complete, the others as before.

    `improved.json` in `before` keeps mAP by images corrected over all calls, the curve in the report.

    Args:
        run: its folder is that of the result; it shares the pseudo-boxes, proposals and feature maps of `before`.
        experiment: of the run `before`.
        before: the run that was corrected; `corrections` in it keeps all boxes that people gave.
        corrections: what a tool exported; None: those that are kept already.
        train_on: a detector for each; `corrected` is the one that this is about, and always trained.

    Raises:
        InputError: there are no corrections, or they cannot be read.
    """
    store = corrections_of(before, run.dataset, run.data)
    improvement: dict[str, Any] = {"curve": _curve(before)}
    if corrections is not None:
        corrected = read_corrections(corrections, run.dataset, run.train_ids, run.out / "corrections_read")
        improvement["changes"] = _say_changes(run, experiment, corrected)
        keep_corrections(store, corrected)
    mine = {image_id: store[image_id] for image_id in run.train_ids if image_id in store}
    if not mine:
        raise InputError(f"{before} has no corrections yet; give corrections=PATH, what the annotation tool exported")
    log.info("training again: %d images count as true, %d as pseudo-boxes", len(mine), len(run.train_ids) - len(mine))
    if CORRECTED_ALONE not in train_on:
        log.info("train_on=[corrected,corrected_alone] also trains without pseudo-boxes; docs/corrections.md says when")
    detectors = {CORRECTED: mine} | ({CORRECTED_ALONE: mine} if CORRECTED_ALONE in train_on else {})
    train_corrected(run, replace(experiment, improvement=improvement), detectors, train_on)
    measured = read_object(run.out / "metrics.json")
    write_json(before / "improved.json", {"curve": measured.get("corrections", {}).get("curve", [])})
    _say_figures(before, run.out)


def train_corrected(
    run: Run,
    experiment: Experiment,
    corrected: Mapping[str, Mapping[str, Boxes]],
    train_on: Sequence[str] = ("pseudo",),
) -> None:
    """Runs an experiment whose detectors are trained with corrections.

    Args:
        run: see `improve`.
        experiment: its own `train_on` is not taken.
        corrected: boxes of corrected images by id, for each detector.
        train_on: what further detectors are trained on.
    """
    positives = replace(experiment.positives, train_on=tuple(train_on))
    digests = {name: digest_of(by_id) for name, by_id in corrected.items()}
    depends_on = {**experiment.depends_on, CORRECTED: digests}
    run_experiment(run, replace(experiment, positives=positives, depends_on=depends_on, corrected=corrected))


def _curve(before: Path) -> list[tuple[int, float]]:
    """mAP by images corrected, as earlier calls left it in `improved.json`; it begins with the run's own."""
    maps = _maps(before / "metrics.json")
    curve = {0: maps["pseudo"]} if "pseudo" in maps else {}
    path = before / "improved.json"
    known = read_object(path).get("curve") if path.exists() else []
    for point in known if isinstance(known, list) else []:
        if isinstance(point, list) and len(point) == 2 and all(isinstance(one, int | float) for one in point):
            curve[int(point[0])] = float(point[1])
    return sorted(curve.items())


def _say_changes(run: Run, experiment: Experiment, corrected: Mapping[str, Boxes]) -> dict[str, int]:
    recipe = experiment.localizer
    pseudo = pseudo_boxes_of(run.shared, recipe.name, recipe.settings, run.data)
    before = shown_boxes(pseudo, list(corrected), experiment.positives)
    found = {image_id: changes(before.get(image_id, Boxes.empty()), after) for image_id, after in corrected.items()}
    log.info(summary(found))
    write_json(run.out / "corrections.json", {image_id: asdict(one) for image_id, one in found.items()})
    total = asdict(sum(found.values(), Changes()))
    return {"images": len(found), "verified": sum(one.verified for one in found.values()), **total}


def _say_figures(before: Path, after: Path) -> None:
    """mAP before and after, where the data has ground-truth boxes to measure it."""
    old, new = _maps(before / "metrics.json"), _maps(after / "metrics.json")
    if CORRECTED in new:
        known = [f"{name} {value:.3f}" for name, value in old.items()]
        alone = f", with these alone {new[CORRECTED_ALONE]:.3f}" if CORRECTED_ALONE in new else ""
        log.info("mAP with corrections %.3f%s; before: %s", new[CORRECTED], alone, ", ".join(known) or "not measured")


def _maps(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    detectors: dict[str, Any] = read_object(path).get("detectors", {})
    return {name: float(figures["map"]) for name, figures in detectors.items() if figures.get("map") is not None}
