"""Pure functions on (n, 4) arrays of boxes, `xyxy` in continuous coordinates unless a name says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsdet.types import Floats, Ints

_AGREEING = 0.5  # IoU of boxes that may be of the same object


def area(xyxy: Floats) -> Floats:
    """(n,) areas in square pixels of (n, 4) corners."""
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])


def clip(xyxy: Floats, size_hw: tuple[int, int]) -> Floats:
    """(n, 4) corners moved into an image of height and width `size_hw`."""
    h, w = size_hw
    return np.clip(xyxy, 0, np.array([w, h, w, h], dtype=xyxy.dtype))


def scale(xyxy: Floats, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Floats:
    """(n, 4) corners in an image of `from_hw`, carried to the same image resized to `to_hw`."""
    factor = np.array([to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]] * 2)
    return (xyxy * factor).astype(np.float32)


def iou(a: Floats, b: Floats) -> Floats:
    """(n, m) intersection over union of (n, 4) with (m, 4) corners; 0 where both boxes are empty.

    >>> iou(np.float32([[0, 0, 2, 2]]), np.float32([[1, 0, 3, 2]])).tolist()
    [[0.3333333432674408]]
    """
    together = intersection(a, b)
    union_area = area(a)[:, None] + area(b)[None] - together
    return np.divide(together, union_area, out=np.zeros_like(together), where=union_area > 0)


def iou_of_pairs(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n,) intersection over union of each row of (n, 4) `a` with the same row of `b`; 0 where both boxes are empty."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    together = sides[:, 0] * sides[:, 1]
    united = area(a) + area(b) - together
    return np.divide(together, united, out=np.zeros_like(together), where=united > 0)


def intersection(a: Floats, b: Floats) -> Floats:
    """(n, m) areas that (n, 4) and (m, 4) corners share."""
    corner_1 = np.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    corner_2 = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.clip(corner_2 - corner_1, 0, None)
    return sides[..., 0] * sides[..., 1]


def expected_iou(xyxy: Floats, prior_weights: Floats) -> Floats:
    """(n,) mean IoU of each of (n, 4) boxes with the object, which is box i with a probability ~ `prior_weights[i]`.

    Args:
        xyxy: (n, 4) corners.
        prior_weights: (n,) >= 0; all alike where all are 0.
    """
    total = prior_weights.sum()
    shares = prior_weights / total if total > 0 else np.full(len(xyxy), 1 / max(len(xyxy), 1))
    return (iou(xyxy, xyxy) @ shares).astype(np.float32)


def vote_scores(xyxy: Floats, prior_weights: Floats, voting_iou: float) -> Floats:
    """(n,) how well each of (n, 4) boxes agrees with all and with those that may be of the same object.

    The geometric mean of the expected IoU with the object, and of the same sum over boxes of IoU >= `voting_iou` alone.

    Args:
        xyxy: (n, 4) corners.
        prior_weights: (n,) >= 0, ~ the probability that each is the object; all alike where all are 0.
        voting_iou: least overlap of boxes that may be of the same object, in [0, 1].
    """
    total = prior_weights.sum()
    p = prior_weights / total if total > 0 else np.full(len(xyxy), 1 / max(len(xyxy), 1))
    overlaps = iou(xyxy, xyxy)
    return np.sqrt((overlaps @ p) * (np.where(overlaps >= voting_iou, overlaps, 0) @ p)).astype(np.float32)


def nms(xyxy: Floats, scores: Floats, iou_threshold: float) -> Ints:
    """Indices of the boxes that greedy non-maximum suppression keeps, best first.

    A box is dropped when its IoU with a better kept box is above `iou_threshold`. Equal scores keep the order in
    which they came.

    Args:
        xyxy: (n, 4) corners.
        scores: (n,) scores.
        iou_threshold: in [0, 1].
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[iou(xyxy[best : best + 1], xyxy[rest])[0] <= iou_threshold]
    return np.array(kept, dtype=np.int64)


def mist_seeds(
    xyxy: Floats, scores: Floats, top_share: float = 0.15, nms_iou: float = 0.2, least_score: float = 0.5
) -> Ints:
    """Rows of an image's regions that are taken for objects, best first; at least one where n > 0.

    MIST's rule (Ren et al., CVPR 2020, section 4.1): of the best regions each one that hardly overlaps a better one.

    Args:
        xyxy: (n, 4) corners.
        scores: (n,) >= 0.
        top_share: share of the regions, the best ones, that are looked at, in (0, 1].
        nms_iou: a region that overlaps a better seed more than this is no seed.
        least_score: relative to the best score; what scores lower is no seed.
    """
    best = np.argsort(-scores, kind="stable")[: max(1, round(top_share * len(scores)))]
    best = best[scores[best] >= least_score * scores[best].max(initial=0)]
    return best[nms(xyxy[best], scores[best], nms_iou)]


def voted(kept_xyxy: Floats, xyxy: Floats, scores: Floats, exponent: float) -> Floats:
    """(k, 4) kept boxes moved to where the boxes that overlap them agree (Gidaris and Komodakis, ICCV 2015, "voting").

    Each becomes the average of the boxes whose IoU with it is at least 0.5, weighted by `scores ** exponent`.

    Args:
        kept_xyxy: (k, 4) corners; a box that none overlaps stays.
        xyxy: (n, 4) corners.
        scores: (n,) >= 0; all alike where all that overlap a box are 0.
        exponent: >= 0; 0 counts all alike.
    """
    overlapping = iou(kept_xyxy, xyxy) >= _AGREEING  # (k, n)
    best = np.where(overlapping, scores, 0).max(axis=1, keepdims=True, initial=0)
    # in float64: the average of boxes that all end at an image's edge ends there, not a rounding beyond it
    relative = np.divide(scores, best, out=np.ones(overlapping.shape), where=overlapping & (best > 0))
    weights = np.where(overlapping, relative**exponent, 0)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights @ xyxy, total, out=kept_xyxy.astype(np.float32), where=total > 0)


def union(a: Floats, b: Floats) -> Floats:
    """(n, 4) smallest boxes that hold both (n, 4) `a` and (n, 4) `b`, row by row (broadcast)."""
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def xywh_to_xyxy(xywh: Floats) -> Floats:
    """(n, 4) corners of (n, 4) (x1, y1, width, height)."""
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def xyxy_to_xywh(xyxy: Floats) -> Floats:
    """(n, 4) (x1, y1, width, height) of (n, 4) corners."""
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def mask_to_xyxy(mask: npt.NDArray[np.bool_]) -> Floats:
    """(1, 4) bounding box of the True pixels of an (h, w) mask, (0, 4) when there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 4), np.float32)
    return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float32)


def segments_to_xyxy(segments: Ints) -> Floats:
    """(k, 4) bounding boxes of the segments 0..k-1 of an (h, w) label image."""
    n_segments = int(segments.max()) + 1
    ys, xs = np.indices(segments.shape)
    flat = segments.ravel()
    lowest = np.full((n_segments, 2), np.iinfo(np.int64).max)
    highest = np.zeros((n_segments, 2), np.int64)
    for axis, coordinate in enumerate((xs.ravel(), ys.ravel())):
        np.minimum.at(lowest[:, axis], flat, coordinate)
        np.maximum.at(highest[:, axis], flat, coordinate + 1)
    return np.concatenate([lowest, highest], axis=1).astype(np.float32)
