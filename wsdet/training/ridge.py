"""Ridge regression in closed form, for a whole path of penalties at the cost of one."""

from __future__ import annotations

import numpy as np

from wsdet.types import Doubles, Floats


class RidgePath:
    """The minimizing weights W and bias b of `1/n sum_i |W x_i + b - y_i|^2 + r |W|^2`, for any penalty r > 0.

    One eigendecomposition of the smaller of the (d, d) covariance and the (n, n) inner products serves all penalties:
    min(n, d)^2 x 8 bytes, and some copies of them.

    Args:
        x: (n, d) float32 inputs.
        y: (n, k) targets.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self._x_mean, self._y_mean = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        self._x = x - self._x_mean.astype(np.float32)
        residuals = y - self._y_mean
        self._is_wide = x.shape[1] > len(x)
        products = (self._x @ self._x.T if self._is_wide else self._x.T @ self._x).astype(np.float64) / len(x)
        values, self._axes = np.linalg.eigh(products)
        self._values = np.maximum(values, 0)  # what is below is rounding
        right = residuals if self._is_wide else self._x.T @ residuals.astype(np.float32)
        self._right: Doubles = self._axes.T @ right.astype(np.float64) / len(x)

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """(k, d) weights and (k,) bias, float32."""
        solution = self._axes @ (self._right / (self._values + penalty)[:, None])
        weights = (self._x.T @ solution if self._is_wide else solution).T
        bias = self._y_mean - weights @ self._x_mean
        return weights.astype(np.float32), bias.astype(np.float32)
