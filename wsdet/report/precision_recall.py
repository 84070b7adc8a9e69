"""Precision-recall curves of detectors beside each other, one small chart a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wsdet.metrics import average_precision as ap
from wsdet.report.charts import line_chart
from wsdet.types import Boxes

_MOST_CLASSES = 24
_MOST_POINTS = 60

Curve = tuple[list[float], list[float]]


def precision_recall_charts(
    detections: Mapping[str, Mapping[str, Boxes]],
    truth: Mapping[str, Boxes],
    ids: Mapping[str, Sequence[str]],
    classes: Sequence[str],
) -> dict[str, str]:
    """A chart as SVG by class name, the class of highest average precision of the first detector first.

    The lines are in the order of `detections`, for one legend over all charts. Of more than 24 classes, the 12 best and
    the 12 worst are drawn.

    Args:
        detections: scored, labeled boxes by detector and image id.
        truth: ground-truth boxes by image id.
        ids: the images that count, by detector; a detector without any is left out.
        classes: names of the classes.
    """
    matches = {name: ap.match(boxes, truth, ids[name], len(classes)) for name, boxes in detections.items() if ids[name]}
    if not matches:
        return {}
    precision = ap.average_precision(next(iter(matches.values())))
    labels = [int(label) for label in np.argsort(-precision, kind="stable") if not np.isnan(precision[label])]
    if len(labels) > _MOST_CLASSES:
        labels = labels[: _MOST_CLASSES // 2] + labels[-_MOST_CLASSES // 2 :]
    charts = {}
    for label in labels:
        lines = {
            name: curve(of_detector[label]) if of_detector[label].n_objects.any() else ([], [])
            for name, of_detector in matches.items()
        }
        charts[classes[label]] = line_chart(lines, "recall", "precision", x_range=(0, 1), with_legend=False)
    return charts


def curve(matches: ap.Matches) -> Curve:
    """(recall, precision) after each correct detection of a class, thinned to what is quickly drawn."""
    precision, recall = ap.precision_recall(matches)
    rows = np.flatnonzero(matches.correct)
    if len(rows) > _MOST_POINTS:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_POINTS).round().astype(int))]
    return recall[rows].tolist(), precision[rows].tolist()
