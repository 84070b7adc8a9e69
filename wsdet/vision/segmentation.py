"""Graph segmentation in several color spaces: where Selective Search and Self-Taught Localization start.

Felzenszwalb and Huttenlocher: Efficient Graph-Based Image Segmentation, IJCV 59 (2004), as OpenCV has it.
"""

from __future__ import annotations

import cv2
import numpy as np

from wsdet.types import Ints, Pixels

COLOR_SPACES = ("hsv", "lab", "rgi", "h", "intensity")


def in_color_space(image: Pixels, name: str) -> Pixels:
    """(h, w, c) channels of an (h, w, 3) RGB image in one of `COLOR_SPACES`, each over the whole range 0 to 255."""
    match name:
        case "hsv":
            colors = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        case "lab":
            colors = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        case "h":
            colors = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[:, :, :1]
        case "intensity":
            colors = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
        case _:  # rgi: two channels of normalized RGB, and intensity
            total = np.maximum(image.sum(axis=2, keepdims=True, dtype=np.float32), 1)
            share = (255 * image[:, :, :2] / total).astype(np.uint8)
            colors = np.concatenate([share, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]], axis=2)
    return np.ascontiguousarray(colors, np.uint8)


def graph_segments(image: Pixels, sigma: float, k: float, min_size: int) -> Ints:
    """(h, w) labels 0.. of the segments of an (h, w, c) image.

    Args:
        image: channels in any color space.
        sigma: Gaussian smoothing before segmenting.
        k: scale of observation; larger gives larger segments.
        min_size: smallest segment in pixels.
    """
    segmentation = cv2.ximgproc.segmentation.createGraphSegmentation(sigma=sigma, k=k, min_size=min_size)
    return segmentation.processImage(image).astype(np.int64)


def neighbors(segments: Ints) -> Ints:
    """(m, 2) pairs a < b of the segments of an (h, w) label image that share an edge of a pixel, each once."""
    beside = segments[:, :-1] != segments[:, 1:]
    below = segments[:-1] != segments[1:]
    a = np.concatenate([segments[:, :-1][beside], segments[:-1][below]])
    b = np.concatenate([segments[:, 1:][beside], segments[1:][below]])
    n_segments = int(segments.max()) + 1
    codes = np.unique(np.minimum(a, b) * n_segments + np.maximum(a, b))
    return np.stack([codes // n_segments, codes % n_segments], axis=1)
