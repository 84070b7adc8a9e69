"""Arrays behind the drawings of evidence: what lies over each pixel, and where the regions of a tree stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsdet.types import Doubles, Floats


def tree_places(n_regions: int, merges: Sequence[Sequence[int]]) -> Doubles:
    """(n_regions,) places along x: segments side by side so that no branches cross, a region amid its two."""
    n_segments = n_regions - len(merges)
    order: list[int] = []
    waiting = [n_regions - 1] if n_regions else []
    while waiting:
        region = waiting.pop()
        if region < n_segments:
            order.append(region)
        else:
            waiting.extend(reversed([int(child) for child in merges[region - n_segments]]))
    places = np.zeros(n_regions)
    places[order] = np.arange(len(order))
    for parent, (a, b) in enumerate(merges, n_segments):
        places[parent] = (places[a] + places[b]) / 2
    return places


def mean_over(xyxy: Floats, scores: Floats, size_hw: tuple[int, int]) -> Doubles:
    """(h, w) mean score of the boxes that cover a pixel; 0 where none does."""
    total, count = np.zeros((2, *size_hw))
    for (x1, y1, x2, y2), score in zip(np.rint(xyxy).astype(int), scores, strict=True):
        total[y1:y2, x1:x2] += score
        count[y1:y2, x1:x2] += 1
    return total / np.maximum(count, 1)


def share_over(xyxy: Floats, prior_weights: Floats, size_hw: tuple[int, int]) -> Doubles:
    """(h, w) share of the prior weight that lies in boxes which cover a pixel, in [0, 1]; 0 where none does."""
    share = np.zeros(size_hw)
    for (x1, y1, x2, y2), one in zip(
        np.rint(xyxy).astype(int), prior_weights / max(prior_weights.sum(), 1e-12), strict=True
    ):
        share[y1:y2, x1:x2] += one
    return share
