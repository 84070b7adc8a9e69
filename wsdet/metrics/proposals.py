"""How well lists of boxes cover the objects: recall and precision at N boxes, average best overlap.

Everything is pooled over the images that have a class, then averaged over classes, as in the STL paper's Figure 3.
Two points that its text leaves open are read off its published curves, in which precision(N) * N / recall(N) tends
to the number of objects per class and image as N grows (1.53 on ILSVRC's validation images, 1.55 on VOC 2007's test
images, where difficult objects would make it 1.8): further boxes on an object that was found are not correct, and
difficult objects do not count. So a true positive is VOC's: the first box on the object that it overlaps most.
Boxes come best first; their scores are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.boxes import iou
from wsdet.types import Bools, Boxes, Doubles, Ints

AT = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # numbers of boxes of the STL paper's Figure 3
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Coverage:
    """How the objects of one class were found, over all images that have it. Ranks count from 0.

    Attributes:
        first: (objects,) rank of the first box that covers each object; a huge number when none does.
        best_iou: (objects,) the best IoU of any box with each object.
        correct: (r,) ranks of the true positives: boxes that are the first on the object they overlap most.
        ignored: (i,) ranks of boxes that overlap a difficult object most; they are neither correct nor wrong.
        n_boxes: (images,) how many boxes each image has for the class.
    """

    first: Ints
    best_iou: Doubles
    correct: Ints
    ignored: Ints
    n_boxes: Ints


def cover(
    boxes: Mapping[str, Boxes],
    truth: Mapping[str, Boxes],
    ids: Sequence[str],
    n_classes: int,
    iou_threshold: float = 0.5,
) -> list[Coverage]:
    """One `Coverage` a class, over the images `ids`.

    Args:
        boxes: boxes by image id, best first; those labeled -1 count for every class, those labeled c for c alone.
            An image that is absent counts as one without boxes.
        truth: ground-truth boxes by image id. Every one of `ids` must be there.
        ids: the images.
        n_classes: how many classes there are.
        iou_threshold: a box covers an object from this IoU on.
    """
    parts: list[list[Coverage]] = [[] for _ in range(n_classes)]
    for image_id in ids:
        found, true = boxes.get(image_id, Boxes.empty()), truth[image_id]
        overlaps = iou(found.xyxy, true.xyxy)  # (n, m)
        for label in np.unique(true.labels[~true.difficult]):
            rows = found.rows_of(label)
            columns = true.labels == label
            one = _cover_one(overlaps[rows][:, columns].astype(float), true.difficult[columns], iou_threshold)
            parts[label].append(one)
    return [_pool(of_class) for of_class in parts]


def recall_at(coverage: Sequence[Coverage], n: int) -> float:
    """Mean over classes of the share of objects that one of the first `n` boxes of their image covers."""
    return _mean([(one.first < n).mean() for one in coverage if len(one.first)])


def precision_at(coverage: Sequence[Coverage], n: int) -> float:
    """Mean over classes of the share of the first `n` boxes that are true positives.

    An image with fewer than `n` boxes adds those that it has. A class for which no box was given counts 0.
    """
    shares = []
    for one in coverage:
        if len(one.first):
            counted = np.minimum(one.n_boxes, n).sum() - (one.ignored < n).sum()
            shares.append((one.correct < n).sum() / max(counted, 1))
    return _mean(shares)


def average_best_overlap(coverage: Sequence[Coverage]) -> Doubles:
    """(classes,) mean over the objects of a class of the best IoU of any box (ABO); NaN without objects.

    MABO is the mean over the classes (Uijlings et al., IJCV 2013, section 5).
    """
    return np.array([one.best_iou.mean() if len(one.best_iou) else np.nan for one in coverage])


def _cover_one(overlaps: Doubles, difficult: Bools, iou_threshold: float) -> Coverage:
    """Coverage of one class in one image, from the (boxes, objects) overlaps."""
    n = len(overlaps)
    regular = overlaps[:, ~difficult]
    # a last row that covers everything makes argmax answer n for an object that no box covers
    first = np.vstack([regular >= iou_threshold, np.ones((1, regular.shape[1]), bool)]).argmax(axis=0)
    matched = overlaps.argmax(axis=1)
    hits = np.flatnonzero(overlaps.max(axis=1) >= iou_threshold)
    on_difficult = difficult[matched[hits]]
    hits, ignored = hits[~on_difficult], hits[on_difficult]
    return Coverage(
        first=np.where(first < n, first, _NEVER),
        best_iou=regular.max(axis=0, initial=0),
        correct=hits[np.unique(matched[hits], return_index=True)[1]],
        ignored=ignored,
        n_boxes=np.array([n]),
    )


def _pool(parts: Sequence[Coverage]) -> Coverage:
    none = np.zeros(0, np.int64)
    return Coverage(
        first=np.concatenate([none, *(part.first for part in parts)]),
        best_iou=np.concatenate([np.zeros(0), *(part.best_iou for part in parts)]),
        correct=np.concatenate([none, *(part.correct for part in parts)]),
        ignored=np.concatenate([none, *(part.ignored for part in parts)]),
        n_boxes=np.concatenate([none, *(part.n_boxes for part in parts)]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
