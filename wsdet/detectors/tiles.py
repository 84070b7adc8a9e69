"""What a detector finds in the tiles of an image, as one set of boxes.

Boxes of parts of objects, at the borders of tiles, are joined, or give way to whole ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from wsdet.boxes import area, clip, intersection, iou_of_pairs, nms
from wsdet.tiles import Tiling, at_border, cut, shifted
from wsdet.types import Bools, Boxes, Floats, Ints, Sample

_EDGE = 0.02  # of a tile's side: what ends nearer to a cut ends because of it
_SAME = 0.5  # IoU, in what two tiles share, of boxes of one object
_PART = 0.7  # share of a cut box inside another one that makes it a part of it


def detect_in_tiles(
    detect: Callable[[Sample, Boxes], Mapping[str, Boxes]],
    sample: Sample,
    proposals: Boxes,
    tiling: Tiling | None,
) -> dict[str, Boxes]:
    """What detectors find in an image and its tiles, by the detector's name; each in the image's coordinates.

    Args:
        detect: gives what each detector finds in an image with proposals.
        sample: the image.
        proposals: of the image; a tile has those that lie in it.
        tiling: None: the image alone.
    """
    windows = (tiling or Tiling(1)).windows(sample.size_hw)
    if len(windows) == 1:
        return dict(detect(sample, proposals))
    found: dict[str, list[Boxes]] = {}
    for window in windows:
        for name, boxes in detect(cut(sample, window), inside(proposals, window)).items():
            found.setdefault(name, []).append(shifted(boxes, window))
    return {name: merged(of_windows, windows) for name, of_windows in found.items()}


def inside(boxes: Boxes, window_xyxy: Ints, least_share: float = 0.9) -> Boxes:
    """The boxes of which at least a share lies in a window, cut at it, in its coordinates."""
    x1, y1, x2, y2 = window_xyxy.tolist()
    shared = intersection(boxes.xyxy, window_xyxy[None].astype(np.float32))[:, 0]
    kept = boxes[(shared > 0) & (shared >= least_share * area(boxes.xyxy))]
    return replace(kept, xyxy=clip(kept.xyxy - np.array([x1, y1, x1, y1], np.float32), (y2 - y1, x2 - x1)))


def merged(found: Sequence[Boxes], windows_xyxy: Ints, nms_iou: float = 0.5) -> Boxes:
    """One set of labeled boxes from those found in each window, best first.

    Boxes that end at a cut through the image, of one class and alike where their two tiles overlap, are joined. Other
    such boxes are dropped where most of them lies in a box that no cut has shortened. Then each class goes through
    non-maximum suppression.

    Args:
        found: of each window, in the image's coordinates.
        windows_xyxy: (t, 4) as `Tiling.windows` gives them.
        nms_iou: of two boxes of a class that overlap more, the lower one is dropped.
    """
    boxes = Boxes.concatenate(found)
    of = np.repeat(np.arange(len(found)), [len(one) for one in found])
    is_cut = _ends_at_cut(boxes.xyxy, windows_xyxy[of], at_border(windows_xyxy)[of])
    joined, groups = _joined(boxes[is_cut], windows_xyxy[of[is_cut]])
    boxes = Boxes.concatenate([boxes[~is_cut], joined])
    is_part = np.concatenate([np.zeros(int((~is_cut).sum()), bool), groups == 1])
    covered = intersection(boxes.xyxy, boxes.xyxy) >= _PART * area(boxes.xyxy)[:, None]
    covered &= (boxes.labels[:, None] == boxes.labels[None]) & ~is_part[None]
    boxes = boxes[~(is_part & covered.any(axis=1))]
    kept = [
        rows[nms(boxes.xyxy[rows], boxes.scores[rows], nms_iou)]
        for rows in (np.flatnonzero(boxes.labels == label) for label in np.unique(boxes.labels))
    ]
    boxes = boxes[np.concatenate([np.zeros(0, np.int64), *kept])]
    return boxes[np.argsort(-boxes.scores, kind="stable")]


def _ends_at_cut(xyxy: Floats, windows_xyxy: Ints, at_border: Bools) -> Bools:
    """(n,) whether each box ends where its own window does, inside the image."""
    sides = np.tile(windows_xyxy[:, 2:] - windows_xyxy[:, :2], (1, 2))
    near = np.abs(xyxy - windows_xyxy) <= np.maximum(1, _EDGE * sides)
    return np.asarray((near & ~at_border).any(axis=1))


def _joined(boxes: Boxes, windows_xyxy: Ints) -> tuple[Boxes, Ints]:
    """Cut boxes, those of one object as their union with the best score; and how many each is made of."""
    if not len(boxes):
        return boxes, np.zeros(0, np.int64)
    from scipy.sparse.csgraph import connected_components

    n = len(boxes)
    windows = windows_xyxy.astype(np.float32)
    same = np.zeros((n, n), bool)
    for i in range(n):
        # what both windows show, and there each of the two boxes
        shared = _common(windows[i], windows)
        alike = iou_of_pairs(_common(boxes.xyxy[i], shared), _common(boxes.xyxy, shared))
        same[i] = (alike >= _SAME) & (boxes.labels == boxes.labels[i]) & (windows != windows[i]).any(axis=1)
    _, group = connected_components(same | same.T, directed=False)
    parts = [np.flatnonzero(group == one) for one in range(group.max() + 1)]
    xyxy = [np.concatenate([boxes.xyxy[p, :2].min(axis=0), boxes.xyxy[p, 2:].max(axis=0)]) for p in parts]
    scores = [boxes.scores[p].max() for p in parts]
    labels = [boxes.labels[p[0]] for p in parts]
    return Boxes(np.array(xyxy), np.array(scores), np.array(labels)), np.array([len(p) for p in parts])


def _common(a: Floats, b: Floats) -> Floats:
    """(n, 4) what boxes share; without area where that is nothing."""
    corner = np.maximum(a[..., :2], b[..., :2])
    return np.concatenate([corner, np.maximum(corner, np.minimum(a[..., 2:], b[..., 2:]))], axis=-1)
