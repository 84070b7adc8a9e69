"""Average precision of scored, labeled boxes: PASCAL VOC's, 11-point and all-point, and COCO's.

VOC (Everingham et al., IJCV 2010, section 4.2): the detections of a class are ranked over all images; each looks at
the ground-truth box of its class and image that it overlaps most. Above the IoU threshold, strictly, it is correct if
it is the first on that box and wrong if it is a later one; if the box is difficult it is left out of the count.
Difficult boxes do not count as objects to find.

VOC's areas of inclusive pixels, (x2 - x1 + 1) * (y2 - y1 + 1), are plain areas here: its reader moves x1 and y1 by
one pixel, so that x2 - x1 is that width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from wsdet.boxes import area, iou_of_pairs, xyxy_to_xywh
from wsdet.metrics.bootstrap import nanmean
from wsdet.types import Bools, Boxes, Doubles, Floats, Ints

Points = Literal["11", "all"]


@dataclass(frozen=True, eq=False)
class Matches:
    """How the detections of one class fared, best score first; equal scores in the order of the images.

    Attributes:
        images: (n,) index of each detection's image in the `ids` that were asked for.
        scores: (n,) its score.
        iou: (n,) the best IoU with a ground-truth box of its class and image.
        correct: (n,) it is a true positive.
        ignored: (n,) it counts neither as correct nor as wrong.
        n_objects: (images,) how many objects of the class there are to find in each image.
    """

    images: Ints
    scores: Floats
    iou: Doubles
    correct: Bools
    ignored: Bools
    n_objects: Ints


def match(
    detections: Mapping[str, Boxes],
    truth: Mapping[str, Boxes],
    ids: Sequence[str],
    n_classes: int,
    iou_threshold: float = 0.5,
) -> list[Matches]:
    """One `Matches` a class, over the images `ids`.

    Args:
        detections: scored boxes by image id; every label in [0, n_classes). An image that is absent has none.
        truth: ground-truth boxes by image id. Every one of `ids` must be there.
        ids: the images.
        n_classes: how many classes there are.
        iou_threshold: the IoU that must be exceeded.

    Raises:
        ValueError: a label lies outside its range.
    """
    found, found_images = _flat(detections, ids)
    true, true_images = _flat(truth, ids)
    for name, boxes in (("detections", found), ("truth", true)):
        if len(boxes) and not 0 <= boxes.labels.min() <= boxes.labels.max() < n_classes:
            wrong = boxes.labels[(boxes.labels < 0) | (boxes.labels >= n_classes)][0]
            raise ValueError(f"labels of {name} must be in [0, {n_classes}), got {wrong}")
    order = np.lexsort((-found.scores, found.labels))  # by class, then score; stable
    found, found_images = found[order], found_images[order]
    best, overlap = _best_overlaps(
        found.xyxy, found_images * n_classes + found.labels, true.xyxy, true_images * n_classes + true.labels
    )
    over = overlap > iou_threshold
    ignored = over.copy()
    ignored[over] = true.difficult[best[over]]
    hits = np.flatnonzero(over & ~ignored)
    correct = np.zeros(len(found), bool)
    correct[hits[np.unique(best[hits], return_index=True)[1]]] = True

    n_objects = np.zeros((n_classes, len(ids)), np.int64)
    np.add.at(n_objects, (true.labels[~true.difficult], true_images[~true.difficult]), 1)
    edges = np.searchsorted(found.labels, np.arange(n_classes + 1))
    return [
        Matches(found_images[a:b], found.scores[a:b], overlap[a:b], correct[a:b], ignored[a:b], n_objects[label])
        for label, (a, b) in enumerate(pairwise(edges))
    ]


def precision_recall(matches: Matches, weights: Doubles | None = None) -> tuple[Doubles, Doubles]:
    """(n,) precision and (n,) recall after each detection of a class, best score first.

    Args:
        matches: how the detections fared; there must be an object to find.
        weights: (images,) how often each image counts; once when not given.
    """
    weight = np.ones(len(matches.images)) if weights is None else weights[matches.images]
    n_objects = matches.n_objects.sum() if weights is None else matches.n_objects @ weights
    correct = np.cumsum(weight * matches.correct)
    counted = np.cumsum(weight * ~matches.ignored)
    precision = np.divide(correct, counted, out=np.zeros(len(correct)), where=counted > 0)
    return precision, correct / n_objects


def interpolated(precision: Doubles, recall: Doubles, points: Points) -> float:
    """Average precision of a precision-recall curve.

    "11" (VOC 2007 to 2009) is the mean over the recalls r = 0, 0.1, ... 1 of the best precision at a recall of at
    least r. "all" (VOC 2010 on) is the area under the curve of the best precision at a recall of at least r.

    Args:
        precision: (n,) precision after each detection.
        recall: (n,) recall after each detection, never falling.
        points: "11" or "all".
    """
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # the last: a recall never reached
    if points == "all":
        return float(np.diff(recall, prepend=0.0) @ envelope[:-1])
    # three objects of ten are a recall of 0.3, whatever floats make of 3 * 0.1
    return float(envelope[np.searchsorted(recall, np.arange(11) / 10 - 1e-9)].mean())


def average_precision(matches: Sequence[Matches], points: Points = "11", weights: Doubles | None = None) -> Doubles:
    """(classes,) VOC average precision; NaN for a class without objects to find. Its mean over classes is mAP."""
    present = [one.n_objects.sum() if weights is None else one.n_objects @ weights for one in matches]
    return np.array(
        [
            interpolated(*precision_recall(one, weights), points) if n_objects else np.nan
            for one, n_objects in zip(matches, present, strict=True)
        ]
    )


def coco_average_precision(
    detections: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str], n_classes: int
) -> dict[str, float]:
    """COCO's AP over IoU 0.5 to 0.95, at 0.5 and at 0.75, for all areas and at most 100 detections a class and image.

    Difficult objects become COCO's crowds: detections on them are left out, and they need not be found.

    Returns:
        "ap", "ap_50" and "ap_75", NaN where there is no object.
    """
    import hotcoco

    found, found_images = _flat(detections, ids)
    true, true_images = _flat(truth, ids)
    expected = hotcoco.COCO.from_arrays(
        images=[{"id": i + 1, "width": 0, "height": 0, "file_name": ""} for i in range(len(ids))],
        categories=[{"id": label + 1, "name": str(label)} for label in range(n_classes)],
        image_ids=true_images + 1,
        category_ids=true.labels + 1,
        boxes=xyxy_to_xywh(true.xyxy).astype(float),
        area=area(true.xyxy).astype(float),
        iscrowd=true.difficult,
    )
    rows = np.column_stack([found_images + 1, xyxy_to_xywh(found.xyxy), found.scores, found.labels + 1])
    evaluation = hotcoco.COCOeval(expected, expected.load_res(rows.astype(float)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval["precision"]  # type: ignore[index]  # accumulate() filled it
    precision = np.array(curves)[:, :, :, 0, -1]  # (IoUs, recalls, classes) for all areas, at most 100 detections
    precision = np.where(precision < 0, np.nan, precision)  # -1: a class without objects
    return {"ap": nanmean(precision), "ap_50": nanmean(precision[0]), "ap_75": nanmean(precision[5])}


def _flat(boxes: Mapping[str, Boxes], ids: Sequence[str]) -> tuple[Boxes, Ints]:
    """All boxes of the images `ids` in one, and (n,) the index of each one's image."""
    parts = [boxes.get(image_id, Boxes.empty()) for image_id in ids]
    return Boxes.concatenate(parts), np.repeat(np.arange(len(ids)), [len(part) for part in parts])


def _best_overlaps(found: Floats, found_keys: Ints, true: Floats, true_keys: Ints) -> tuple[Ints, Doubles]:
    """For each of (n, 4) `found`, the first of (m, 4) `true` with the same key that it overlaps most, and the IoU.

    Index -1 and IoU 0 where no key is the same. Every pair of equal key is laid out in one long row, so that images
    with many boxes and images with few cost the same.
    """
    order = np.argsort(true_keys, kind="stable")
    start = np.searchsorted(true_keys[order], found_keys, side="left")
    count = np.searchsorted(true_keys[order], found_keys, side="right") - start
    row = np.repeat(np.arange(len(found)), count)
    first_pair = np.cumsum(count) - count
    column = order[np.repeat(start - first_pair, count) + np.arange(len(row))]
    overlap = iou_of_pairs(found[row].astype(float), true[column].astype(float))
    best_first = np.lexsort((-overlap, row))  # stable: of equal overlaps the first ground-truth box
    best, best_overlap = np.full(len(found), -1), np.zeros(len(found))
    winner = best_first[first_pair[count > 0]]
    best[count > 0], best_overlap[count > 0] = column[winner], overlap[winner]
    return best, best_overlap
