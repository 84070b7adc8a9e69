from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from wsdet.metrics.bootstrap import bootstrap_interval


def test_mean_equals_scipy(rng: np.random.Generator) -> None:
    values = rng.normal(3, 2, 200)
    low, high = bootstrap_interval(lambda w: float(w @ values / w.sum()), 200, n_resamples=4000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose([low, high], [expected.low, expected.high], atol=0.03)
    assert low < values.mean() < high


def test_every_draw_counts_as_many_images() -> None:
    assert bootstrap_interval(lambda w: float(w.sum()), 17, n_resamples=20) == (17, 17)


def test_the_seed_decides_and_pairs() -> None:
    values = np.arange(50.0)

    def mean(w: np.ndarray) -> float:
        return float(w @ values)

    assert bootstrap_interval(mean, 50, 30, seed=1) == bootstrap_interval(mean, 50, 30, seed=1)
    assert bootstrap_interval(mean, 50, 30, seed=1) != bootstrap_interval(mean, 50, 30, seed=2)
    assert bootstrap_interval(lambda w: mean(w) - mean(w), 50, 30) == (0, 0)


def test_draws_that_give_nothing_are_left_out() -> None:
    low, high = bootstrap_interval(lambda w: 1.0 if w[0] else float("nan"), 3, 100)
    assert (low, high) == (1, 1)
    assert np.isnan(bootstrap_interval(lambda w: float("nan"), 3, 10)).all()


@pytest.mark.parametrize(("n_images", "n_resamples", "level"), [(0, 10, 0.9), (5, 0, 0.9), (5, 10, 1.0), (5, 10, 0.0)])
def test_arguments_outside_their_range(n_images: int, n_resamples: int, level: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        bootstrap_interval(lambda w: 0.0, n_images, n_resamples, level)
