"""Graph segmentation: every pixel in one segment, in every color space."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.vision.segmentation import COLOR_SPACES, graph_segments, in_color_space, neighbors

HALVES = np.zeros((40, 60, 3), np.uint8)
HALVES[:, :30], HALVES[:, 30:] = (200, 40, 30), (20, 90, 210)


@pytest.mark.parametrize("name", COLOR_SPACES)
def test_two_plain_halves_are_two_segments(name: str) -> None:
    channels = in_color_space(HALVES, name)
    assert channels.shape[:2] == (40, 60)
    assert channels.dtype == np.uint8
    segments = graph_segments(channels, sigma=0.8, k=50, min_size=50)
    assert set(np.unique(segments)) == set(range(segments.max() + 1))
    assert segments[20, 5] != segments[20, 55]
    assert (segments[:, :25] == segments[20, 5]).all()


def test_a_larger_k_gives_no_more_segments(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    counts = [graph_segments(in_color_space(noise, "lab"), 0.8, k, k).max() + 1 for k in (20, 50, 100, 300)]
    assert counts == sorted(counts, reverse=True)


def test_neighbors_are_each_pair_once() -> None:
    assert neighbors(np.array([[0, 0, 1], [2, 2, 1]])).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert neighbors(np.zeros((3, 3), np.int64)).tolist() == []
