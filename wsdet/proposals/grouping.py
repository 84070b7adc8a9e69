"""Hierarchical grouping of segments, the core of Selective Search.

Uijlings, van de Sande, Gevers, Smeulders: Selective Search for Object Recognition, IJCV 104 (2013), sections 3.1 and
3.2. Written here and not taken from OpenCV's `SelectiveSearchSegmentation`, which ranks its boxes by the C library's
`rand()`, so that no seed fixes their order, and puts small regions first where the paper puts the whole image.
"""

from __future__ import annotations

import heapq

import cv2
import numpy as np

from wsdet.boxes import area, segments_to_xyxy, union
from wsdet.types import Floats, Ints, Pixels

_COLOR_BINS = 25
_TEXTURE_BINS = 10


def group(segments: Ints, histograms: Floats, size: bool, fill: bool) -> Floats:
    """Merges the most similar pair of neighboring regions until one region is left.

    The similarity of two regions is the sum of the paper's terms: the histogram intersections (eq. 1 and 3), size
    (eq. 4) and fill (eq. 5).

    Args:
        segments: (h, w) label image with labels 0..k-1, each in use.
        histograms: (k, d) appearance of each segment; d = 0 leaves appearance out.
        size: whether small regions merge early.
        fill: whether regions that fit into each other merge early.

    Returns:
        (2k - 1, 4) bounding boxes of all regions in the order in which they came to be: first the segments, last the
        whole image.
    """
    n_segments = len(histograms)
    n_regions = 2 * n_segments - 1
    xyxy = _extended(segments_to_xyxy(segments), n_regions)
    pixels = _extended(np.bincount(segments.ravel(), minlength=n_segments).astype(np.float32), n_regions)
    appearance = _extended(histograms, n_regions)

    def similarity(a: Ints, b: Ints) -> list[float]:
        total = np.minimum(appearance[a], appearance[b]).sum(axis=1)
        together = pixels[a] + pixels[b]
        if size:
            total = total + 1 - together / segments.size
        if fill:
            total = total + 1 - (area(union(xyxy[a], xyxy[b])) - together) / segments.size
        return total.tolist()

    pairs = neighbors(segments)
    around: list[set[int]] = [set() for _ in range(n_regions)]
    for a, b in pairs.tolist():
        around[a].add(b)
        around[b].add(a)
    queue = [(-s, a, b) for s, (a, b) in zip(similarity(pairs[:, 0], pairs[:, 1]), pairs.tolist(), strict=True)]
    heapq.heapify(queue)
    alive = [True] * n_segments
    while queue:
        _, a, b = heapq.heappop(queue)
        if not (alive[a] and alive[b]):
            continue
        new = len(alive)
        xyxy[new] = union(xyxy[a], xyxy[b])
        pixels[new] = pixels[a] + pixels[b]
        appearance[new] = (pixels[a] * appearance[a] + pixels[b] * appearance[b]) / pixels[new]
        alive[a] = alive[b] = False
        alive.append(True)
        around[new] = (around[a] | around[b]) - {a, b}
        near = sorted(around[new])
        for other in near:
            around[other] -= {a, b}
            around[other].add(new)
        for s, other in zip(similarity(np.full(len(near), new), np.array(near, np.int64)), near, strict=True):
            heapq.heappush(queue, (-s, other, new))
    return xyxy


def neighbors(segments: Ints) -> Ints:
    """(m, 2) pairs a < b of the segments of an (h, w) label image that share an edge of a pixel, each once."""
    beside = np.stack([segments[:, :-1].ravel(), segments[:, 1:].ravel()], axis=1)
    below = np.stack([segments[:-1].ravel(), segments[1:].ravel()], axis=1)
    pairs = np.sort(np.concatenate([beside, below]), axis=1)
    n_segments = int(segments.max()) + 1
    codes = np.unique((pairs[:, 0] * n_segments + pairs[:, 1])[pairs[:, 0] != pairs[:, 1]])
    return np.stack([codes // n_segments, codes % n_segments], axis=1)


def color_histograms(segments: Ints, image: Pixels) -> Floats:
    """(k, 25 c) histograms of the c channels of an (h, w, c) image in each of k segments, each row summing to 1."""
    return _histograms(segments, image.astype(np.int64) * _COLOR_BINS // 256, _COLOR_BINS)


def texture_histograms(segments: Ints, image: Pixels) -> Floats:
    """(k, 80 c) histograms of Gaussian derivatives in 8 directions in each of k segments, each row summing to 1.

    Sigma 1, 10 bins for each direction and channel; the bins divide 0 to the image's strongest derivative in that
    direction and channel. A direction's derivative is positive or 0, so opposite directions differ.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0).reshape(image.shape)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1).reshape(image.shape)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1).reshape(image.shape)
    directed = [dx, dy, (dx + dy) / np.sqrt(2), (dx - dy) / np.sqrt(2)]
    derivatives = np.concatenate([np.maximum(sign * d, 0) for d in directed for sign in (1, -1)], axis=2)
    strongest = np.maximum(derivatives.max(axis=(0, 1)), 1e-6)
    bins = np.minimum(derivatives * (_TEXTURE_BINS / strongest), _TEXTURE_BINS - 1).astype(np.int64)
    return _histograms(segments, bins, _TEXTURE_BINS)


def _histograms(segments: Ints, bins: Ints, n_bins: int) -> Floats:
    n_segments = int(segments.max()) + 1
    first = segments.ravel() * n_bins
    counts = [
        np.bincount(first + bins[:, :, channel].ravel(), minlength=n_segments * n_bins).reshape(n_segments, n_bins)
        for channel in range(bins.shape[2])
    ]
    histograms = np.concatenate(counts, axis=1).astype(np.float32)
    return histograms / histograms.sum(axis=1, keepdims=True)


def _extended(rows: Floats, n_rows: int) -> Floats:
    return np.concatenate([rows, np.zeros((n_rows - len(rows), *rows.shape[1:]), np.float32)]).astype(np.float32)
