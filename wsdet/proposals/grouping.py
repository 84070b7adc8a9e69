"""Hierarchical grouping of segments, the core of Selective Search.

Uijlings, van de Sande, Gevers, Smeulders: Selective Search for Object Recognition, IJCV 104 (2013), sections 3.1 and
3.2. Written here and not taken from OpenCV's `SelectiveSearchSegmentation`, which ranks its boxes by the C library's
`rand()`, so that no seed fixes their order, and puts small regions first where the paper puts the whole image.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from wsdet.boxes import area, segments_to_xyxy, union
from wsdet.types import Floats, Ints, Pixels
from wsdet.vision.segmentation import neighbors

COLOR_BINS = 25
TEXTURE_BINS = 10


def group(segments: Ints, appearances: Sequence[Floats], size: bool, fill: bool) -> Floats:
    """Merges the most similar pair of neighboring regions until one region is left.

    The similarity of two regions is the sum of the paper's terms: the histogram intersections (eq. 1 and 3), size
    (eq. 4) and fill (eq. 5).

    Args:
        segments: (h, w) label image with labels 0..k-1, each in use.
        appearances: histograms of the segments, each (k, d); none leaves appearance out.
        size: whether small regions merge early.
        fill: whether regions that fit into each other merge early.

    Returns:
        (2k - 1, 4) bounding boxes of all regions in the order in which they came to be: first the segments, last the
        whole image.
    """
    n_segments = int(segments.max()) + 1
    n_regions = 2 * n_segments - 1
    xyxy = _extended(segments_to_xyxy(segments), n_regions)
    pixels = _extended(np.bincount(segments.ravel(), minlength=n_segments).astype(np.float32), n_regions)
    appearance = _extended(np.concatenate([np.zeros((n_segments, 0)), *appearances], axis=1), n_regions)

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


def color_bins(image: Pixels) -> Pixels:
    """(c, h, w) bin 0..24 of each pixel's value in the c channels of an (h, w, c) image."""
    return np.moveaxis(image.astype(np.int32) * COLOR_BINS // 256, 2, 0).astype(np.uint8)


def texture_bins(image: Pixels) -> Pixels:
    """(8 c, h, w) bin 0..9 of the Gaussian derivatives in 8 directions in the c channels of an (h, w, c) image.

    Sigma is 1; the bins divide 0 to the image's strongest derivative in that direction and channel. A derivative
    against its direction counts as 0, so opposite directions differ.
    """
    channels = [cv2.GaussianBlur(channel, (0, 0), 1.0) for channel in np.moveaxis(image, 2, 0).astype(np.float32)]
    return np.stack([_ten_bins(derivative) for channel in channels for derivative in _derivatives(channel)])


def histograms(segments: Ints, bins: Pixels, n_bins: int) -> Floats:
    """(k, channels x n_bins) histograms of (channels, h, w) `bins` in each of k segments, each row summing to 1."""
    n_segments = int(segments.max()) + 1
    first = segments * n_bins
    counts = [np.bincount((first + channel).ravel(), minlength=n_segments * n_bins) for channel in bins]
    pixels = np.bincount(segments.ravel(), minlength=n_segments)[:, None]
    shares = [count.reshape(n_segments, n_bins) / (len(bins) * pixels) for count in counts]
    return np.concatenate(shares, axis=1).astype(np.float32)


def _derivatives(channel: Floats) -> Iterator[Floats]:
    dx, dy = (cv2.Sobel(channel, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    for derivative in (dx, dy, (dx + dy) / np.sqrt(2), (dx - dy) / np.sqrt(2)):
        yield np.maximum(derivative, 0)
        yield np.maximum(-derivative, 0)


def _ten_bins(derivative: Floats) -> Pixels:
    strongest = max(float(derivative.max()), 1e-6)
    return np.minimum(derivative * (TEXTURE_BINS / strongest), TEXTURE_BINS - 1).astype(np.uint8)


def _extended(rows: Floats, n_rows: int) -> Floats:
    return np.concatenate([rows, np.zeros((n_rows - len(rows), *rows.shape[1:]), np.float32)]).astype(np.float32)
