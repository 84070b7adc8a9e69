from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from wsdet.metrics.average_precision import match
from wsdet.metrics.calibration import reliability, reliability_of_detections
from wsdet.types import Boxes


def test_known_bins() -> None:
    found = reliability(np.array([0.05, 0.95, 0.85, 1.0], np.float32), np.array([False, True, False, True]))
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert found.scores[[0, 8, 9]].tolist() == pytest.approx([0.05, 0.85, 0.975])
    assert found.correct[[0, 8, 9]].tolist() == [0, 0, 1]
    assert np.isnan(found.scores[1])
    # |0.05 - 0| + |0.85 - 0| + 2 |0.975 - 1|, over 4
    assert found.expected_calibration_error == pytest.approx((0.05 + 0.85 + 0.05) / 4)


def test_the_curve_is_scikit_learns(rng: np.random.Generator) -> None:
    scores = rng.random(500).astype(np.float32)
    is_correct = rng.random(500) < scores**2
    found = reliability(scores, is_correct)
    correct, mean = calibration_curve(is_correct, scores, n_bins=10)
    np.testing.assert_allclose(found.correct, correct)
    np.testing.assert_allclose(found.scores, mean, rtol=1e-6)


def test_what_is_calibrated_has_a_small_error(rng: np.random.Generator) -> None:
    scores = rng.random(20_000).astype(np.float32)
    assert reliability(scores, rng.random(20_000) < scores).expected_calibration_error < 0.02
    assert reliability(scores, rng.random(20_000) < 0.5).expected_calibration_error > 0.2
    assert np.isnan(reliability(scores[:0], np.zeros(0, bool)).expected_calibration_error)


def test_detections_are_judged_as_average_precision_does() -> None:
    box, other = [0, 0, 10, 10], [50, 50, 60, 60]
    truth = {"a": Boxes(np.array([box, other], np.float32), labels=np.array([0, 0]), difficult=np.array([False, True]))}
    found = Boxes(
        np.array([box, box, other, [80, 80, 90, 90]], np.float32),
        np.array([0.95, 0.85, 0.75, 0.01], np.float32),
        np.zeros(4, int),
    )
    one = reliability_of_detections(match({"a": found}, truth, ["a"], 1))
    assert one is not None
    # the second claim is wrong, a difficult object does not count, and 0.01 is below what is shown
    assert one.counts[[0, 7, 8, 9]].tolist() == [0, 0, 1, 1]
    assert one.correct[[8, 9]].tolist() == [0, 1]


def test_margins_are_no_probabilities() -> None:
    found = {"a": Boxes(np.array([[0, 0, 1, 1]], np.float32), np.array([-0.4], np.float32), np.zeros(1, int))}
    assert reliability_of_detections(match(found, {"a": Boxes.empty()}, ["a"], 1)) is None
    assert reliability_of_detections(match({}, {"a": Boxes.empty()}, ["a"], 1)) is None
