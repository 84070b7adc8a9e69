"""Tiles of large images with small objects: where they lie, and which of them shows a box.

A network sees an image at its own size, so an object of 60 pixels in a photo of 4,000 is a speck to it. Cut into tiles
that overlap, the photo is looked at piece by piece as well as whole (SAHI, Akyon et al., ICIP 2022). An object that is
no larger than the overlap lies whole in some tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from wsdet import check
from wsdet.types import Bools, Boxes, Floats, InputError, Ints, Sample

MAX_TILES = 1000  # of an image: settings may come from anyone


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Attributes:
        side: of a tile in pixels, at least 32; up to 1 relative to the longer side of the image, at least 0.02.
        overlap: least share of the side that neighboring tiles have in common, in [0, 0.9].

    Raises:
        InputError: a value is out of its range.
    """

    side: float
    overlap: float = 0.25

    def __post_init__(self) -> None:
        check.positive(tile=self.side)
        if 1 < self.side < 32 or self.side < 0.02:
            raise InputError(
                f"tile must be at least 32, in pixels, or in [0.02, 1], relative to the longer side, got {self.side}"
            )
        check.within("[0, 0.9]", tile_overlap=self.overlap)

    @classmethod
    def of(cls, tile: float | None, overlap: float) -> Tiling | None:
        """The tiling of two settings; none where `tile` is None."""
        return None if tile is None else cls(tile, overlap)

    def windows(self, size_hw: tuple[int, int]) -> Ints:
        """(t, 4) corners xyxy in pixels of the image, and of its tiles where it is larger than one.

        Raises:
            InputError: there are too many tiles.
        """
        h, w = size_hw
        whole = np.array([[0, 0, w, h]], np.int64)
        side = round(self.side * max(h, w)) if self.side <= 1 else round(self.side)
        side = max(side, 1)
        if side >= max(h, w):
            return whole
        columns, rows = (_starts(length, side, self.overlap) for length in (w, h))
        if len(columns) * len(rows) > MAX_TILES:
            raise InputError(
                f"tile={self.side:g} cuts an image of {w} x {h} pixels into {len(columns) * len(rows)} tiles, "
                f"more than {MAX_TILES}; give a larger tile or a smaller tile_overlap"
            )
        x1, y1 = (grid.ravel() for grid in np.meshgrid(columns, rows))
        tiles = np.stack([x1, y1, np.minimum(x1 + side, w), np.minimum(y1 + side, h)], axis=1)
        return np.concatenate([whole, tiles])


def _starts(length: int, side: int, overlap: float) -> Ints:
    """Where tiles start along one side of an image, evenly."""
    n = 1 if side >= length else math.ceil((length - overlap * side) / ((1 - overlap) * side))
    return np.rint(np.linspace(0, max(0, length - side), n)).astype(np.int64)


def cut(sample: Sample, window_xyxy: Ints) -> Sample:
    """The part of an image in a window; the image itself where that is all of it."""
    x1, y1, x2, y2 = window_xyxy.tolist()
    if (y2 - y1, x2 - x1) == sample.size_hw:
        return sample
    pixels = np.ascontiguousarray(sample.pixels[y1:y2, x1:x2])
    return replace(sample, image_id=f"{sample.image_id}@{x1},{y1}", pixels=pixels)


def shifted(boxes: Boxes, window_xyxy: Ints) -> Boxes:
    """Boxes in a window, in the coordinates of the image."""
    return replace(boxes, xyxy=boxes.xyxy + np.tile(window_xyxy[:2], 2).astype(np.float32))


def window_of(xyxy: Floats, windows_xyxy: Ints) -> Ints:
    """(n,) the tile that shows each of (n, 4) boxes whole and with most around it; 0, the image, where none does."""
    edges = windows_xyxy[1:].astype(np.float32)
    if not len(edges):
        return np.zeros(len(xyxy), np.int64)
    margins = np.concatenate([xyxy[:, None, :2] - edges[None, :, :2], edges[None, :, 2:] - xyxy[:, None, 2:]], axis=2)
    margins = np.where(at_border(windows_xyxy)[None, 1:], np.inf, margins)  # there is nothing beyond
    least = margins.min(axis=2)
    best = least.argmax(axis=1)
    return np.where(least[np.arange(len(xyxy)), best] >= 0, best + 1, 0)


def at_border(windows_xyxy: Ints) -> Bools:
    """(t, 4) which sides of each window are the image's own border; the first window is the image."""
    return windows_xyxy == windows_xyxy[:1]
