"""MaxBoxAcc and MaxBoxAccV2: localization accuracy of a heat map at its best threshold (Choe et al., CVPR 2020).

"Evaluating Weakly Supervised Object Localization Methods Right". The rules, rounding included, are those of the
authors' published evaluation, so that figures compare: maps and ground-truth boxes are carried to 224 x 224 pixels, the
map becomes 8 bits, a box's width is counted as x2 - x1 + 1 with x2 the first column after it, and IoU >= threshold is
correct. A map has at most 256 levels, so each level is cut once and the 1,000 thresholds only look it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np

from wsdet.boxes import iou
from wsdet.types import Boxes, Doubles, Floats, Pixels

Version = Literal["v1", "v2"]
SIDE = 224
THRESHOLDS = np.arange(0, 1, 0.001)


def max_box_accuracy(
    maps: Mapping[str, Floats],
    truth: Mapping[str, Boxes],
    sizes_hw: Mapping[str, tuple[int, int]],
    ids: Sequence[str],
    version: Version = "v2",
) -> float:
    """Share of images whose map gives a box on an object, at the threshold that suits the whole set best.

    Args:
        maps: (h, w) heat map of the image's class by image id, any size and range.
        truth: ground-truth boxes of that class by image id, continuous coordinates.
        sizes_hw: height and width of each image in pixels.
        ids: the images; at least one.
        version: "v1" takes the contour of the largest area and asks for IoU 0.5; "v2" takes the best of all
            contours and averages over IoU 0.3, 0.5 and 0.7, each at its own best threshold.
    """
    true_xyxy = {image_id: _at_side(truth[image_id].xyxy, sizes_hw[image_id]) for image_id in ids}
    best = np.stack([best_iou_by_threshold(maps[i], true_xyxy[i], largest_only=version == "v1") for i in ids])
    iou_thresholds = (0.5,) if version == "v1" else (0.3, 0.5, 0.7)
    return float(np.mean([(best >= threshold).mean(axis=0).max() for threshold in iou_thresholds]))


def best_iou_by_threshold(heat: Floats, true_xyxy: Floats, largest_only: bool) -> Doubles:
    """(thresholds,) the best IoU of the map's boxes with a ground-truth box, for each of `THRESHOLDS`.

    Args:
        heat: (h, w) heat map.
        true_xyxy: (m, 4) ground-truth boxes on the 224 x 224 map, inclusive pixels.
        largest_only: keep the contour of the largest area alone.
    """
    gray = _as_uint8(heat)
    levels = (THRESHOLDS * gray.max()).astype(int)
    used, place = np.unique(levels, return_inverse=True)
    best = [_best_iou(_boxes_above(gray, int(level), largest_only), true_xyxy) for level in used]
    return np.array(best)[place]


def _as_uint8(heat: Floats) -> Pixels:
    """The map at 224 x 224 as bytes, from its minimum to its maximum."""
    resized = cv2.resize(np.nan_to_num(heat).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    low, high = float(resized.min()), float(resized.max())
    if low == high:
        return np.zeros((SIDE, SIDE), np.uint8)
    return ((resized - low) / (high - low) * 255).astype(np.uint8)


def _boxes_above(gray: Pixels, level: int, largest_only: bool) -> Floats:
    """(k, 4) bounding boxes of the contours of the pixels above `level`; [0, 0, 0, 0] when there is none."""
    contours, _ = cv2.findContours((gray > level).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), np.float32)
    if largest_only:
        contours = (max(contours, key=cv2.contourArea),)
    xywh = np.array([cv2.boundingRect(contour) for contour in contours])
    return np.minimum(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), SIDE - 1).astype(np.float32)


def _best_iou(found_xyxy: Floats, true_xyxy: Floats) -> float:
    plus_one = np.array([0, 0, 1, 1], np.float32)
    return float(iou(found_xyxy + plus_one, true_xyxy + plus_one).max(initial=0))


def _at_side(xyxy: Floats, size_hw: tuple[int, int]) -> Floats:
    """Continuous boxes of an image as inclusive pixels, cut to whole numbers, on the 224 x 224 map."""
    h, w = size_hw
    inclusive = xyxy.astype(float) - [0, 0, 1, 1]
    return np.trunc(inclusive * SIDE / np.array([w, h, w, h])).astype(np.float32)
