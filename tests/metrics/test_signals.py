"""Known values of what needs no ground truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from wsdet.metrics import signals

LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
WHOLE, CENTER = [0.0, 0.0, 1.0, 1.0], [0.15, 0.15, 0.85, 0.85]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_agreement_is_the_share_with_half_overlap() -> None:
    assert signals.agreement(boxes(LEFT, LEFT), boxes(LEFT, RIGHT)) == 0.5
    assert signals.agreement(boxes(LEFT), boxes(WHOLE)) == 1.0  # IoU 0.5
    assert math.isnan(signals.agreement(boxes(), boxes()))


def test_chance_compares_different_images_alone() -> None:
    expected, found = boxes(LEFT, RIGHT, RIGHT), boxes(LEFT, RIGHT, LEFT)
    # image 0 against 1: LEFT-RIGHT no, LEFT-LEFT yes, RIGHT-LEFT no, RIGHT-LEFT no
    assert signals.chance_agreement(expected, found, np.array([0, 1, 1])) == 0.25
    assert math.isnan(signals.chance_agreement(expected, found, np.array([0, 0, 0])))


def test_a_box_that_is_the_same_everywhere_agrees_by_chance_alone() -> None:
    expected, images = boxes(*[CENTER] * 5), np.arange(5)
    observed = signals.agreement(expected, expected)
    assert observed == 1.0
    assert signals.beyond_chance(observed, signals.chance_agreement(expected, expected, images)) == 0.0


def test_large_boxes_say_little_however_stable() -> None:
    assert signals.beyond_chance(0.98, 0.82) == pytest.approx(0.16)
    assert signals.beyond_chance(0.83, 0.33) > signals.beyond_chance(0.98, 0.82)


def test_what_lies_inside() -> None:
    assert signals.inside_share(boxes([-0.5, 0, 0.5, 1], WHOLE, [2, 2, 3, 3], [0, 0, 0, 0])).tolist() == [0.5, 1, 0, 0]


def test_boxes_that_say_nothing() -> None:
    some = boxes(WHOLE, [0, 0, 1, 0.9], LEFT, CENTER)
    assert signals.whole_image_share(some) == 0.5
    assert signals.center_box_share(some) == 0.25
    assert math.isnan(signals.center_box_share(boxes()))


def test_occlusion() -> None:
    left, other = np.array([0.1, 0.5, 0.3], np.float32), np.array([0.4, 0.2, 0.3], np.float32)
    assert signals.occlusion_wins(left, other) == 0.5
    assert math.isnan(signals.occlusion_wins(left[:0], other[:0]))


def test_elsewhere_keeps_the_size_and_stays_inside(rng: np.random.Generator) -> None:
    corner = rng.uniform(0, 1, (50, 2, 2))
    some = np.concatenate([corner.min(axis=1), corner.max(axis=1)], axis=1).astype(np.float32)
    moved = signals.elsewhere(some)
    np.testing.assert_allclose(moved[:, 2:] - moved[:, :2], some[:, 2:] - some[:, :2], atol=1e-6)
    assert (moved >= 0).all()
    assert (moved <= 1 + 1e-6).all()
    assert np.allclose(signals.elsewhere(boxes([0.6, 0, 1, 0.2])), [[0, 0.8, 0.4, 1]])


def test_class_ranking_is_the_area_under_the_curve(rng: np.random.Generator) -> None:
    scores, has = rng.random((30, 4)).astype(np.float32), rng.random((30, 4)) < 0.4
    has[:, 1] = True
    scores[:, 2] = np.nan
    scores[:, 3] = np.round(scores[:, 3], 1)  # ties
    areas = signals.class_ranking(scores, has)
    assert areas[0] == pytest.approx(roc_auc_score(has[:, 0], scores[:, 0]))
    assert areas[3] == pytest.approx(roc_auc_score(has[:, 3], scores[:, 3]))
    assert np.isnan(areas[1:3]).all()
    known = signals.class_ranking(
        np.array([[0.1], [0.4], [0.35], [0.8]], np.float32), np.array([[0], [0], [1], [1]], bool)
    )
    assert known == pytest.approx([0.75])  # three of four pairs are in order
