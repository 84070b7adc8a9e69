"""The confidence of pseudo-boxes, estimated from the training images alone, and how it selects or weights them.

Up to three things speak for a box: its score, its margin to the next box of its label in the image, and the agreement
of other localizers (the mean IoU with their first boxes). Their scales differ from class to class and from method to
method, so each is replaced by its rank among the boxes of the class, and the ranks are averaged. The confidence is the
rank of that average, in (0, 1]: 0.25 says that a quarter of the class's boxes have no higher one, for every
class, localizer and kind of evidence. Ground truth is not looked at, so a confidence is no probability of being right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from wsdet import check
from wsdet.boxes import iou
from wsdet.types import Boxes, Floats

WEIGHTINGS = ("none", "keep", "ignore", "weight")


def confidences(
    positives: Mapping[str, Boxes], boxes_by_id: Mapping[str, Boxes], others: Sequence[Mapping[str, Boxes]] = ()
) -> dict[str, Floats]:
    """The confidence of each box of `positives`, by image id.

    Args:
        positives: what was chosen of `boxes_by_id`.
        boxes_by_id: all boxes of the localizer, for the margins.
        others: boxes of other localizers, best first; an image that one lacks counts as no agreement.
    """
    labels = np.concatenate([np.zeros(0, int), *(boxes.labels for boxes in positives.values())])
    evidence = [
        _column(boxes.scores for boxes in positives.values()),
        _column(_margins(boxes, boxes_by_id[image_id]) for image_id, boxes in positives.items() if len(boxes)),
    ]
    if others:
        evidence.append(_column(agreement_with(others, i, boxes) for i, boxes in positives.items()))
    together = np.zeros(len(labels))
    for label in np.unique(labels):
        own = labels == label
        together[own] = _ranks(np.mean([_ranks(column[own]) for column in evidence], axis=0))
    ends = np.cumsum([len(boxes) for boxes in positives.values()])
    parts = np.split(together.astype(np.float32), ends)[:-1]
    return dict(zip(positives, parts, strict=True))


def weigh(
    positives: Mapping[str, Boxes],
    confidence: Mapping[str, Floats],
    weighting: str,
    low_confidence_below: float = 0.25,
) -> dict[str, Boxes]:
    """Positives to train on: scored by their weights, of mean 1 in each class, and flagged difficult where ignored.

    Args:
        positives: pseudo-boxes by image id.
        confidence: (n,) for each image, what `confidences` gives.
        weighting: "none" takes all boxes alike; "keep" drops those of low confidence; "ignore" makes these regions that
            are neither positive nor negative; "weight" takes all, each with its confidence as weight.
        low_confidence_below: a confidence below this is low, in [0, 1]: the share of a class's boxes that are.

    Raises:
        InputError: `weighting` or `low_confidence_below` is not one of these.
    """
    check.one_of(WEIGHTINGS, weighting=weighting)
    check.share(low_confidence_below=low_confidence_below)
    means = _mean_by_label(positives, confidence)
    weighed = {}
    for image_id, boxes in positives.items():
        confident = confidence[image_id] >= low_confidence_below
        weights = np.ones(len(boxes), np.float32)
        if weighting == "weight":
            weights *= confidence[image_id]
            weights /= np.array([means[label] for label in boxes.labels.tolist()], np.float32)
        difficult = boxes.difficult | ~confident if weighting == "ignore" else boxes.difficult
        one = Boxes(boxes.xyxy, weights, boxes.labels, difficult)
        weighed[image_id] = one[confident] if weighting == "keep" else one
    return weighed


def agreement_with(others: Sequence[Mapping[str, Boxes]], image_id: str, boxes: Boxes) -> Floats:
    """(n,) mean over other methods of the IoU of each box with their first box of the same label, or of no label.

    Args:
        others: boxes of the other methods by image id, best first; an image that one lacks counts as no agreement.
        image_id: of the boxes.
        boxes: (n,) of one method.
    """
    found = np.zeros((len(others), len(boxes)), np.float32)
    for row, other in enumerate(others):
        theirs = other.get(image_id, Boxes.empty())
        for label in np.unique(boxes.labels):
            first = np.flatnonzero((theirs.labels == label) | (theirs.labels == -1))[:1]
            own = boxes.labels == label
            found[row, own] = iou(boxes.xyxy[own], theirs.xyxy[first]).max(axis=1, initial=0)
    mean: Floats = found.mean(axis=0)
    return mean


def _margins(boxes: Boxes, all_boxes: Boxes) -> Floats:
    """(n,) how much higher each box scores than the next of its label in the image; infinite for the last."""
    margins = np.zeros(len(boxes), np.float32)
    for label in np.unique(boxes.labels):
        scores = np.append(-np.inf, np.sort(all_boxes.scores[all_boxes.labels == label]))
        own = boxes.labels == label
        rank = np.searchsorted(scores, boxes.scores[own], side="right") - 1
        margins[own] = scores[rank] - scores[rank - 1]
    return margins


def _column(parts: Iterator[Floats]) -> Floats:
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(n,) ranks in (0, 1]; equal values share the mean of theirs."""
    return np.asarray(rankdata(values) / len(values))


def _mean_by_label(positives: Mapping[str, Boxes], confidence: Mapping[str, Floats]) -> dict[int, float]:
    labels = np.concatenate([np.zeros(0, int), *(boxes.labels for boxes in positives.values())])
    values = _column(confidence[image_id] for image_id in positives)
    return {int(label): float(values[labels == label].mean()) for label in np.unique(labels)}
