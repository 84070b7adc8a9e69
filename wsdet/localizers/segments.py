"""Graph segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) in several color spaces: where STL starts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from wsdet.boxes import segments_to_xyxy
from wsdet.types import Bools, Floats, Ints, Pixels

COLOR_SPACES = ("hsv", "lab", "rgi", "h", "i")


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of one image.

    Attributes:
        xyxy: (k, 4) bounding boxes in pixels of the segmented image.
        sizes: (k,) pixel counts.
        adjacent: (k, k) whether two segments touch (4-neighborhood).
    """

    xyxy: Floats
    sizes: Floats
    adjacent: Bools


def segment(pixels: Pixels, color_space: str, k: int, sigma: float = 0.8, min_side: float = 5) -> Segments:
    """Segments of an image.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        color_space: one of `COLOR_SPACES`.
        k: scale of observation, and the smallest segment in pixels.
        sigma: Gaussian smoothing before segmenting.
        min_side: a segment whose bounding box has a shorter side, in pixels, is dropped, unless all are.
    """
    method = cv2.ximgproc.segmentation.createGraphSegmentation(sigma, float(k), int(k))
    label_image = method.processImage(_convert(pixels, color_space)).astype(np.int64)
    xyxy = segments_to_xyxy(label_image)
    sizes = np.bincount(label_image.ravel(), minlength=len(xyxy)).astype(np.float32)
    kept = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1) >= min_side
    if not kept.any():
        kept[:] = True
    return Segments(xyxy[kept], sizes[kept], _adjacency(label_image, len(xyxy))[np.ix_(kept, kept)])


def _convert(pixels: Pixels, color_space: str) -> Pixels:
    match color_space:
        case "hsv":
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), np.uint8)
        case "lab":
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), np.uint8)
        case "rgi":  # normalized red and green, and intensity
            total = np.maximum(pixels.sum(axis=2, keepdims=True, dtype=np.float32), 1)
            return np.concatenate([255 * pixels[..., :2] / total, total / 3], axis=2).astype(np.uint8)
        case "h":
            return np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 0])
        case _:
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _adjacency(label_image: Ints, n_segments: int) -> Bools:
    adjacent = np.zeros((n_segments, n_segments), bool)
    for a, b in ((label_image[:, :-1], label_image[:, 1:]), (label_image[:-1], label_image[1:])):
        adjacent[a, b] = adjacent[b, a] = True
    np.fill_diagonal(adjacent, False)
    return adjacent
