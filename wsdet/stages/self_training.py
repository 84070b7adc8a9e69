"""Self-training: rounds of any kind of detector, each in `rounds/N`, or one under a mean teacher.

Each leaves its boxes, detector and detections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsdet.detectors.filtering import Filtering, filtered
from wsdet.detectors.self_training import MeanTeacher, SelfTraining, agreement, class_divergence, parts
from wsdet.detectors.trainer import DetectorTrainer, StepwiseTrainer, TrainingSet
from wsdet.stages.detect import SCORES, detect
from wsdet.stages.evaluate import evaluate_detections, evaluate_localization
from wsdet.stages.positives import equally_weighted
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Detector, InputError

log = logging.getLogger(__name__)

NAME = "pseudo"


class Saved(NamedTuple):
    """A detector, and the folder that it can be loaded from elsewhere."""

    detector: Detector
    folder: Path

    def detect(self, ids: Sequence[str], store: BoxStore, proposals: BoxStore | None, data: TrainingSet) -> None:
        """Fills a store with what it finds in images, by the workers that `data` has."""
        of, folders = {NAME: self.detector}, {NAME: self.folder}
        detect(data.dataset, ids, of, proposals, {NAME: store}, data.strict, data.runner, folders)


SetOf = Callable[[Sequence[str], Mapping[str, Mapping[str, Boxes]]], TrainingSet]


def self_train(
    trainer: DetectorTrainer,
    set_of: SetOf,
    detector: Saved,
    positives: Mapping[str, Boxes],
    proposals: BoxStore | None,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    options: SelfTraining,
    folder: Path,
) -> list[dict[str, Any]]:
    """Runs the rounds and gives what each measured; a stopped run goes on where it was.

    Args:
        trainer: of the kind of detector.
        set_of: what to train on, from the images and their positives by detector's name.
        detector: of round 0.
        positives: its boxes by image id.
        proposals: of all images, for kinds that look at them.
        train_ids: images whose boxes are found anew.
        test_ids: images to measure on.
        options: how many rounds, and how.
        folder: of the rounds.

    Returns:
        One entry for each round: `boxes`, `agreement`, `class_divergence` and, where there is ground truth,
        `localization` of its boxes and `detector`, the average precision of the detector trained on them.
    """
    measured: list[dict[str, Any]] = []
    for number in range(1, options.rounds + 1):
        own = folder / str(number)
        data = set_of(train_ids, {NAME: positives})
        store = _relocate(trainer, set_of, detector, positives, proposals, options, own, data)
        boxes = {image_id: store[image_id] for image_id in train_ids if image_id in store}
        figures = _figures(positives, boxes, data)
        if figures["agreement"] >= options.stop_agreement:
            log.info("round %d: boxes agree with those before to %.3f; it is the last", number, figures["agreement"])
            return [*measured, figures]
        positives = equally_weighted(boxes)
        detector = _trained(trainer, set_of(train_ids, {NAME: positives}), own / "detectors")
        found = BoxStore(own / "detections", dict(data.depends_on) | {"round": number} | SCORES)
        detector.detect(test_ids, found, proposals, data)
        if any(image_id in data.dataset.truth for image_id in test_ids):
            figures["detector"] = evaluate_detections(found, data.dataset, test_ids)
        measured.append(figures)
        log.info("round %d: %s", number, _said(figures))
    return measured


def teach(
    trainer: StepwiseTrainer,
    data: TrainingSet,
    detector: Detector,
    test_ids: Sequence[str],
    options: MeanTeacher,
    folder: Path,
) -> list[dict[str, Any]]:
    """One round under a mean teacher; the figures are those of `self_train`, its boxes what the teacher finds at last.

    Args:
        trainer: of the kind of detector.
        data: images, and as their only positives the boxes that `detector` was trained on.
        detector: that the training goes on from.
        test_ids: images to measure on.
        options: of the teacher.
        folder: of the rounds.
    """
    own, positives = folder / "mean_teacher", data.positives[NAME]
    taught = Saved(trainer.teach(data, detector, options, own / "detectors"), own / "detectors" / NAME)
    depends_on = dict(data.depends_on) | {"mean_teacher": vars(options)}
    found, seen = BoxStore(own / "detections", depends_on), BoxStore(own / "found", depends_on)
    taught.detect(test_ids, found, None, data)
    taught.detect(data.ids, seen, None, data)
    filtering = Filtering(options.threshold, options.inside_share)
    boxes = {
        image_id: filtered(seen[image_id], data.dataset.labels(image_id), filtering, positives.get(image_id))
        for image_id in data.ids
        if image_id in seen
    }
    figures = _figures(positives, boxes, data)
    if any(image_id in data.dataset.truth for image_id in test_ids):
        figures["detector"] = evaluate_detections(found, data.dataset, test_ids)
    log.info("mean teacher: %s", _said(figures))
    return [figures]


def _relocate(
    trainer: DetectorTrainer,
    set_of: SetOf,
    detector: Saved,
    positives: Mapping[str, Boxes],
    proposals: BoxStore | None,
    options: SelfTraining,
    folder: Path,
    data: TrainingSet,
) -> BoxStore:
    """The boxes of a round: what was found, never of a class that the image does not have, filtered."""
    depends_on = dict(data.depends_on) | {"filtering": vars(options)}
    found: dict[str, Boxes] = {}
    for number, (learned_from, looked_at) in enumerate(parts(data.ids, options.folds, data.seed)):
        finder = detector
        if options.folds >= 2:
            one = {NAME: {image_id: positives[image_id] for image_id in learned_from if image_id in positives}}
            finder = _trained(trainer, set_of(learned_from, one), folder / "folds" / str(number))
        store = BoxStore(folder / "found" / str(number), depends_on | SCORES)
        finder.detect(looked_at, store, proposals, data)
        found |= {image_id: store[image_id] for image_id in looked_at if image_id in store}
    boxes = BoxStore(folder / "boxes", depends_on)

    def kept(missing: Sequence[str]) -> Any:
        for image_id in missing:
            if image_id not in found:
                yield image_id, InputError(f"{image_id} could not be read; see the failed.json in {folder / 'found'}")
                continue
            labels, before = data.dataset.labels(image_id), positives.get(image_id)
            yield image_id, filtered(found[image_id], labels, options.filtering, before)

    boxes.fill(data.ids, kept, "filter", data.strict)
    return boxes


def _trained(trainer: DetectorTrainer, data: TrainingSet, folder: Path) -> Saved:
    return Saved(trainer.train(data, folder)[NAME], folder / NAME)


def _figures(before: Mapping[str, Boxes], after: Mapping[str, Boxes], data: TrainingSet) -> dict[str, Any]:
    dataset = data.dataset
    labels = {image_id: dataset.labels(image_id) for image_id in after}
    figures: dict[str, Any] = {
        "boxes": sum(map(len, after.values())),
        "agreement": agreement(before, after),
        "class_divergence": class_divergence(after, labels, len(dataset.classes)),
    }
    if any(image_id in dataset.truth for image_id in after):
        figures["localization"] = evaluate_localization(after, dataset, list(after))
    return figures


def _said(figures: Mapping[str, Any]) -> str:
    said = f"{figures['boxes']} boxes, agreement {figures['agreement']:.3f}"
    if "localization" in figures:
        said += f", CorLoc {figures['localization']['corloc']:.3f}"
    if "detector" in figures:
        said += f", mAP {figures['detector']['map']:.3f}"
    return said
