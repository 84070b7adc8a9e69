"""Self-training: the boxes that a detector finds in the training images are what the next one is trained on.

What of a round can be known without ground truth is measured here: how far two rounds agree, and how the boxes' classes
are distributed beside the labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet import check
from wsdet.boxes import iou
from wsdet.detectors.filtering import Filtering
from wsdet.types import Boxes


@dataclass(frozen=True)
class SelfTraining:
    """How many rounds, and with which thresholds; none is fitted to ground truth.

    Attributes:
        rounds: maximum number of them; 0: none.
        folds: with 2 or more, the training images are split into `folds` parts, and the detector that finds the boxes
            of a part was not trained on it (Cinbis, Verbeek and Schmid, TPAMI 2017); 0: one detector finds them all.
        stop_agreement: the rounds end when the first boxes of two successive ones have this mean IoU.
        keep_share: see `Filtering`, as for the next two.
        inside_share: share of a box inside another from which it is dropped.
        max_per_class: boxes of a class in an image; 0: all.

    Raises:
        InputError: a value is out of its range.
    """

    rounds: int = 0
    folds: int = 0
    stop_agreement: float = 0.95
    keep_share: float = 0.2
    inside_share: float = 0.85
    max_per_class: int = 10

    def __post_init__(self) -> None:
        check.at_least(0, rounds=self.rounds, folds=self.folds)
        check.share(stop_agreement=self.stop_agreement)
        _ = self.filtering  # which checks the rest

    @property
    def filtering(self) -> Filtering:
        """The thresholds of the boxes."""
        return Filtering(self.keep_share, self.inside_share, self.max_per_class)


@dataclass(frozen=True)
class MeanTeacher:
    """One round in which the boxes change with every step: those of a moving average of the detector that learns.

    Attributes:
        decay: of the average, a step; lower in the first steps.
        threshold: score from which on the teacher's boxes are taken.
        inside_share: see `Filtering`.
        epochs: of the training.
        learning_rate_share: the learning rate relative to that of the detector that it goes on from.

    Raises:
        InputError: a value is out of its range.
    """

    decay: float = 0.9996
    threshold: float = 0.7
    inside_share: float = 0.85
    epochs: int = 10
    learning_rate_share: float = 0.3

    def __post_init__(self) -> None:
        check.within("[0, 1)", decay=self.decay)
        check.share(threshold=self.threshold)
        check.within("(0, 1]", inside_share=self.inside_share)
        check.at_least(1, epochs=self.epochs)
        check.positive(learning_rate_share=self.learning_rate_share)


def parts(ids: Sequence[str], folds: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """(images to train on, images to find boxes in) for each of `folds` random parts; all in both for < 2."""
    if folds < 2:
        return [(list(ids), list(ids))]
    number = np.random.default_rng(seed).permutation(len(ids)) % folds
    return [
        (
            [i for i, n in zip(ids, number, strict=True) if n != k],
            [i for i, n in zip(ids, number, strict=True) if n == k],
        )
        for k in range(folds)
    ]


def agreement(before: Mapping[str, Boxes], after: Mapping[str, Boxes]) -> float:
    """Mean IoU of the first boxes of each label of each image in two rounds; 0 for a label that one of them lacks."""
    overlaps: list[float] = []
    for image_id in before.keys() | after.keys():
        one, other = before.get(image_id, Boxes.empty()), after.get(image_id, Boxes.empty())
        for label in {*one.labels.tolist(), *other.labels.tolist()}:
            firsts = [boxes.xyxy[boxes.labels == label][:1] for boxes in (one, other)]
            overlaps.append(float(iou(*firsts).max(initial=0)))
    return float(np.mean(overlaps)) if overlaps else math.nan


def class_divergence(boxes: Mapping[str, Boxes], labels: Mapping[str, Sequence[int]], n_classes: int) -> float:
    """Kullback-Leibler divergence, in nats, of the boxes' class counts from the labels'; one is added to each count."""
    found, wanted = np.ones(n_classes), np.ones(n_classes)
    for one in boxes.values():
        found += np.bincount(one.labels[one.labels >= 0], minlength=n_classes)
    for of_image in labels.values():
        wanted[list(of_image)] += 1
    found, wanted = found / found.sum(), wanted / wanted.sum()
    return float((found * np.log(found / wanted)).sum())
