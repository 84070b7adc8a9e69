"""Tiles: where they lie, and what they show."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from wsdet.tiles import Tiling, cut, window_of
from wsdet.types import InputError, Sample


@pytest.mark.parametrize("size_hw", [(100, 100), (99, 250), (400, 130), (101, 100)])
@pytest.mark.parametrize(("side", "overlap"), [(40, 0.25), (40, 0.0), (100, 0.5), (0.3, 0.25)])
def test_tiles_cover_the_image_and_overlap(size_hw: tuple[int, int], side: float, overlap: float) -> None:
    (whole, *tiles), (h, w) = Tiling(side, overlap).windows(size_hw).tolist(), size_hw
    assert whole == [0, 0, w, h]
    seen = np.zeros(size_hw, bool)
    for x1, y1, x2, y2 in tiles or [whole]:
        seen[y1:y2, x1:x2] = True
    assert seen.all()
    pixels = side if side > 1 else round(side * max(size_hw))
    assert all(x2 - x1 == min(pixels, w) and y2 - y1 == min(pixels, h) for x1, y1, x2, y2 in tiles)
    starts = sorted({x1 for x1, _, _, _ in tiles})
    assert all(a + pixels - b >= overlap * pixels - 1 for a, b in pairwise(starts))


def test_an_image_no_larger_than_a_tile_is_one() -> None:
    assert Tiling(100).windows((60, 100)).tolist() == [[0, 0, 100, 60]]
    assert Tiling(1).windows((60, 100)).tolist() == [[0, 0, 100, 60]]


@pytest.mark.parametrize(
    ("side", "overlap", "message"),
    [
        (0, 0.25, "tile must be a number above 0"),
        (5, 0.25, "tile must be at least 32, in pixels, or in"),
        (0.5, 1.0, "tile_overlap must be a number in"),
    ],
)
def test_arguments_are_checked(side: float, overlap: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Tiling(side, overlap)


def test_too_many_tiles_are_refused() -> None:
    with pytest.raises(InputError, match=r"tile=32 cuts an image of 4000 x 3000 pixels into \d+ tiles, more than 1000"):
        Tiling(32).windows((3000, 4000))


def test_a_tile_shows_its_pixels() -> None:
    pixels = np.arange(60 * 100 * 3, dtype=np.uint8).reshape(60, 100, 3)
    part = cut(Sample("a", pixels, (1,)), np.array([40, 10, 80, 50]))
    np.testing.assert_array_equal(part.pixels, pixels[10:50, 40:80])
    assert part.labels == (1,)


def test_a_box_is_read_off_the_tile_that_shows_it_whole_with_most_around() -> None:
    windows = Tiling(60, 0.3).windows((60, 100))  # tiles begin at 0 and 40
    assert windows.tolist() == [[0, 0, 100, 60], [0, 0, 60, 60], [40, 0, 100, 60]]
    xyxy = np.array([[0, 0, 20, 20], [42, 10, 50, 20], [50, 10, 58, 20], [80, 0, 100, 60], [30, 0, 70, 60]], np.float32)
    assert window_of(xyxy, windows).tolist() == [1, 1, 2, 2, 0]
