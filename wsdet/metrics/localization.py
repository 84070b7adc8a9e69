"""How well the first box of an image finds its object: CorLoc, mean IoU, center correctness, ILSVRC's error.

Boxes come best first, as localizers and proposal sources give them; their scores are not looked at. A box labeled -1
stands for every class of its image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsdet.boxes import iou
from wsdet.types import Boxes, Doubles, Floats, Ints


@dataclass(frozen=True, eq=False)
class TopBoxes:
    """The first box of each image for each class that it has, against the ground-truth boxes of that class.

    Attributes:
        images: (n,) index of the image in the `ids` that were asked for.
        labels: (n,) the class.
        iou: (n,) the best IoU with a ground-truth box of the class, in [0, 1]; 0 where no box was given.
        depths: (n,) how deep the box's center lies inside a ground-truth box: its distance from the nearest side as a
            fraction of the ground-truth box's size along that axis, the best over the ground-truth boxes. 0.5 in the
            middle, 0 on the border, negative outside, -inf where no box was given.
    """

    images: Ints
    labels: Ints
    iou: Doubles
    depths: Doubles


def top_boxes(boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str]) -> TopBoxes:
    """The first box of each of the images `ids` for each of its true classes; one row per image and class.

    Args:
        boxes: boxes by image id, best first. An image that is absent counts as one without boxes.
        truth: ground-truth boxes by image id, difficult ones included. Every one of `ids` must be there.
        ids: the images.
    """
    rows = []
    for image, image_id in enumerate(ids):
        for label, first, true in _by_class(boxes.get(image_id, Boxes.empty()), truth[image_id]):
            rows.append((image, label, _best_iou(first, true), _depth(first, true)))
    images, labels, overlaps, depths = zip(*rows, strict=True) if rows else ((), (), (), ())
    return TopBoxes(
        np.array(images, np.int64), np.array(labels, np.int64), np.array(overlaps, float), np.array(depths, float)
    )


def corloc(top: TopBoxes, n_classes: int, weights: Doubles | None = None) -> Doubles:
    """(n_classes,) share of a class's images whose first box has IoU > 0.5 with an object of it; NaN without images.

    CorLoc is the mean over the classes (Deselaers, Alexe and Ferrari, "Weakly Supervised Localization and Learning
    with Generic Knowledge", IJCV 2012); difficult objects count, as in the evaluation of later work on VOC.

    Args:
        top: the first boxes.
        n_classes: how many classes there are.
        weights: (n_images,) how often each image counts; once when not given.
    """
    weight = np.ones(len(top.images)) if weights is None else weights[top.images]
    correct = np.bincount(top.labels, weight * (top.iou > 0.5), n_classes)
    total = np.bincount(top.labels, weight, n_classes)
    return np.divide(correct, total, out=np.full(n_classes, np.nan), where=total > 0)


def corloc_over_images(top: TopBoxes) -> float:
    """Share of all first boxes with IoU > 0.5, an image and class each counting once; NaN without rows.

    `corloc` averages over the classes instead, so that rare ones count as much as frequent ones.
    """
    return float((top.iou > 0.5).mean()) if len(top.iou) else float("nan")


def mean_iou_by_class(top: TopBoxes, n_classes: int) -> Doubles:
    """(n_classes,) mean over a class's images of the first box's IoU; NaN without images."""
    total = np.bincount(top.labels, minlength=n_classes)
    return np.divide(
        np.bincount(top.labels, top.iou, n_classes), total, out=np.full(n_classes, np.nan), where=total > 0
    )


def mean_iou(top: TopBoxes) -> float:
    """Mean over images and classes of the first box's IoU (DAM, section 5.2.1); NaN without rows."""
    return float(top.iou.mean()) if len(top.iou) else float("nan")


def center_correct(top: TopBoxes, margin: float) -> float:
    """Share of first boxes with their center in a shrunk ground-truth box (DAM, section 5.2.2); NaN without rows.

    Args:
        top: the first boxes.
        margin: what is cut off the ground-truth box on every side, as a fraction of its size along that axis, in [0,
            0.5].
    """
    return float((top.depths >= margin).mean()) if len(top.depths) else float("nan")


def lost_corloc(boxes: Mapping[str, Boxes], truth: Mapping[str, Boxes], ids: Sequence[str]) -> float:
    """Share of images whose first box has IoU >= 0.5 with any object of any class.

    This is the CorLoc of unsupervised object discovery (LOST, Siméoni et al., BMVC 2021), averaged over images. It
    is more lenient than `corloc`; the two must not be compared.
    """
    correct = [_best_iou(boxes.get(image_id, Boxes.empty())[:1], truth[image_id]) >= 0.5 for image_id in ids]
    return float(np.mean(correct)) if correct else float("nan")


def localization_error(
    guesses: Mapping[str, Boxes],
    truth: Mapping[str, Boxes],
    ids: Sequence[str],
    n_guesses: int = 5,
    label_known: bool = False,
) -> float:
    """ILSVRC's localization error: the share of true labels that no guess has correct in both label and box.

    e = 1/n sum_k min_j min_m max{d(l_j, g_k), f(b_j, z_km)}, averaged over images, with f = 0 when the overlap is
    above 0.5 (ILSVRC 2012). With n_guesses=1 it is the top-1 error, with 5 the top-5 error.

    Args:
        guesses: labeled boxes by image id, best first; the label of a box labeled -1 is wrong.
        truth: ground-truth boxes by image id.
        ids: the images.
        n_guesses: how many guesses of an image count.
        label_known: leave out the label term d, as in the GT-known error.
    """
    errors = []
    for image_id in ids:
        guessed, true = guesses.get(image_id, Boxes.empty())[:n_guesses], truth[image_id]
        hits = iou(guessed.xyxy, true.xyxy) > 0.5  # (guesses, ground-truth boxes)
        if not label_known:
            hits &= guessed.labels[:, None] == true.labels[None]
        errors.append(np.mean([not hits[:, true.labels == label].any() for label in np.unique(true.labels)]))
    return float(np.mean(errors)) if errors else float("nan")


def _by_class(boxes: Boxes, truth: Boxes) -> Iterator[tuple[int, Boxes, Boxes]]:
    """(class, its first box, its ground-truth boxes) for each class of `truth`."""
    for label in np.unique(truth.labels):
        yield int(label), boxes.first_of(label), truth[truth.labels == label]


def _best_iou(first: Boxes, true: Boxes) -> float:
    return float(iou(first.xyxy, true.xyxy).max(initial=0))


def _depth(first: Boxes, true: Boxes) -> float:
    if not len(first):
        return -np.inf
    corners, center = true.xyxy.astype(float), _center(first.xyxy)
    sizes = corners[:, 2:] - corners[:, :2]
    distances = np.minimum(center - corners[:, :2], corners[:, 2:] - center)
    # a ground-truth box without area has no inside
    depths = np.divide(distances, sizes, out=np.full_like(distances, -np.inf), where=sizes > 0)
    return float(depths.min(axis=1).max())


def _center(xyxy: Floats) -> Doubles:
    return (xyxy[:, :2].astype(float) + xyxy[:, 2:]) / 2
