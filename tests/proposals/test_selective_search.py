"""Selective Search on tiny images: what it finds, and that nothing but id and seed decides the order."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.boxes import iou
from wsdet.proposals.selective_search import SelectiveSearch
from wsdet.types import Boxes, Pixels, Sample

OBJECT = np.array([[30, 20, 80, 60]], np.float32)


def scene(h: int = 90, w: int = 120) -> Pixels:
    """A red box on noisy green."""
    rng = np.random.default_rng(0)
    pixels = np.full((h, w, 3), (40, 140, 60), np.float64) + rng.normal(0, 6, (h, w, 1))
    pixels[20:60, 30:80] = (200, 40, 40)
    return pixels.clip(0, 255).astype(np.uint8)


def equal(a: Boxes, b: Boxes) -> bool:
    return np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.scores, b.scores)


def test_finds_the_object_and_the_whole_image() -> None:
    boxes = SelectiveSearch().propose(Sample("a", scene()))
    assert iou(OBJECT, boxes.xyxy).max() > 0.9
    assert iou(np.array([[0, 0, 120, 90]], np.float32), boxes.xyxy).max() == 1


def test_order_depends_on_id_and_seed_alone() -> None:
    source = SelectiveSearch(seed=1)
    first = source.propose(Sample("a", scene()))
    other = source.propose(Sample("b", scene()))
    assert equal(first, source.propose(Sample("a", scene())))
    assert not equal(first, other)
    assert {*map(tuple, first.xyxy.tolist())} == {*map(tuple, other.xyxy.tolist())}
    assert not equal(first, SelectiveSearch(seed=2).propose(Sample("a", scene())))


def test_no_repeats_best_first_and_cut_at_max_boxes() -> None:
    boxes = SelectiveSearch(max_boxes=0).propose(Sample("a", scene()))
    assert len(np.unique(boxes.xyxy, axis=0)) == len(boxes)
    assert (np.diff(boxes.scores) <= 0).all()
    assert equal(SelectiveSearch(max_boxes=3).propose(Sample("a", scene())), boxes[:3])


def test_narrow_boxes_are_dropped() -> None:
    boxes = SelectiveSearch(min_width=0.25).propose(Sample("a", scene()))
    assert (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2] >= 30).all()


def test_a_large_image_is_handled_small_and_its_boxes_scaled_back() -> None:
    large = scene().repeat(4, axis=0).repeat(4, axis=1)
    boxes = SelectiveSearch(max_side=120).propose(Sample("a", large))
    assert iou(OBJECT * 4, boxes.xyxy).max() > 0.9
    assert boxes.xyxy.max() == 480


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 3), (5, 5)], ids=str)
def test_a_tiny_or_narrow_image_still_gives_itself(size: tuple[int, int]) -> None:
    boxes = SelectiveSearch().propose(Sample("a", np.zeros((*size, 3), np.uint8)))
    assert boxes.xyxy.tolist() == [[0, 0, size[1], size[0]]]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("color_spaces", ["cmyk"]),
        ("color_spaces", []),
        ("ks", [0]),
        ("similarities", ["CX"]),
        ("similarities", [""]),
        ("sigma", 0),
        ("max_side", 0),
        ("min_width", 1),
        ("max_boxes", -1),
    ],
)
def test_arguments_are_checked(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{argument}(\[0\])? must "):
        SelectiveSearch(**{argument: value})  # type: ignore[arg-type]
