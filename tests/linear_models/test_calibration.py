from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.svm import LinearSVC

from wsdet.linear_models.calibration import Calibration, fit_calibration
from wsdet.types import InputError


def drawn(slope: float, offsets: list[float], n: int = 4000) -> tuple[Any, Any, Any]:
    """Scores, classes, and outcomes that follow a known calibration."""
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(-0.5, 1, n).astype(np.float32), rng.integers(len(offsets), size=n)
    p = 1 / (1 + np.exp(-(slope * scores + np.array(offsets)[labels])))
    return scores, labels, rng.random(n) < p


def test_a_known_calibration_is_found() -> None:
    found = fit_calibration(*drawn(3.0, [-1.0, 1.0]), n_classes=2)
    assert found is not None
    assert found.slope == pytest.approx(3.0, rel=0.1)
    assert found.offsets == pytest.approx([-1.0, 1.0], abs=0.2)


def test_probabilities_hold_what_they_say() -> None:
    scores, labels, is_correct = drawn(2.0, [0.0, -2.0])
    found = fit_calibration(scores, labels, is_correct, n_classes=2)
    assert found is not None
    p = found.probabilities(scores, labels)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2)
        assert is_correct[inside].mean() == pytest.approx(p[inside].mean(), abs=0.06)


def test_one_class_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3))
    y = x[:, 0] + rng.normal(size=600) > 0.3
    svm = LinearSVC().fit(x[:300], y[:300])
    scores = svm.decision_function(x[300:]).astype(np.float32)
    platt = CalibratedClassifierCV(FrozenEstimator(svm), method="sigmoid").fit(x[300:], y[300:])
    found = fit_calibration(scores, np.zeros(300, np.int64), y[300:], n_classes=1)
    assert found is not None
    expected = platt.predict_proba(x[300:])[:, 1]
    np.testing.assert_allclose(found.probabilities(scores, np.zeros(300, np.int64)), expected, atol=0.03)


def test_the_order_within_a_class_stays() -> None:
    scores, labels, is_correct = drawn(1.0, [0.0])
    found = fit_calibration(scores, labels, is_correct, n_classes=1)
    assert found is not None
    assert (np.argsort(found.probabilities(scores, labels), kind="stable") == np.argsort(scores, kind="stable")).all()


def test_a_class_without_examples_lies_between_the_others() -> None:
    found = fit_calibration(*drawn(2.0, [-1.0, 1.0]), n_classes=3)
    assert found is not None
    assert found.offsets[0] < found.offsets[2] < found.offsets[1]


@pytest.mark.parametrize("outcomes", [[True] * 6, [False] * 6, [True, True, True, False, False, False]])
def test_examples_that_tell_nothing_give_none(outcomes: list[bool]) -> None:
    """All correct, none, or the lower scores."""
    scores = np.arange(6, dtype=np.float32)
    assert fit_calibration(scores, np.zeros(6, np.int64), np.array(outcomes), 1) is None
    assert fit_calibration(np.ones(6, np.float32), np.zeros(6, np.int64), np.array([True, False] * 3), 1) is None
    assert fit_calibration(scores[:0], np.zeros(0, np.int64), np.zeros(0, bool), 1) is None


def test_without_a_calibration_the_boundary_is_one_half() -> None:
    p = Calibration.fixed(2).probabilities(np.array([0, 1, -1], np.float32), np.array([0, 1, 1]))
    assert p.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])


def test_settings_come_back() -> None:
    one = Calibration(1.5, (0.25, -3.0))
    assert Calibration.of_settings(one.settings, 2, "model.json") == one
    assert Calibration.of_settings(None, 2, "model.json") == Calibration.fixed(2)


@pytest.mark.parametrize(
    "settings",
    [
        {"slope": 0, "offsets": [0, 0]},
        {"slope": -1, "offsets": [0, 0]},
        {"slope": float("nan"), "offsets": [0, 0]},
        {"slope": 1, "offsets": [0, float("inf")]},
        {"slope": 1, "offsets": [0]},
        {"slope": 1, "offsets": 3},
        {"slope": [], "offsets": [0, 0]},
        {"slope": 1},
        [1, 2],
        "x",
        10**400,
    ],
)
def test_damaged_settings_are_refused(settings: Any) -> None:
    with pytest.raises(InputError, match=r"model\.json: 'calibration' cannot be used.*train the detector again"):
        Calibration.of_settings(settings, 2, "model.json")
