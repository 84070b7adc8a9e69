"""Boxes found in tiles, as one set."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.detectors.tiles import inside, merged
from wsdet.tiles import Tiling, shifted
from wsdet.types import Boxes


def boxes(*rows: tuple[float, float, float, float, float]) -> Boxes:
    """Of class 0, from x1, y1, x2, y2, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4], np.zeros(len(table), np.int64))


def test_boxes_of_a_tile_lie_in_it() -> None:
    window = np.array([40, 10, 80, 50])
    found = boxes((41, 11, 60, 30, 0.5), (0, 0, 20, 20, 0.9), (70, 20, 81, 30, 0.3), (70, 20, 90, 30, 0.2))
    in_tile = inside(found, window)
    np.testing.assert_allclose(in_tile.xyxy, [[1, 1, 20, 20], [30, 10, 40, 20]])  # the last but one sticks out a little
    np.testing.assert_allclose(shifted(in_tile, window).xyxy[0], found.xyxy[0])


WINDOWS = Tiling(60, 0.3).windows((60, 100))
NONE = Boxes.empty()


def test_no_boxes() -> None:
    assert len(merged([NONE, NONE, NONE], WINDOWS)) == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            [NONE, boxes((42, 10, 52, 20, 0.6)), boxes((42, 10, 52, 21, 0.8))],
            [(42, 10, 52, 21, 0.8)],
            id="two tiles see one object: suppression keeps the better box",
        ),
        pytest.param(
            [NONE, boxes((30, 10, 60, 30, 0.6)), boxes((40, 11, 75, 30, 0.8))],
            [(30, 10, 75, 30, 0.8)],
            id="both tiles cut an object: its parts are joined",
        ),
        pytest.param(
            [boxes((30, 10, 75, 30, 0.7)), boxes((30, 10, 60, 30, 0.9)), NONE],
            [(30, 10, 75, 30, 0.7)],
            id="a part gives way to the whole, however sure",
        ),
        pytest.param(
            [NONE, boxes((30, 10, 60, 30, 0.9)), NONE],
            [(30, 10, 60, 30, 0.9)],
            id="a part that nothing better shows stays",
        ),
        pytest.param(
            [NONE, boxes((30, 10, 60, 20, 0.6)), boxes((40, 40, 75, 50, 0.8))],
            [(40, 40, 75, 50, 0.8), (30, 10, 60, 20, 0.6)],
            id="parts in different places are different objects",
        ),
        pytest.param(
            [boxes((0, 0, 100, 60, 0.9)), boxes((0, 0, 20, 20, 0.5)), NONE],
            [(0, 0, 100, 60, 0.9), (0, 0, 20, 20, 0.5)],
            id="the image's own border cuts nothing",
        ),
    ],
)
def test_boxes_of_tiles_become_one_set(found: list[Boxes], expected: list[tuple[float, ...]]) -> None:
    one = merged(found, WINDOWS)
    np.testing.assert_allclose(np.column_stack([one.xyxy, one.scores]), np.array(expected), rtol=1e-6)


def test_classes_are_merged_apart() -> None:
    a, b = boxes((42, 10, 52, 20, 0.6)), boxes((42, 10, 52, 20, 0.8))
    other = Boxes(b.xyxy, b.scores, np.ones(1, np.int64))
    assert merged([NONE, a, other], WINDOWS).labels.tolist() == [1, 0]
