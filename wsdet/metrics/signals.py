"""What can be said of boxes without ground truth: one number each, from the first box of each label of some images.

Boxes are (n, 4) corners in relative coordinates: shares of the width and height of their image, so that boxes of
different images can be compared. Shares over no boxes are NaN.

The one that carries most is agreement beyond chance: a method is run again on other views of the images (mirrored, a
corner of each), and found boxes are compared with where the first ones are in these views. A method that always gives
the same box agrees with itself, too, so what boxes of *other* images would agree is taken off.
"""

from __future__ import annotations

import numpy as np

from wsdet.boxes import intersection, iou, iou_of_pairs
from wsdet.types import Bools, Doubles, Floats, Ints

_AGREE = 0.5  # IoU from which on boxes agree
_ALIKE = 0.8  # IoU with a fixed box from which on a box says no more than that
_WHOLE = np.array([[0, 0, 1, 1]], np.float32)
_CENTERS = np.array([[0.15, 0.15, 0.85, 0.85], [0.1, 0.1, 0.9, 0.9]], np.float32)


def agreement(expected_xyxy: Floats, found_xyxy: Floats) -> float:
    """Share of boxes that are found where they are expected, row by row: IoU of at least 0.5."""
    return _share(iou_of_pairs(expected_xyxy, found_xyxy) >= _AGREE)


def chance_agreement(expected_xyxy: Floats, found_xyxy: Floats, images: Ints) -> float:
    """The same between the boxes of different images: what would agree whatever the image shows.

    Args:
        expected_xyxy: (n, 4).
        found_xyxy: (n, 4).
        images: (n,) which image a row is of.
    """
    different = images[:, None] != images[None]
    return _share((iou(expected_xyxy, found_xyxy) >= _AGREE)[different])


def beyond_chance(observed: float, chance: float) -> float:
    """How much more agrees than by chance.

    Not divided by 1 - chance, as Cohen's kappa is: large boxes, which nearly all agree by chance, would then seem as
    telling as small ones (docs/trust.md has what was measured).

    >>> round(beyond_chance(0.8, 0.5), 3)
    0.3
    """
    return observed - chance


def inside_share(xyxy: Floats) -> Floats:
    """(n,) the share of each box's area that lies inside its image; 0 of a box without area."""
    inside = intersection(xyxy, _WHOLE)[:, 0]
    whole = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)


def whole_image_share(xyxy: Floats) -> float:
    """Share of boxes that are the whole image, or nearly: IoU of at least 0.8 with it."""
    return _share(iou(xyxy, _WHOLE)[:, 0] >= _ALIKE)


def center_box_share(xyxy: Floats) -> float:
    """Share of boxes that are a centered box of 0.7 or 0.8 of the image's sides, or nearly."""
    return _share(iou(xyxy, _CENTERS).max(axis=1, initial=0) >= _ALIKE)


def occlusion_wins(left_without_box: Floats, left_without_other: Floats) -> float:
    """How often occluding the box costs more of the class score than occluding as much elsewhere; a tie is half a win.

    Args:
        left_without_box: (n,) class scores with the box occluded.
        left_without_other: (n,) with a box of equal size elsewhere occluded.
    """
    wins = (left_without_box < left_without_other) + 0.5 * (left_without_box == left_without_other)
    return float(wins.mean()) if len(wins) else float("nan")


def elsewhere(xyxy: Floats) -> Floats:
    """(n, 4) boxes of the same sizes as far away as the image allows: moved to the farther side, on both axes.

    >>> elsewhere(np.float32([[0.0, 0.2, 0.5, 0.4]])).round(2).tolist()
    [[0.5, 0.8, 1.0, 1.0]]
    """
    sizes = xyxy[:, 2:] - xyxy[:, :2]
    in_first_half = xyxy[:, :2] + xyxy[:, 2:] <= 1
    corner = np.where(in_first_half, 1 - sizes, 0)
    return np.concatenate([corner, corner + sizes], axis=1).astype(np.float32)


def class_ranking(scores: Floats, has: Bools) -> Doubles:
    """(k,) how well class scores of whole images tell those with a label from those without: area under the ROC curve.

    Args:
        scores: (n_images, k); NaN for a class that the network has no output for.
        has: (n_images, k) whether an image has a label.

    Returns:
        0.5 is chance; NaN for a class without an output, or that all or none of the images have.
    """
    from sklearn.metrics import roc_auc_score  # here: a run imports this module long before it has anything to rank

    areas = np.full(scores.shape[1], np.nan)
    for label in range(scores.shape[1]):
        if has[:, label].any() and not has[:, label].all() and np.isfinite(scores[:, label]).all():
            areas[label] = roc_auc_score(has[:, label], scores[:, label])
    return areas


def _share(is_so: Bools) -> float:
    return float(is_so.mean()) if is_so.size else float("nan")
