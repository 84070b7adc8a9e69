from __future__ import annotations

import numpy as np
import pytest

from wsdet import boxes
from wsdet.types import Floats

NONE = np.zeros((0, 4), np.float32)


def random_boxes(rng: np.random.Generator, n: int, side: float = 100) -> Floats:
    corners = rng.uniform(0, side, size=(n, 2, 2)).astype(np.float32)
    corners.sort(axis=1)
    return corners.reshape(n, 4)


def some(*rows: list[float]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("xyxy", "expected"),
    [(NONE, []), (some([1, 2, 4, 4]), [6]), (some([1, 1, 1, 5]), [0]), (some([0, 0, 0.5, 0.5]), [0.25])],
    ids=["none", "one", "a line", "less than a pixel"],
)
def test_area(xyxy: Floats, expected: list[float]) -> None:
    assert boxes.area(xyxy).tolist() == expected


@pytest.mark.parametrize(
    ("xyxy", "expected"),
    [
        (NONE, NONE),
        (some([1, 1, 2, 2]), some([1, 1, 2, 2])),
        (some([-3, -1, 20, 30]), some([0, 0, 8, 6])),
        (some([9, 9, 12, 12]), some([8, 6, 8, 6])),
    ],
    ids=["none", "inside", "around", "beyond"],
)
def test_clip_to_height_6_width_8(xyxy: Floats, expected: Floats) -> None:
    clipped = boxes.clip(xyxy, (6, 8))
    np.testing.assert_array_equal(clipped, expected)
    assert clipped.dtype == np.float32


def test_scale_goes_there_and_back(rng: np.random.Generator) -> None:
    xyxy = random_boxes(rng, 20)
    there = boxes.scale(xyxy, (100, 200), (227, 227))
    np.testing.assert_allclose(there[:, ::2], xyxy[:, ::2] * 1.135, rtol=1e-6)
    np.testing.assert_allclose(there[:, 1::2], xyxy[:, 1::2] * 2.27, rtol=1e-6)
    np.testing.assert_allclose(boxes.scale(there, (227, 227), (100, 200)), xyxy, rtol=1e-5)
    assert boxes.scale(NONE, (1, 1), (2, 2)).shape == (0, 4)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (some([0, 0, 2, 2]), some([1, 0, 3, 2]), 1 / 3),
        (some([0, 0, 2, 2]), some([0, 0, 2, 2]), 1),
        (some([0, 0, 2, 2]), some([2, 0, 4, 2]), 0),
        (some([0, 0, 4, 4]), some([1, 1, 3, 3]), 1 / 4),
        (some([1, 1, 1, 1]), some([1, 1, 1, 1]), 0),
    ],
    ids=["half", "the same", "touching", "inside", "without area"],
)
def test_iou_known_answers(a: Floats, b: Floats, expected: float) -> None:
    np.testing.assert_allclose(boxes.iou(a, b), [[expected]], rtol=1e-6)


def test_iou_is_torchvisions_and_symmetric(rng: np.random.Generator) -> None:
    import torch
    from torchvision.ops import box_iou

    a, b = random_boxes(rng, 40), random_boxes(rng, 30)
    ours = boxes.iou(a, b)
    np.testing.assert_allclose(ours, box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(), atol=1e-6)
    np.testing.assert_array_equal(ours, boxes.iou(b, a).T)
    np.testing.assert_allclose(np.diag(boxes.iou(a, a)), 1)
    assert ours.dtype == np.float32


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_with_none(rng: np.random.Generator, n: int, m: int) -> None:
    assert boxes.iou(random_boxes(rng, n), random_boxes(rng, m)).shape == (n, m)


@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_nms_is_torchvisions_and_idempotent(rng: np.random.Generator, iou_threshold: float) -> None:
    import torch
    from torchvision.ops import nms

    xyxy, scores = random_boxes(rng, 200, side=30), rng.permutation(200).astype(np.float32)
    kept = boxes.nms(xyxy, scores, iou_threshold)
    assert kept.tolist() == nms(torch.from_numpy(xyxy), torch.from_numpy(scores), iou_threshold).tolist()
    assert boxes.nms(xyxy[kept], scores[kept], iou_threshold).tolist() == list(range(len(kept)))


def test_nms_of_none_and_of_equal_scores() -> None:
    assert boxes.nms(NONE, np.zeros(0, np.float32), 0.5).tolist() == []
    same = some([0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6])
    assert boxes.nms(same, np.ones(3, np.float32), 0.5).tolist() == [0, 2]
    assert boxes.nms(same, np.ones(3, np.float32), 1.0).tolist() == [0, 1, 2]


def test_union_holds_both_and_no_more(rng: np.random.Generator) -> None:
    a, b = random_boxes(rng, 20), random_boxes(rng, 20)
    both = boxes.union(a, b)
    for part in (a, b):
        np.testing.assert_allclose(boxes.intersection(both, part).diagonal(), boxes.area(part), rtol=1e-5)
    assert ((both == a) | (both == b)).all()
    np.testing.assert_array_equal(boxes.union(a, a), a)
    np.testing.assert_array_equal(boxes.union(a[:1], b)[3], boxes.union(a[:1], b[3:4])[0])


def test_xywh_there_and_back(rng: np.random.Generator) -> None:
    assert boxes.xyxy_to_xywh(some([1, 2, 4, 6])).tolist() == [[1, 2, 3, 4]]
    xyxy = random_boxes(rng, 20)
    np.testing.assert_allclose(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(xyxy)), xyxy, rtol=1e-5)
    assert boxes.xywh_to_xyxy(NONE).shape == boxes.xyxy_to_xywh(NONE).shape == (0, 4)


@pytest.mark.parametrize(
    ("on", "expected"),
    [([], []), ([(2, 3)], [[3, 2, 4, 3]]), ([(0, 0), (5, 7)], [[0, 0, 8, 6]])],
    ids=["nothing", "one pixel", "two corners"],
)
def test_mask_to_xyxy(on: list[tuple[int, int]], expected: list[list[float]]) -> None:
    mask = np.zeros((6, 8), bool)
    for row, column in on:
        mask[row, column] = True
    assert boxes.mask_to_xyxy(mask).tolist() == expected


def test_segments_to_xyxy_is_the_box_of_each_segments_mask(rng: np.random.Generator) -> None:
    segments = rng.integers(0, 6, size=(5, 9))
    expected = np.concatenate([boxes.mask_to_xyxy(segments == label) for label in range(6)])
    np.testing.assert_array_equal(boxes.segments_to_xyxy(segments), expected)
    assert boxes.segments_to_xyxy(np.zeros((4, 7), np.int64)).tolist() == [[0, 0, 7, 4]]


def test_the_expected_iou_is_the_mean_overlap_with_what_is_believed() -> None:
    xyxy = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    expected = boxes.expected_iou(xyxy, np.array([3, 1, 0], np.float32))
    np.testing.assert_allclose(expected, [(3 + 1 / 3) / 4, (1 + 3 / 3) / 4, 0])
    np.testing.assert_allclose(boxes.expected_iou(xyxy, np.zeros(3, np.float32))[2], 1 / 3)  # nothing believed: alike
    assert boxes.expected_iou(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)).shape == (0,)


def test_a_kept_box_moves_to_the_average_of_those_that_overlap_it_by_their_scores() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.8, 0.4, 0.8, 0.9], np.float32)  # the third overlaps the first by a third only
    moved = boxes.voted(xyxy[[0, 3]], xyxy, scores, 1.0)
    np.testing.assert_allclose(moved, np.array([[0, 0, 10, (0.8 * 10 + 0.4 * 8) / 1.2], [50, 50, 60, 60]]), rtol=1e-6)
    sharper = boxes.voted(xyxy[:1], xyxy, scores, 2.0)
    np.testing.assert_allclose(sharper, [[0, 0, 10, (10 + 0.25 * 8) / 1.25]], rtol=1e-6)


def test_boxes_without_scores_count_alike_and_one_without_area_stays() -> None:
    xyxy = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [3, 3, 3, 3]], np.float32)
    moved = boxes.voted(xyxy[[0, 2]], xyxy, np.zeros(3, np.float32), 10.0)
    np.testing.assert_allclose(moved, [[0, 0, 10, 9], [3, 3, 3, 3]])
    assert boxes.voted(xyxy[:0], xyxy, np.ones(3, np.float32), 10.0).shape == (0, 4)


def test_iou_of_pairs_is_the_diagonal_of_iou_and_0_of_empty_boxes() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 9, (20, 2, 2)), axis=1).reshape(20, 4).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(boxes.iou_of_pairs(a, b), np.diag(boxes.iou(a, b)), rtol=1e-5)
    assert boxes.iou_of_pairs(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [0]


def test_mist_seeds_are_the_best_regions_that_hardly_overlap_better_ones() -> None:
    xyxy = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 20, 10, 30]], np.float32)
    scores = np.array([0.8, 0.7, 0.5, 0.2], np.float32)
    assert boxes.mist_seeds(xyxy, scores, top_share=1.0).tolist() == [0, 2]
    assert boxes.mist_seeds(xyxy, scores, top_share=0.25).tolist() == [0]
    assert boxes.mist_seeds(xyxy, scores, top_share=1.0, least_score=0.0).tolist() == [0, 2, 3]
    assert boxes.mist_seeds(xyxy[:0], scores[:0]).tolist() == []


def test_votes_of_boxes_of_one_object_and_of_all_agree_where_there_is_one_object() -> None:
    pair = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], np.float32)
    weights = np.array([3, 1], np.float32)
    np.testing.assert_allclose(boxes.vote_scores(pair, weights, 0.5), boxes.expected_iou(pair, weights), rtol=1e-6)
    apart = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], np.float32)  # IoU 1/3
    np.testing.assert_allclose(
        boxes.vote_scores(apart, weights, 0.5), np.sqrt([(3 / 4 + 1 / 12) * 3 / 4, (1 / 4 + 1 / 4) / 4]), rtol=1e-6
    )
    assert boxes.vote_scores(apart, np.zeros(2, np.float32), 0.5).tolist() == [pytest.approx(3**-0.5)] * 2
