"""Percentile bootstrap intervals over images (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13).

Images are drawn with replacement, so everything that comes from one image is drawn together. A statistic is given as
a function of how often each image was drawn: metrics match boxes once and only recount.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsdet import check
from wsdet.types import Doubles, Floats


def nanmean(values: Floats | Doubles) -> float:
    """The mean of the values that are numbers; NaN without any, and without numpy's warning."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def bootstrap_interval(
    statistic: Callable[[Doubles], float],
    n_images: int,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval that holds the middle `level` of a statistic over resampled sets of images.

    Equal `n_images`, `n_resamples` and `seed` draw equal sets, so the difference or the ratio of two methods on the
    same images is paired when it is computed inside `statistic`.

    Args:
        statistic: takes (n_images,) how often each image counts; may give NaN, which is left out.
        n_images: how many images there are; at least 1.
        n_resamples: how many sets are drawn.
        level: in (0, 1).
        seed: of the draws.

    Raises:
        InputError: an argument is outside its range.
    """
    check.at_least(1, n_images=n_images, n_resamples=n_resamples)
    check.within("(0, 1)", level=level)
    draw = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.bincount(draw.integers(n_images, size=n_images), minlength=n_images).astype(float))
            for _ in range(n_resamples)
        ]
    )
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
