from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsdet.types import Boxes, Dataset, InputError, Sample, Split, readable

TWO = np.array([[0, 0, 2, 2], [1, 1, 4, 3]], np.float32)


def test_empty_boxes_have_every_column() -> None:
    boxes = Boxes.empty()
    assert len(boxes) == 0
    assert boxes.xyxy.shape == (0, 4)
    assert boxes.scores.shape == boxes.labels.shape == boxes.difficult.shape == (0,)
    assert [boxes.xyxy.dtype, boxes.scores.dtype] == [np.dtype(np.float32)] * 2
    assert [boxes.labels.dtype, boxes.difficult.dtype] == [np.dtype(np.int64), np.dtype(np.bool_)]


@pytest.mark.parametrize("nothing", [np.zeros((0, 4)), np.zeros(0), []], ids=["no rows", "flat", "a list"])
def test_no_rows_in_any_form_is_empty(nothing: Any) -> None:
    assert Boxes(nothing).xyxy.shape == (0, 4)


def test_columns_not_given_are_filled() -> None:
    boxes = Boxes(TWO)
    assert boxes.scores.tolist() == [0, 0]
    assert boxes.labels.tolist() == [-1, -1]
    assert boxes.difficult.tolist() == [False, False]


def test_a_box_without_area_is_a_box() -> None:
    assert len(Boxes(np.array([[3, 3, 3, 3]], np.float32))) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"xyxy": np.zeros((2, 5))}, r"xyxy must have shape \(n, 4\), got \(2, 5\)"),
        ({"xyxy": [1, 2, 3, 4]}, r"xyxy must have shape \(n, 4\), got \(4,\)"),
        ({"xyxy": [[0, 0, np.nan, 1]]}, "xyxy must be finite"),
        ({"xyxy": [[0, 0, np.inf, 1]]}, "xyxy must be finite"),
        ({"xyxy": [[2, 0, 1, 1]]}, r"x1 <= x2 and y1 <= y2, got \[2.0, 0.0, 1.0, 1.0\]"),
        ({"xyxy": [[0, 2, 1, 1]]}, "x1 <= x2 and y1 <= y2"),
        ({"xyxy": TWO, "scores": [1]}, r"scores must have shape \(2,\)"),
        ({"xyxy": TWO, "labels": [[1, 2]]}, r"labels must have shape \(2,\)"),
        ({"xyxy": [], "difficult": [True]}, r"difficult must have shape \(0,\)"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Boxes(**columns)


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (np.array([], np.int64), []),
        (np.array([False, False, False]), []),
        (np.array([True, False, True]), [0, 2]),
        (slice(1, None), [1, 2]),
        (np.array([2, 0, 0]), [2, 0, 0]),
        (1, [1]),
        (np.int64(-1), [2]),
    ],
    ids=["no indices", "no row", "mask", "slice", "indices", "integer", "numpy integer"],
)
def test_indexing_gives_boxes(index: Any, rows: list[int]) -> None:
    boxes = Boxes(
        np.tile(TWO[:1], (3, 1)), np.arange(3, dtype=np.float32), np.arange(10, 13), np.array([True, False, True])
    )
    chosen = boxes[index]
    assert isinstance(chosen, Boxes)
    assert chosen.xyxy.shape == (len(rows), 4)
    assert chosen.scores.tolist() == rows
    assert chosen.labels.tolist() == [10 + row for row in rows]
    assert chosen.difficult.tolist() == [row != 1 for row in rows]


def test_an_index_past_the_end_is_an_error() -> None:
    with pytest.raises(IndexError):
        Boxes(TWO)[2]


def test_iterating_gives_one_box_at_a_time() -> None:
    assert [one.xyxy.tolist() for one in Boxes(TWO)] == [[row] for row in TWO.tolist()]


def test_concatenate_keeps_order_and_columns() -> None:
    whole = Boxes(TWO, np.array([0.5, 0.25]), np.array([3, 1]), np.array([True, False]))
    again = Boxes.concatenate(iter([whole[:1], Boxes.empty(), whole[1:]]))
    for name in ("xyxy", "scores", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        assert getattr(again, name).dtype == getattr(whole, name).dtype
    assert len(Boxes.concatenate([])) == 0


def test_boxes_are_frozen_and_own_their_arrays() -> None:
    given = TWO.copy()
    boxes = Boxes(given)
    given[:] = 7
    np.testing.assert_array_equal(boxes.xyxy, TWO)
    with pytest.raises(ValueError, match="read-only"):
        boxes.xyxy[0, 0] = 1


def test_size_of_a_sample_is_height_then_width() -> None:
    assert Sample("a", np.zeros((3, 5, 3), np.uint8)).size_hw == (3, 5)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((3, 5), np.uint8), np.zeros((3, 5, 4), np.uint8), np.zeros((3, 5, 3), np.float32)],
    ids=["gray", "with alpha", "float"],
)
def test_pixels_of_another_form_are_refused_by_name(pixels: Any) -> None:
    with pytest.raises(ValueError, match=r"pixels of 'dog\.jpg' must be \(h, w, 3\) uint8"):
        Sample("dog.jpg", pixels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_tests_own_dataset_keeps_the_protocol(tiny_dataset: Dataset, split: Split) -> None:
    ids = tiny_dataset.ids(split)
    assert len(ids) == len(set(ids)) == 6
    for image_id in ids:
        sample, truth = tiny_dataset.load(image_id), tiny_dataset.truth[image_id]
        assert sample.image_id == image_id
        assert sample.labels == tiny_dataset.labels(image_id) == tuple(sorted(set(truth.labels.tolist())))
        assert (truth.xyxy >= 0).all()
        assert (truth.xyxy[:, 2:] <= sample.size_hw[::-1]).all()
        for box in truth:  # the middle of a box shows the color of its class
            x, y = ((box.xyxy[0, :2] + box.xyxy[0, 2:]) / 2).astype(int)
            assert sample.pixels[y, x].argmax() == box.labels[0]


def test_the_first_box_of_a_class_may_be_of_no_class() -> None:
    boxes = Boxes(np.tile(np.array([0, 0, 1, 1], np.float32), (4, 1)), labels=np.array([2, -1, 0, 0]))
    assert [boxes.rows_of(label).tolist() for label in (0, 1, 2)] == [[1, 2, 3], [1], [0, 1]]
    assert [boxes.first_of(label).labels.tolist() for label in (0, 2)] == [[-1], [2]]
    assert len(boxes[2:].first_of(1)) == 0


def test_the_best_rows_of_each_class_come_best_first_and_equal_ones_as_they_are() -> None:
    scores = np.array([0.1, 0.9, 0.9, 0.5, 0.7], np.float32)
    boxes = Boxes(np.tile(np.array([0, 0, 1, 1], np.float32), (5, 1)), scores, np.array([0, 1, 1, 0, 0]))
    assert boxes.best_rows(1).tolist() == [1, 4]
    assert boxes.best_rows(2).tolist() == [1, 2, 4, 3]
    assert boxes.best_rows(9).tolist() == [1, 2, 4, 3, 0]
    assert Boxes.empty().best_rows(1).tolist() == []


def test_boxes_that_cannot_be_read_are_passed_over_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    class Damaged(dict[str, Boxes]):
        def __getitem__(self, image_id: str) -> Boxes:
            if image_id == "b":
                raise InputError("b.xml is damaged")
            return super().__getitem__(image_id)

    truth = Damaged(a=Boxes.empty(), b=Boxes.empty())
    assert [image_id for image_id, _ in readable(truth, "abc", "is not counted")] == ["a"]
    assert caplog.messages == ["b is not counted: b.xml is damaged"]
