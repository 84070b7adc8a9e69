"""Windows of a fixed size on a grid: the places where the search methods look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from wsdet.types import Floats


def grid(region: Floats, window_wh: tuple[float, float], stride_wh: tuple[float, float]) -> Floats:
    """(n, 4) windows of one size inside a region, row by row.

    They start at the region's first corner and follow at the stride; the last of each row and column touch the
    region's far edges, also where the stride does not lead there.

    >>> grid(np.float32([0, 0, 5, 2]), (2, 2), (2, 2)).tolist()
    [[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [3.0, 0.0, 5.0, 2.0]]

    Args:
        region: (4,) corners.
        window_wh: width and height, no larger than the region's.
        stride_wh: steps along x and y, above 0.
    """
    slack_wh = region[2:] - region[:2] - np.array(window_wh)
    xs, ys = (
        region[axis] + np.minimum(np.arange(_n_steps(slack_wh[axis], stride_wh[axis]) + 1) * stride_wh[axis], slack)
        for axis, slack in enumerate(np.maximum(slack_wh, 0))
    )
    x1, y1 = (corner.ravel() for corner in np.meshgrid(xs, ys))
    return np.stack([x1, y1, x1 + window_wh[0], y1 + window_wh[1]], axis=1).astype(np.float32)


def image_windows(size_hw: tuple[int, int], sides: Sequence[float], stride: float) -> Floats:
    """(n, 4) windows all over an image of `size_hw`, of every width paired with every height.

    Args:
        size_hw: height and width of the image.
        sides: widths and heights relative to the image's, in (0, 1].
        stride: steps in relative coordinates, in (0, 1].
    """
    h, w = size_hw
    image = np.array([0, 0, w, h], np.float32)
    many = [grid(image, (width * w, height * h), (stride * w, stride * h)) for width, height in product(sides, sides)]
    return np.clip(np.concatenate(many), 0, image[[2, 3, 2, 3]])


def _n_steps(slack: float, stride: float) -> int:
    """Steps from one edge to the other; the last may be shorter, but is never a mere rounding error."""
    return max(int(np.ceil(slack / stride - 1e-4)), 0)
