from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from wsdet.metrics.proposals import AT, average_best_overlap, cover, precision_at, recall_at
from wsdet.storage.untrusted import read_json
from wsdet.types import Boxes

TEN = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU exactly 0.5 with TEN
LESS = [0.0, 0.0, 10.0, 4.9]
FAR = [50.0, 50.0, 60.0, 60.0]
NOWHERE = [90.0, 90.0, 95.0, 95.0]


def boxes(
    *xyxy: Sequence[float], labels: Sequence[int] | None = None, difficult: Sequence[bool] | None = None
) -> Boxes:
    n = len(xyxy)
    return Boxes(
        np.array(xyxy, np.float32), labels=np.array(labels or [-1] * n), difficult=np.array(difficult or [False] * n)
    )


def truth(
    *xyxy: Sequence[float], labels: Sequence[int] | None = None, difficult: Sequence[bool] | None = None
) -> Boxes:
    return boxes(*xyxy, labels=labels or [0] * len(xyxy), difficult=difficult)


@pytest.mark.parametrize(
    ("found", "true", "n", "recall", "precision"),
    [
        pytest.param(boxes(), truth(TEN), 1, 0, 0, id="no box"),
        pytest.param(boxes(HALF), truth(TEN), 1, 1, 1, id="IoU of exactly 0.5 covers"),
        pytest.param(boxes(LESS), truth(TEN), 1, 0, 0, id="a little less does not"),
        pytest.param(boxes(NOWHERE, TEN), truth(TEN), 1, 0, 0, id="beyond the first"),
        pytest.param(boxes(NOWHERE, TEN), truth(TEN), 2, 1, 0.5, id="among the first two"),
        pytest.param(boxes(TEN), truth(TEN, FAR), 10, 0.5, 1, id="fewer boxes than asked for"),
        pytest.param(boxes(TEN, TEN, HALF), truth(TEN), 3, 1, 1 / 3, id="an object is found once"),
        pytest.param(boxes(TEN, labels=[1]), truth(TEN), 1, 0, 0, id="a box of another class"),
        pytest.param(boxes(NOWHERE, TEN, labels=[1, 0]), truth(TEN), 1, 1, 1, id="the first of the class"),
        pytest.param(
            boxes(FAR, TEN),
            truth(TEN, FAR, difficult=[False, True]),
            2,
            1,
            1,
            id="difficult is neither right nor wrong",
        ),
        pytest.param(
            boxes([0, 0, 10, 8], TEN), truth(TEN, [0, 0, 10, 7]), 2, 1, 1, id="objects close together, a box for each"
        ),
    ],
)
def test_known_recall_and_precision(found: Boxes, true: Boxes, n: int, recall: float, precision: float) -> None:
    coverage = cover({"a": found}, {"a": true}, ["a"], 1)
    assert recall_at(coverage, n) == pytest.approx(recall)
    assert precision_at(coverage, n) == pytest.approx(precision)


def test_pooled_within_a_class_then_averaged_over_classes() -> None:
    true = {"a": truth(TEN, FAR, labels=[0, 1]), "b": truth(TEN, FAR), "c": truth(NOWHERE, difficult=[True])}
    found = {"a": boxes(TEN), "b": boxes(NOWHERE, TEN)}
    coverage = cover(found, true, ["a", "b", "c"], 3)
    # class 0: three objects, two images; class 1: one object, one image; class 2: none
    assert recall_at(coverage, 1) == pytest.approx((1 / 3 + 0) / 2)
    assert precision_at(coverage, 1) == pytest.approx((1 / 2 + 0) / 2)
    assert recall_at(coverage, 2) == pytest.approx((2 / 3 + 0) / 2)
    assert precision_at(coverage, 2) == pytest.approx((2 / 3 + 0) / 2)
    overlap = average_best_overlap(coverage)
    np.testing.assert_allclose(overlap[:2], [2 / 3, 0])
    assert np.isnan(overlap[2])


def test_nothing_to_measure() -> None:
    coverage = cover({}, {}, [], 2)
    assert np.isnan([recall_at(coverage, 1), precision_at(coverage, 1), *average_best_overlap(coverage)]).all()


def test_facts_on_random_boxes(rng: np.random.Generator) -> None:
    def random_boxes(n: int, labels: Sequence[int]) -> Boxes:
        corner = rng.uniform(0, 60, (n, 2))
        return Boxes(np.hstack([corner, corner + rng.uniform(10, 40, (n, 2))]), labels=rng.choice(labels, n))

    ids = [str(i) for i in range(30)]
    true = {i: random_boxes(3, [0, 1, 2]) for i in ids}
    found = {i: random_boxes(100, [-1]) for i in ids}
    coverage = cover(found, true, ids, 3)
    recalls = [recall_at(coverage, n) for n in AT]
    assert recalls == sorted(recalls)
    assert 0 <= recalls[0] < recalls[-1] <= 1
    assert all(0 <= precision_at(coverage, n) < 1 for n in AT)
    itself = cover(true, true, ids, 3)
    assert precision_at(itself, 100) == recall_at(itself, 100) == 1
    assert average_best_overlap(itself).tolist() == [1, 1, 1]


def test_the_published_curves_are_read_right(shared: Path) -> None:
    """In them precision(N) * N / recall(N) tends to the number of objects per class and image, difficult ones aside."""
    curves = read_json(shared / "reference" / "stl_published_figures.json")["curves"]
    precision, recall = (curves[f"PASCAL2007_TEST_mean_{name}"]["mcg"] for name in ("precision", "recall"))
    at = precision["n"].index(1000)
    assert precision["value"][at] * 1000 / recall["value"][at] == pytest.approx(1.547, abs=0.001)
