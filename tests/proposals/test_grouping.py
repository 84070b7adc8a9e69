"""Hierarchical grouping on label images whose merges are known."""

from __future__ import annotations

import numpy as np

from wsdet.proposals.grouping import color_bins, group, histograms, texture_bins
from wsdet.vision.segmentation import neighbors

STRIPES = np.repeat(np.array([[0, 0, 0, 1, 2, 2]]), 2, axis=0)  # three stripes, 3, 1 and 2 wide, 2 high


def test_neighbors_share_an_edge() -> None:
    assert neighbors(STRIPES).tolist() == [[0, 1], [1, 2]]
    assert neighbors(np.array([[0, 1], [2, 0]])).tolist() == [[0, 1], [0, 2]]


def test_one_segment_is_the_whole_image() -> None:
    xyxy = group(np.zeros((3, 5), np.int64), [np.zeros((1, 4), np.float32)], size=True, fill=True)
    assert xyxy.tolist() == [[0, 0, 5, 3]]


def test_size_merges_the_smallest_pair_first() -> None:
    xyxy = group(STRIPES, [], size=True, fill=False)
    assert xyxy.tolist() == [[0, 0, 3, 2], [3, 0, 4, 2], [4, 0, 6, 2], [3, 0, 6, 2], [0, 0, 6, 2]]


def test_appearance_merges_the_most_alike_neighbors_first() -> None:
    alike = np.array([[1, 0], [0.9, 0.1], [0, 1]], np.float32)
    xyxy = group(STRIPES, [alike], size=False, fill=False)
    assert xyxy[3].tolist() == [0, 0, 4, 2]


def test_fill_merges_the_pair_that_leaves_no_gap() -> None:
    segments = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 1]])
    xyxy = group(segments, [], size=False, fill=True)
    assert xyxy[3].tolist() == [2, 0, 4, 3]  # 1 and 2 leave no gap, 0 and 1 one pixel, 0 and 2 two


def test_the_last_region_is_the_whole_image_and_every_region_holds_a_segment() -> None:
    segments = np.random.default_rng(0).integers(0, 40, (20, 30))
    xyxy = group(segments, [np.ones((40, 1), np.float32)], size=True, fill=True)
    assert xyxy.shape == (79, 4)
    assert xyxy[-1].tolist() == [0, 0, 30, 20]


def test_histograms_are_shares_of_a_segment() -> None:
    image = np.zeros((2, 6, 3), np.uint8)
    image[:, 3:] = 255
    colors = histograms(STRIPES, color_bins(image), 25)
    textures = histograms(STRIPES, texture_bins(image), 10)
    assert colors.shape == (3, 75)
    assert textures.shape == (3, 240)
    np.testing.assert_allclose(np.stack([colors.sum(1), textures.sum(1)]), 1, rtol=1e-6)
    np.testing.assert_allclose(colors[1], colors[2])
    assert np.minimum(colors[0], colors[1]).sum() == 0
