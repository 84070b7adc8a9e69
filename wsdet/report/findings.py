"""What a run found, set against the ground truth that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsdet.metrics.diagnosis import DiagnosedDetections, diagnose_boxes, diagnose_detections
from wsdet.metrics.localization import TopBoxes, top_boxes
from wsdet.types import Boxes, Dataset

BoxesById = Mapping[str, Boxes]


@dataclass(frozen=True, eq=False)
class Findings:
    """What a run found, set against the ground truth that it has.

    Attributes:
        classes: names of the classes.
        metrics: what is in `metrics.json`.
        labels: of the training images, by id.
        truth: ground-truth boxes by image id, where they can be read.
        localized: pseudo-boxes by method and image id; the method in question stands first.
        detections: by detector and image id.
        test_ids: the test images.
        firsts: the first box of each label, by method and image id.
        diagnosed: for each method, what kind its first boxes are of.
        errors: for each detector that can be measured, what kinds of errors it makes.
    """

    classes: Sequence[str]
    metrics: Mapping[str, Any]
    labels: Mapping[str, Sequence[int]]
    truth: BoxesById
    localized: Mapping[str, BoxesById]
    detections: Mapping[str, BoxesById]
    test_ids: Sequence[str]
    firsts: Mapping[str, dict[str, Boxes]]
    diagnosed: Mapping[str, Sequence[Any]]
    errors: Mapping[str, DiagnosedDetections]

    @property
    def method(self) -> str:
        """The method in question."""
        return next(iter(self.localized), "")

    @property
    def measured(self) -> dict[str, Sequence[int]]:
        """Labels of the training images that have ground truth."""
        return {image_id: of_image for image_id, of_image in self.labels.items() if image_id in self.truth}

    def counted(self, detector: str) -> list[str]:
        """Test images on which a detector can be measured."""
        boxes = self.detections[detector]
        return [image_id for image_id in self.test_ids if image_id in self.truth and image_id in boxes]

    def top(self, method: str) -> TopBoxes:
        """First boxes against ground truth of the classes that an image is labeled with, as in the metrics."""
        boxes = self.localized.get(method, {})
        labeled = {
            image_id: self.truth[image_id][np.isin(self.truth[image_id].labels, of_image)]
            for image_id, of_image in self.measured.items()
            if image_id in boxes
        }
        return top_boxes(boxes, labeled, list(labeled))


def findings(
    dataset: Dataset,
    metrics: Mapping[str, Any],
    truth: BoxesById,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    localized: Mapping[str, BoxesById],
    detections: Mapping[str, BoxesById],
) -> Findings:
    """Diagnoses pseudo-boxes and detections against the ground truth `truth`."""
    labels = {image_id: dataset.labels(image_id) for image_id in train_ids}
    measured = {image_id: of_image for image_id, of_image in labels.items() if image_id in truth}
    counted = {name: [i for i in test_ids if i in truth and i in boxes] for name, boxes in detections.items()}
    return Findings(
        dataset.classes,
        metrics,
        labels,
        truth,
        localized,
        detections,
        test_ids,
        {name: _first_boxes(boxes, labels) for name, boxes in localized.items()},
        {name: diagnose_boxes(boxes, truth, measured) for name, boxes in localized.items()},
        {
            name: diagnose_detections(boxes, truth, counted[name], len(dataset.classes))
            for name, boxes in detections.items()
            if counted[name]
        },
    )


def low_confidence_first(firsts: BoxesById) -> list[str]:
    """Image ids, lowest confidence first: those without a box, then by the worst rank of a box within its class.

    Scores of different classes are not compared: a class may score low throughout.
    """
    rows = [(image_id, box) for image_id, boxes in firsts.items() for box in boxes]
    scores = np.array([box.scores[0] for _, box in rows])
    labels = np.array([box.labels[0] for _, box in rows])
    confidence = dict.fromkeys(firsts, -1.0)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        for rank, row in enumerate(of_class[np.argsort(scores[of_class], kind="stable")]):
            image_id, share = rows[row][0], rank / len(of_class)
            confidence[image_id] = share if confidence[image_id] < 0 else min(confidence[image_id], share)
    return sorted(confidence, key=confidence.__getitem__)


def _first_boxes(boxes: BoxesById, labels: Mapping[str, Sequence[int]]) -> dict[str, Boxes]:
    """The first box of each label of each image that the method has, labeled so; as `diagnose_boxes` picks them.

    Of an image without a label it is the first box, labeled -1.
    """
    firsts = {}
    for image_id, of_image in labels.items():
        if image_id in boxes:
            mine, parts = boxes[image_id], []
            for label in of_image or (-1,):
                first = mine[np.flatnonzero((mine.labels == label) | (mine.labels == -1))[:1]]
                parts.append(Boxes(first.xyxy, first.scores, np.full(len(first), label)))
            firsts[image_id] = Boxes.concatenate(parts)
    return firsts
