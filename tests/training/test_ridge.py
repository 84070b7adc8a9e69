"""Ridge regression in closed form against the equations that its solution satisfies."""

from __future__ import annotations

import numpy as np
import pytest

from wsdet.training.ridge import RidgePath


@pytest.mark.parametrize(("n", "d"), [(30, 5), (6, 20), (10, 10), (1, 3)], ids=["tall", "wide", "square", "one"])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_the_gradient_of_the_objective_is_zero(n: int, d: int, penalty: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 1, (n, d)).astype(np.float32), rng.normal(-1, 2, (n, 4)).astype(np.float32)
    weights, bias = RidgePath(x, y).solve(penalty)
    residuals = x @ weights.T + bias - y
    assert weights.shape == (4, d)
    np.testing.assert_allclose(residuals.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(residuals.T @ x / n + penalty * weights, 0, atol=1e-3)


def test_a_vanishing_penalty_interpolates_and_a_huge_one_gives_the_mean() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    path = RidgePath(x, y)
    weights, bias = path.solve(1e-8)
    np.testing.assert_allclose(x @ weights.T + bias, y, atol=1e-3)
    weights, bias = path.solve(1e9)
    np.testing.assert_allclose(weights, 0, atol=1e-6)
    np.testing.assert_allclose(bias, y.mean(axis=0), atol=1e-5)


def test_inputs_are_not_changed() -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    RidgePath(x, np.ones((3, 4), np.float32)).solve(1.0)
    assert np.array_equal(x.ravel(), np.arange(6))
