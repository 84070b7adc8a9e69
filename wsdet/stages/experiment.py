"""The whole experiment: class labels -> pseudo-boxes -> detectors -> how close they come to ground truth.

Each stage leaves its result in a sub-folder of the run, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wsdet.data.loading import ids_with_known_classes
from wsdet.data.relabeled import Relabeled
from wsdet.detectors.self_training import MeanTeacher, SelfTraining
from wsdet.runners.local import Local
from wsdet.stages.evaluate import evaluate_instances, evaluate_run, write_average_precision
from wsdet.stages.positives import CORRECTED, Positives, chosen, positives_of, possible
from wsdet.stages.recipe import Recipe
from wsdet.stages.run import Run, failures
from wsdet.stages.self_training import Saved, self_train, teach
from wsdet.stages.verdict import judge, text_of
from wsdet.storage.box_store import BoxStore
from wsdet.storage.files import write_json
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.finished import is_finished, mark_finished
from wsdet.storage.provenance import read_settings
from wsdet.types import Boxes, Detector, InputError

if TYPE_CHECKING:
    from wsdet.detectors.trainer import DetectorTrainer, StepwiseTrainer, TrainingSet

log = logging.getLogger(__name__)

BASELINES = {"center_box": 0.7, "full_image": 1.0}  # side relative to the image's


@dataclass(frozen=True)
class Experiment:
    """What `run_experiment` does, beside the run itself.

    Attributes:
        localizer: makes the pseudo-boxes.
        proposals: what detectors look at.
        detector: the kind of detector.
        positives: the boxes that they are trained on.
        depends_on: all that the experiment depends on, as plain JSON values.
        visualize: number of images in which to draw what the localizer saw.
        title: of the report; empty: no report.
        verdict: maximum number of images for the verdict, see `wsdet.stages.verdict.judge`.
        self_training: rounds of it, or one under a mean teacher, from the detector that is trained on pseudo-boxes.
        trained_in: folder of a run whose detectors and detections are taken, those that are there; None: of this one.
        corrected: for each detector that is trained with corrections, all boxes of the training images that a person
            has corrected, by image id; see `positives_of`. `wsdet.improve` has "corrected" and "corrected_alone".
        improvement: goes into the metrics with them: `changes`, and `curve`, earlier mAP by images corrected.
    """

    localizer: Recipe
    proposals: Recipe
    detector: Recipe
    positives: Positives
    depends_on: Mapping[str, Any] = field(default_factory=dict)
    visualize: int = 0
    title: str = ""
    verdict: int = 0
    self_training: SelfTraining | MeanTeacher = field(default_factory=SelfTraining)
    trained_in: Path | None = None
    corrected: Mapping[str, Mapping[str, Boxes]] = field(default_factory=dict)
    improvement: Mapping[str, Any] = field(default_factory=dict)


def run_experiment(run: Run, experiment: Experiment) -> None:
    """Runs all stages and leaves `metrics.json`, the report and a summary in the log."""
    images = {"train": run.train_ids, "test": run.test_ids, "digest": Fingerprints(run.dataset, True).digest(run.ids)}
    depends_on = {**experiment.depends_on, "images": images}
    if is_finished(run.out / "finished.json", depends_on):
        log.info("nothing to do: %s was finished with the same settings on the same images", run.out)
        return
    trainer = _trainer(experiment)
    train_on = list(dict.fromkeys([*possible(experiment.positives, run.dataset, run.train_ids), *experiment.corrected]))
    localized = localize_with_baselines(run, experiment.localizer, experiment.visualize)
    proposals = run.propose(experiment.proposals, run.ids) if trainer.needs_proposals else None
    positives = positives_of(
        experiment.positives,
        train_on,
        run.dataset,
        run.train_ids,
        localized,
        experiment.localizer.name,
        experiment.corrected,
    )
    with run.timings.stage("train_detectors"):
        detectors = _train_detectors(run, experiment, trainer, positives, proposals)
    with run.timings.stage("detect"):
        detections = _detect(run, experiment, detectors, proposals)
    with run.timings.stage("evaluate"):
        named = {experiment.proposals.name: proposals} if proposals is not None else {}
        metrics = evaluate_run(run.dataset, run.train_ids, run.test_ids, localized, named, detections)
        if "localization" in metrics:
            metrics["instances"] = {
                name: evaluate_instances(chosen(experiment.positives, boxes, run.train_ids), run.dataset, run.train_ids)
                for name, boxes in localized.items()
            }
    found = judge(
        run, experiment.localizer, experiment.proposals, localized[experiment.localizer.name], experiment.verdict
    )
    metrics |= {"verdict": found} if found else {}
    if _self_trains(experiment) and "pseudo" in detectors:
        with run.timings.stage("self_training"):
            metrics["rounds"] = _rounds(run, experiment, trainer, detectors["pseudo"], positives["pseudo"], proposals)
    if CORRECTED in experiment.corrected:
        metrics["corrections"] = _corrections(experiment, metrics)
    metrics |= {"thresholds": _thresholds(experiment)} | _costs(run)
    write_json(run.out / "metrics.json", metrics)
    if "detectors" in metrics:
        write_average_precision(run.out / "ap.csv", metrics["detectors"])
    if experiment.title:
        _report(run, experiment.title, metrics, localized, detections)
    stores = [*localized.values(), *([] if proposals is None else [proposals]), *detections.values()]
    failed = failures(stores)
    _summarize(run, metrics, failed)
    if not failed:  # they are tried again
        models = (_trained_in(run, experiment) / "detectors" / name for name in detectors)
        folders = [*(store.folder for store in stores), *models]
        pages = [run.out / "report"] if experiment.title else []
        mark_finished(run.out / "finished.json", depends_on, [run.out / "metrics.json", *folders, *pages])


def _corrections(experiment: Experiment, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `metrics.json` on corrections: the curve goes on to this run's mAP."""
    n, reached = len(experiment.corrected[CORRECTED]), metrics.get("detectors", {}).get(CORRECTED, {}).get("map")
    curve = dict(experiment.improvement.get("curve", [])) | ({} if reached is None else {n: reached})
    return {**experiment.improvement, "images": n, "curve": [list(point) for point in sorted(curve.items())]}


def localize_with_baselines(run: Run, recipe: Recipe, n_evidence: int = 0) -> dict[str, BoxStore]:
    """Boxes of the training images by a localizer and by the baselines, by name."""
    store, localizer = run.localize(recipe, run.train_ids)
    stores = {recipe.name: store}
    for name, side in BASELINES.items():
        if name != recipe.name:
            baseline = {"_target_": "wsdet.localizers.constant_boxes.CenterBox", "width": side, "height": side}
            stores[name], _ = run.localize(Recipe(name, baseline, "localizer", recipe.make), run.train_ids)
    if n_evidence:
        run.visualize(recipe.name, localizer, run.train_ids, n_evidence)
    return stores


def _train_detectors(
    run: Run,
    experiment: Experiment,
    trainer: DetectorTrainer,
    positives: Mapping[str, Mapping[str, Boxes]],
    proposals: BoxStore | None,
) -> Mapping[str, Detector]:
    """One detector for each entry of `positives`: those of `<out>/detectors`, or all trained now."""
    data = _training_set(run, experiment, positives, proposals, run.train_ids)
    return trainer.train(data, _trained_in(run, experiment) / "detectors")


def _trainer(experiment: Experiment) -> DetectorTrainer:
    from wsdet.detectors.trainer import StepwiseTrainer

    trainer: DetectorTrainer = experiment.detector.build()
    if isinstance(experiment.self_training, MeanTeacher) and not isinstance(trainer, StepwiseTrainer):
        raise InputError(
            "self_training=mean_teacher needs a detector that is trained in steps, as detector=fcos is; take that, or "
            "self_training=rounds"
        )
    return trainer


def _trained_in(run: Run, experiment: Experiment) -> Path:
    return experiment.trained_in or run.out


def _self_trains(experiment: Experiment) -> bool:
    return isinstance(experiment.self_training, MeanTeacher) or experiment.self_training.rounds > 0


def _rounds(
    run: Run,
    experiment: Experiment,
    trainer: DetectorTrainer,
    detector: Detector,
    positives: Mapping[str, Boxes],
    proposals: BoxStore | None,
) -> list[dict[str, Any]]:
    """What each round of self-training measured."""

    def set_of(ids: Sequence[str], of: Mapping[str, Mapping[str, Boxes]]) -> TrainingSet:
        return _training_set(run, experiment, of, proposals, ids)

    options, folder = experiment.self_training, run.out / "rounds"
    if isinstance(options, SelfTraining):
        ids = run.train_ids, run.test_ids
        saved = Saved(detector, _trained_in(run, experiment) / "detectors" / "pseudo")
        return self_train(trainer, set_of, saved, positives, proposals, *ids, options, folder)
    steps = cast("StepwiseTrainer", trainer)  # `_trainer` has seen to it
    return teach(steps, set_of(run.train_ids, {"pseudo": positives}), detector, run.test_ids, options, folder)


def _thresholds(experiment: Experiment) -> dict[str, Any]:
    """The part of `metrics.json` that says which boxes were trained on; none of it was chosen by ground truth."""
    own = ("score_threshold", "nms_iou")
    settings = {**experiment.detector.settings, **experiment.detector.settings.get("model", {})}
    return {
        "positives": asdict(experiment.positives),
        "self_training": asdict(experiment.self_training),
        "detector": {name: settings[name] for name in own if name in settings},
    }


def _training_set(
    run: Run,
    experiment: Experiment,
    positives: Mapping[str, Mapping[str, Boxes]],
    proposals: BoxStore | None,
    ids: Sequence[str],
) -> TrainingSet:
    from wsdet.detectors.trainer import TrainingSet

    # an image of which nothing is known is no negative example; one with a box of a class is a positive one
    corrected = {image_id: of for by_id in experiment.corrected.values() for image_id, of in by_id.items()}
    known = {*ids_with_known_classes(run.dataset, ids), *corrected}
    ids = [i for i in ids if i in known or any(_has_class(boxes, i) for boxes in positives.values())]
    parts = [
        "data",
        "localizer",
        "proposals",
        "detector",
        "limit",
        "seed",
        *([CORRECTED] if corrected else []),
    ]
    labels = {image_id: tuple(np.unique(boxes.labels).tolist()) for image_id, boxes in corrected.items()}
    return TrainingSet(
        Relabeled(run.dataset, labels) if labels else run.dataset,  # what a person deleted is not there
        ids,
        positives,
        run.network,
        {} if proposals is None else proposals,
        experiment.proposals.settings,
        {key: experiment.depends_on[key] for key in parts}
        | {"network": run.network.settings, "images": Fingerprints(run.dataset, True).digest(ids)},
        run.shared / "feature_maps",
        run.execution.seed,
        run.execution.strict,
        run.trainer,
        None if isinstance(run.runner, Local) and run.runner.workers < 2 else run.runner,
    )


def _has_class(boxes: Mapping[str, Boxes], image_id: str) -> bool:
    return image_id in boxes and bool((boxes[image_id].labels >= 0).any())


def _detect(
    run: Run, experiment: Experiment, detectors: Mapping[str, Detector], proposals: BoxStore | None
) -> dict[str, BoxStore]:
    from wsdet.stages.detect import SCORES, detect

    folder = _trained_in(run, experiment)
    settings = read_settings(folder / "detectors") | SCORES
    stores = {name: BoxStore(folder / "detections" / name, settings) for name in detectors}
    folders = {name: folder / "detectors" / name for name in detectors}
    detect(run.dataset, run.test_ids, detectors, proposals, stores, run.execution.strict, run.runner, folders)
    return stores


def _costs(run: Run) -> dict[str, Any]:
    """The parts of `metrics.json` that say what the run took."""
    passes = run.timings.column("forward_passes")
    return {
        "seconds": run.timings.column("seconds"),
        "peak_mb": run.timings.column("peak_mb"),
        "forward_passes": {
            stage.removeprefix("localize/"): n for stage, n in passes.items() if stage.startswith("localize/")
        },
        "images": {"train": len(run.train_ids), "test": len(run.test_ids)},
    }


def _report(
    run: Run,
    title: str,
    metrics: Mapping[str, Any],
    localized: Mapping[str, BoxStore],
    detections: Mapping[str, BoxStore],
) -> None:
    """The page of the run, `<out>/report/index.html`."""
    from wsdet.report.page import write_report

    write_report(run.out, run.dataset, metrics, title, run.config, run.train_ids, run.test_ids, localized, detections)


def _summarize(run: Run, metrics: Mapping[str, Any], failed: Mapping[str, str]) -> None:
    from wsdet.report import text_tables as table

    if "localization" in metrics:
        log.info("pseudo-boxes of the training images\n%s", table.localization_table(metrics["localization"]))
        log.info("all objects of the training images\n%s", table.instances_table(metrics["instances"]))
    if metrics.get("proposals"):
        log.info("proposals of the test images\n%s", table.proposals_table(metrics["proposals"]))
    if "detectors" in metrics:
        log.info("detectors on the test images\n%s", table.detectors_table(metrics["detectors"]))
    if "verdict" in metrics:
        log.info("%s", text_of(metrics["verdict"], run.out))
    for image_id, why in list(failed.items())[:5]:
        log.warning("left out: %s: %s", image_id, why)
    minutes = sum(metrics["seconds"].values()) / 60
    log.info("%d images left out; %.1f minutes; all of it is in %s", len(failed), minutes, run.out)
