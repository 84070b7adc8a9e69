"""Which boxes are kept to train on: known answers on a few boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wsdet.detectors.filtering import Filtering, filtered
from wsdet.types import Boxes, InputError


def boxes_of(rows: list[tuple[list[float], float, int]]) -> Boxes:
    if not rows:
        return Boxes.empty()
    xyxy, scores, labels = zip(*rows, strict=True)
    return Boxes(np.array(xyxy, np.float32), np.array(scores, np.float32), np.array(labels, np.int64))


LEFT, MIDDLE, RIGHT, PART = [0.0, 0, 10, 10], [12.0, 0, 22, 10], [30.0, 0, 40, 10], [2.0, 2, 6, 6]


@pytest.mark.parametrize(
    ("rows", "labels", "expected"),
    [
        ([], (0, 1), []),
        ([(LEFT, 0.9, 0), (RIGHT, 0.3, 0), (MIDDLE, 0.1, 0)], (0,), [(LEFT, 1.0), (RIGHT, 0.333)]),
        ([(LEFT, 0.9, 0), (RIGHT, 0.9, 1)], (1,), [(RIGHT, 1.0)]),  # the image does not have class 0
        ([(LEFT, 0.9, 0), (PART, 0.8, 0)], (0,), [(LEFT, 1.0)]),
        ([(PART, 0.9, 0), (LEFT, 0.8, 0)], (0,), [(LEFT, 0.889)]),  # a part that scores higher is a part
        ([(PART, 0.9, 0), (LEFT, 0.8, 1)], (0, 1), [(PART, 1.0), (LEFT, 1.0)]),  # of another class
        ([(LEFT, 0.9, 0), ([0.1, 0, 10, 10], 0.8, 0)], (0,), [(LEFT, 1.0)]),  # inside each other
        ([(LEFT, -1.0, 0), (RIGHT, -3.0, 0)], (0,), [(LEFT, 1.0)]),  # as SVMs score
        ([(LEFT, 0.0, 0), (RIGHT, 0.0, 0)], (0,), [(LEFT, 1.0), (RIGHT, 1.0)]),
    ],
)
def test_known_answers(rows: Any, labels: tuple[int, ...], expected: list[tuple[list[float], float]]) -> None:
    kept = filtered(boxes_of(rows), labels, Filtering())
    assert kept.xyxy.tolist() == [xyxy for xyxy, _ in expected]
    np.testing.assert_allclose(kept.scores, [score for _, score in expected], atol=1e-3)


def test_the_fallback_stands_in_for_labels_without_a_box() -> None:
    found, before = boxes_of([(LEFT, 0.5, 0)]), boxes_of([(RIGHT, 0.7, 0), (MIDDLE, 0.6, 2)])
    kept = filtered(found, (0, 2), Filtering(), before)
    assert kept.labels.tolist() == [0, 2]
    assert kept.xyxy.tolist() == [LEFT, MIDDLE]


def test_filtering_twice_is_filtering_once(rng: np.random.Generator) -> None:
    corners = rng.uniform(0, 50, (40, 2))
    xyxy = np.concatenate([corners, corners + rng.uniform(2, 50, (40, 2))], axis=1).astype(np.float32)
    boxes = Boxes(xyxy, rng.uniform(size=40).astype(np.float32), rng.integers(3, size=40))
    once = filtered(boxes, (0, 1, 2), Filtering(max_per_class=0))
    assert 3 <= len(once) < 40
    assert filtered(once, (0, 1, 2), Filtering(max_per_class=0)).xyxy.tolist() == once.xyxy.tolist()


def test_the_best_alone() -> None:
    rows = boxes_of([(LEFT, 0.9, 0), (RIGHT, 0.8, 0)])
    assert len(filtered(rows, (0,), Filtering(keep_share=1.0))) == 1
    assert len(filtered(rows, (0,), Filtering(max_per_class=1))) == 1


@pytest.mark.parametrize("options", [{"keep_share": 2.0}, {"inside_share": 0.0}, {"max_per_class": -1}])
def test_impossible_thresholds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Filtering(**options)
