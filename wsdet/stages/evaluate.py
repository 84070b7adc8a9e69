"""Measures boxes against the ground truth: pseudo-boxes, proposals and detections.

The functions give the parts of `metrics.json`: plain values, fractions, None where there is nothing to measure. They
count the images that have both boxes and truth. `python -m wsdet.evaluate` runs them on stores.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsdet.metrics import average_precision as ap
from wsdet.metrics import localization, proposals
from wsdet.metrics.bootstrap import bootstrap_interval, nanmean
from wsdet.metrics.calibration import LEAST, reliability_of_detections
from wsdet.metrics.instances import count_instances, recall_by_size
from wsdet.storage.files import write_csv
from wsdet.types import Boxes, Dataset, Doubles, readable

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

MARGINS = tuple(round(0.05 * i, 2) for i in range(11))  # DAM's curve of center correctness goes to 0.5
STRICT = (0.75, 0.9)  # IoU beyond 0.5 at which recall of proposals is measured, too


def evaluate_localization(
    boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How well pseudo-boxes find the objects of their images' labels.

    Args:
        boxes: boxes by image id, best first; labels -1 stand for every label of the image.
        dataset: where the images come from. Of its truth, the classes count that an image is labeled with.
        ids: the images; those without boxes or without ground truth are left out.
        resamples: draws of images behind the interval; 0 for none.
        seed: of the draws.

    Returns:
        The contract's `corloc`, `mean_iou`, `precision_at`, `recall_at`, `center_correct` (by margin, 0 to 0.5) and
        `images`, and `corloc_by_class`, `corloc_interval` (95 %), `corloc_over_images`, `mean_iou_by_class` and
        `lost_corloc`.
    """
    truth = {image_id: _labeled(true, dataset.labels(image_id)) for image_id, true in _truth(dataset, boxes, ids)}
    truth = {image_id: true for image_id, true in truth.items() if len(true)}
    counted, n_classes = list(truth), len(dataset.classes)
    top = localization.top_boxes(boxes, truth, counted)
    by_class = localization.corloc(top, n_classes)
    coverage = proposals.cover(boxes, truth, counted, n_classes)
    return {
        "corloc": _mean(by_class),
        "corloc_interval": _interval(
            lambda weights: nanmean(localization.corloc(top, n_classes, weights)), len(counted), resamples, seed
        ),
        "corloc_by_class": _by_class(by_class, dataset.classes),
        "corloc_over_images": _plain(localization.corloc_over_images(top)),
        "lost_corloc": _plain(localization.lost_corloc(boxes, truth, counted)),
        "mean_iou": _plain(localization.mean_iou(top)),
        "mean_iou_by_class": _by_class(localization.mean_iou_by_class(top, n_classes), dataset.classes),
        "precision_at": {str(n): _plain(proposals.precision_at(coverage, n)) for n in (1, 10)},
        "recall_at": {str(n): _plain(proposals.recall_at(coverage, n)) for n in (1, 10, 100)},
        "center_correct": {str(margin): _plain(localization.center_correct(top, margin)) for margin in MARGINS},
        "images": len(counted),
    }


def evaluate_instances(boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str]) -> dict[str, Any]:
    """How well sets of pseudo-boxes stand for all objects of their images' labels.

    Args:
        boxes: the set of each image, by image id; boxes flagged difficult count neither way.
        dataset: where the images come from. Of its truth, the classes count that an image is labeled with.
        ids: the images; those without boxes or without ground truth are left out.

    Returns:
        `recall` and `precision` over all objects, `boxes_per_image`, `objects_per_image`, `images`, and
        `recall_by_size`, see `_by_size`.
    """
    truth = {image_id: _labeled(true, dataset.labels(image_id)) for image_id, true in _truth(dataset, boxes, ids)}
    counted = count_instances(boxes, truth, list(truth), len(dataset.classes))
    names = ("recall", "precision", "boxes_per_image", "objects_per_image")
    return {name: _plain(getattr(counted, name)) for name in names} | {
        "images": len(truth),
        "recall_by_size": _by_size(boxes, truth, len(dataset.classes)),
    }


def _by_size(boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], n_classes: int) -> dict[str, dict[str, Any]]:
    """`recall` among the `objects` of COCO's sizes: small, medium, large."""
    found = recall_by_size(boxes, truth, list(truth), n_classes)
    return {size: {"recall": _plain(recall), "objects": n} for size, (recall, n) in found.items()}


def evaluate_detections(
    detections: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Average precision of scored, labeled boxes: VOC's with 11 points, and beside it all points and COCO's.

    Args:
        detections: boxes by image id, labels into `dataset.classes`.
        dataset: where the images come from.
        ids: the images; those without an entry in `detections` or without ground truth are left out.
        resamples: draws of images behind the interval; 0 for none.
        seed: of the draws.

    Returns:
        The contract's `map` and `ap` (by class, 11-point), and `map_interval` (95 %), `map_all_point`,
        `ap_all_point`, `coco` (`ap`, `ap_50`, `ap_75`), `recall_by_size` of all detections (see `_by_size`),
        `images` and `detections` (how many), and `calibration`:
        `expected_calibration_error` of detections that score at least `from`, and `bins` (mean `score`, share
        `correct`, `detections`); None where scores are no probabilities.
    """
    truth = dict(_truth(dataset, detections, ids))
    counted, n_classes = list(truth), len(dataset.classes)
    matches = ap.match(detections, truth, counted, n_classes)
    eleven, all_points = ap.average_precision(matches, "11"), ap.average_precision(matches, "all")
    return {
        "map": _mean(eleven),
        "map_interval": _interval(
            lambda weights: nanmean(ap.average_precision(matches, "11", weights)), len(counted), resamples, seed
        ),
        "ap": _by_class(eleven, dataset.classes),
        "map_all_point": _mean(all_points),
        "ap_all_point": _by_class(all_points, dataset.classes),
        "coco": {
            name: _plain(value)
            for name, value in ap.coco_average_precision(detections, truth, counted, n_classes).items()
        },
        "recall_by_size": _by_size(detections, truth, n_classes),
        "calibration": _calibration(matches),
        "images": len(counted),
        "detections": sum(len(one.scores) for one in matches),
    }


def _calibration(matches: Sequence[ap.Matches]) -> dict[str, Any] | None:
    found = reliability_of_detections(matches)
    if found is None:
        return None
    bins = zip(found.scores.tolist(), found.correct.tolist(), found.counts.tolist(), strict=True)
    return {
        "expected_calibration_error": _plain(found.expected_calibration_error),
        "from": LEAST,
        "bins": [{"score": score, "correct": correct, "detections": n} for score, correct, n in bins if n],
    }


def ratio_of_detections(
    pseudo: Mapping[str, Boxes],
    ground_truth: Mapping[str, Boxes],
    dataset: Dataset,
    ids: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The mAP of a detector trained on pseudo-boxes as a fraction of that of one trained on ground-truth boxes.

    Args:
        pseudo: the detections of the one.
        ground_truth: the detections of the other.
        dataset: where the images come from.
        ids: the images; those that lack either's entry or truth are left out.
        resamples: draws of images behind the interval, the same images for both; 0 for none.
        seed: of the draws.

    Returns:
        `ratio` and `interval` (95 %); None where the detector trained on ground truth finds nothing.
    """
    truth = dict(_truth(dataset, pseudo, [image_id for image_id in ids if image_id in ground_truth]))
    counted, n_classes = list(truth), len(dataset.classes)
    of_pseudo, of_truth = (ap.match(one, truth, counted, n_classes) for one in (pseudo, ground_truth))

    def ratio(weights: Doubles | None) -> float:
        below = nanmean(ap.average_precision(of_truth, "11", weights))
        return nanmean(ap.average_precision(of_pseudo, "11", weights)) / below if below > 0 else math.nan

    return {"ratio": _plain(ratio(None)), "interval": _interval(ratio, len(counted), resamples, seed)}


def evaluate_proposals(boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str]) -> dict[str, Any]:
    """How well class-agnostic boxes cover the objects, as means over the classes.

    Args:
        boxes: boxes by image id, best first.
        dataset: where the images come from.
        ids: the images; those without boxes or without ground truth are left out.

    Returns:
        `recall_at` and `precision_at` for every number of boxes of the STL paper's Figure 3, `recall_at_iou` by IoU
        (0.75, 0.9) and number of boxes, `mabo`, `abo` by class, `boxes_per_image` and `images`.
    """
    truth = dict(_truth(dataset, boxes, ids))
    coverage = proposals.cover(boxes, truth, list(truth), len(dataset.classes))
    strict = {iou: proposals.cover(boxes, truth, list(truth), len(dataset.classes), iou) for iou in STRICT}
    overlap = proposals.average_best_overlap(coverage)
    return {
        "recall_at": {str(n): _plain(proposals.recall_at(coverage, n)) for n in proposals.AT},
        "recall_at_iou": {
            str(iou): {str(n): _plain(proposals.recall_at(one, n)) for n in proposals.AT} for iou, one in strict.items()
        },
        "precision_at": {str(n): _plain(proposals.precision_at(coverage, n)) for n in proposals.AT},
        "mabo": _mean(overlap),
        "abo": _by_class(overlap, dataset.classes),
        "boxes_per_image": sum(len(boxes[image_id]) for image_id in truth) / max(len(truth), 1),
        "images": len(truth),
    }


def evaluate_run(
    dataset: Dataset,
    train_ids: Sequence[str],
    test_ids: Sequence[str],
    localized: Mapping[str, Mapping[str, Boxes]],
    proposals: Mapping[str, Mapping[str, Boxes]],
    detections: Mapping[str, Mapping[str, Boxes]],
) -> dict[str, Any]:
    """The measured parts of `metrics.json`; nothing that needs truth where there is none."""
    metrics: dict[str, Any] = {}
    if any(image_id in dataset.truth for image_id in train_ids):
        metrics["localization"] = {
            name: evaluate_localization(boxes, dataset, train_ids) for name, boxes in localized.items()
        }
    if any(image_id in dataset.truth for image_id in test_ids):
        metrics["detectors"] = {
            name: evaluate_detections(boxes, dataset, test_ids) for name, boxes in detections.items()
        }
        metrics["proposals"] = {name: evaluate_proposals(boxes, dataset, test_ids) for name, boxes in proposals.items()}
        if {"pseudo", "ground_truth"} <= set(detections):
            ratio = ratio_of_detections(detections["pseudo"], detections["ground_truth"], dataset, test_ids)
            metrics |= {"ratio_pseudo_to_ground_truth": ratio["ratio"], "ratio_interval": ratio["interval"]}
    return metrics


def write_average_precision(path: Path, detectors: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a CSV of one row per class and two columns a detector, from the `detectors` part of `metrics.json`."""
    classes = list(dict.fromkeys(name for figures in detectors.values() for name in figures["ap"]))
    kinds = {"": "ap", "_all_point": "ap_all_point"}
    rows = [["class", *(f"{name}{suffix}" for name in detectors for suffix in kinds)]]
    for of_class in classes:
        figures_of_class = (of[kind].get(of_class) for of in detectors.values() for kind in kinds.values())
        rows.append([of_class, *figures_of_class])
    write_csv(path, rows)


def _truth(dataset: Dataset, boxes: Mapping[str, Boxes], ids: Sequence[str]) -> Iterable[tuple[str, Boxes]]:
    """(image id, ground-truth boxes) of the images that have boxes and whose truth is there and can be read."""
    return readable(dataset.truth, (image_id for image_id in ids if image_id in boxes), "is not counted")


def _labeled(true: Boxes, labels: Sequence[int]) -> Boxes:
    return true[np.isin(true.labels, labels)]


def _interval(statistic: Any, n_images: int, resamples: int, seed: int) -> list[float] | None:
    if not n_images or not resamples:
        return None
    low, high = bootstrap_interval(statistic, n_images, resamples, seed=seed)
    return None if math.isnan(low) else [low, high]


def _by_class(values: Doubles, classes: Sequence[str]) -> dict[str, float]:
    """The classes that have a value."""
    return {name: float(value) for name, value in zip(classes, values, strict=True) if not math.isnan(value)}


def _mean(values: Doubles) -> float | None:
    return _plain(nanmean(values))


def _plain(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value
