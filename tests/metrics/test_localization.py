from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from wsdet.metrics.localization import (
    center_correct,
    corloc,
    corloc_over_images,
    localization_error,
    lost_corloc,
    mean_iou,
    mean_iou_by_class,
    top_boxes,
)
from wsdet.types import Boxes

TEN = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU exactly 0.5 with TEN
MOST = [0.0, 0.0, 10.0, 6.0]
FAR = [50.0, 50.0, 60.0, 60.0]


def boxes(*xyxy: Sequence[float], labels: Sequence[int] | None = None, difficult: bool = False) -> Boxes:
    n = len(xyxy)
    return Boxes(np.array(xyxy, np.float32), labels=np.array(labels or [0] * n), difficult=np.full(n, difficult))


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        pytest.param(boxes(), boxes(TEN), 0.0, id="no box"),
        pytest.param(boxes(MOST), boxes(TEN), 1.0, id="IoU 0.6"),
        pytest.param(boxes(HALF), boxes(TEN), 0.0, id="IoU of exactly 0.5 is not above 0.5"),
        pytest.param(boxes(FAR, TEN), boxes(TEN), 0.0, id="only the first box counts"),
        pytest.param(boxes(FAR), boxes(TEN, FAR), 1.0, id="any object of the class will do"),
        pytest.param(boxes(TEN), boxes(TEN, difficult=True), 1.0, id="difficult objects count"),
        pytest.param(boxes(TEN, labels=[-1]), boxes(TEN), 1.0, id="a box without class stands for every class"),
        pytest.param(boxes(TEN, labels=[1]), boxes(TEN), 0.0, id="a box of another class does not"),
        pytest.param(boxes(FAR, TEN, labels=[1, 0]), boxes(TEN), 1.0, id="the first of the class"),
    ],
)
def test_corloc_of_one_image(found: Boxes, truth: Boxes, expected: float) -> None:
    assert corloc(top_boxes({"a": found}, {"a": truth}, ["a"]), 1).tolist() == [expected]


def test_corloc_is_by_class_over_the_images_that_have_it() -> None:
    truth = {"a": boxes(TEN, FAR, labels=[0, 1]), "b": boxes(TEN), "c": boxes(TEN)}
    found = {"a": boxes(TEN, TEN, labels=[0, 1]), "b": boxes(TEN)}
    top = top_boxes(found, truth, ["a", "b", "c"])
    by_class = corloc(top, 3)
    np.testing.assert_allclose(by_class[:2], [2 / 3, 0])
    assert np.isnan(by_class[2])
    np.testing.assert_allclose(corloc(top, 3, np.array([0.0, 1.0, 1.0]))[0], 0.5)
    assert mean_iou(top) == pytest.approx(2 / 4)


def test_over_images_frequent_classes_count_more() -> None:
    truth = {"a": boxes(TEN), "b": boxes(TEN), "c": boxes(TEN), "d": boxes(TEN, labels=[1])}
    found = {"a": boxes(TEN), "b": boxes(TEN), "c": boxes(HALF), "d": boxes(FAR, labels=[1])}
    top = top_boxes(found, truth, list(truth))
    assert corloc(top, 3)[:2].tolist() == pytest.approx([2 / 3, 0])
    assert corloc_over_images(top) == 2 / 4
    assert mean_iou_by_class(top, 3)[:2].tolist() == pytest.approx([2.5 / 3, 0])
    assert np.isnan(mean_iou_by_class(top, 3)[2])


def test_nothing_to_measure() -> None:
    top = top_boxes({}, {}, [])
    assert np.isnan([*corloc(top, 2), mean_iou(top), center_correct(top, 0), lost_corloc({}, {}, [])]).all()
    assert np.isnan(localization_error({}, {}, []))


@pytest.mark.parametrize(
    ("center", "deepest"),
    [
        pytest.param((50, 30), 0.5, id="in the middle"),
        pytest.param((20, 30), 0.2, id="a fifth of the width from the left"),
        pytest.param((50, 57), 0.05, id="near the lower side"),
        pytest.param((0, 30), 0.0, id="on the border"),
    ],
)
def test_center_correct_up_to_its_depth(center: tuple[float, float], deepest: float) -> None:
    x, y = center
    top = top_boxes({"a": boxes([x - 3, y - 3, x + 3, y + 3])}, {"a": boxes([0, 0, 100, 60], FAR)}, ["a"])
    assert center_correct(top, deepest - 1e-6) == 1
    assert center_correct(top, deepest + 1e-6) == 0


def test_center_outside_or_without_box_or_in_an_empty_object_is_wrong() -> None:
    truth = {"outside": boxes(TEN), "no box": boxes(TEN), "empty object": boxes([5, 5, 5, 9])}
    found = {"outside": boxes(FAR), "no box": boxes(), "empty object": boxes([4, 6, 6, 8])}
    assert center_correct(top_boxes(found, truth, list(truth)), 0) == 0


def test_center_takes_the_object_it_lies_deepest_in() -> None:
    top = top_boxes({"a": boxes([4, 4, 6, 6])}, {"a": boxes([0, 0, 50, 50], [2, 2, 8, 8])}, ["a"])
    assert top.depths.tolist() == [0.5]


def test_lost_corloc_takes_any_class_and_exactly_half() -> None:
    truth = {"a": boxes(TEN, labels=[1]), "b": boxes(TEN), "c": boxes(TEN)}
    found = {"a": boxes(HALF, labels=[0]), "b": boxes(FAR, TEN)}
    assert lost_corloc(found, truth, ["a", "b", "c"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("guesses", "truth", "n_guesses", "label_known", "expected"),
    [
        pytest.param(boxes(), boxes(TEN), 5, False, 1.0, id="no guess"),
        pytest.param(boxes(TEN), boxes(TEN), 1, False, 0.0, id="both right"),
        pytest.param(boxes(HALF), boxes(TEN), 1, False, 1.0, id="overlap of exactly 0.5"),
        pytest.param(boxes(TEN, labels=[3]), boxes(TEN), 1, False, 1.0, id="label wrong"),
        pytest.param(boxes(TEN, labels=[3]), boxes(TEN), 1, True, 0.0, id="label known"),
        pytest.param(boxes(FAR, TEN, labels=[0, 3]), boxes(TEN), 5, False, 1.0, id="never both in one guess"),
        pytest.param(boxes(FAR, FAR, TEN), boxes(TEN), 2, False, 1.0, id="right too late"),
        pytest.param(boxes(FAR, FAR, TEN), boxes(TEN), 5, False, 0.0, id="right among five"),
        pytest.param(boxes(FAR), boxes(TEN, FAR), 1, False, 0.0, id="any object of the class"),
    ],
)
def test_localization_error(guesses: Boxes, truth: Boxes, n_guesses: int, label_known: bool, expected: float) -> None:
    assert localization_error({"a": guesses}, {"a": truth}, ["a"], n_guesses, label_known) == expected


def test_localization_error_is_the_share_of_labels_missed_averaged_over_images() -> None:
    truth = {"a": boxes(TEN, FAR, labels=[0, 1]), "b": boxes(TEN)}
    guesses = {"a": boxes(TEN), "b": boxes(TEN)}
    assert localization_error(guesses, truth, ["a", "b"]) == pytest.approx(0.25)
