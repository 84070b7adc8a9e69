"""Whether scores hold what they say: the reliability diagram and the expected calibration error.

Detections are sorted into bins by their score; a bin is calibrated if as many of its detections are correct as its mean
score says. The expected calibration error is the mean difference over the detections (Naeini et al., AAAI 2015; of
detections: Küppers et al., CVPR Workshops 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsdet.metrics.average_precision import Matches
from wsdet.types import Bools, Doubles, Floats, Ints

LEAST = 0.05  # detections scored lower are left out: they are most, hardly any is correct, and nobody looks at them


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equal width from 0 to 1.

    Attributes:
        scores: (bins,) mean score of a bin's detections; NaN of an empty one.
        correct: (bins,) share of them that are correct; NaN of an empty one.
        counts: (bins,) how many they are.
    """

    scores: Doubles
    correct: Doubles
    counts: Ints

    @property
    def expected_calibration_error(self) -> float:
        """Mean over the detections of |mean score - share correct| of their bin; NaN without any."""
        there = self.counts > 0
        difference = np.abs(self.scores[there] - self.correct[there])
        return float(difference @ self.counts[there] / self.counts.sum()) if there.any() else float("nan")


def reliability(scores: Floats, is_correct: Bools, n_bins: int = 10) -> Reliability:
    """The reliability diagram of (n,) scores in [0, 1].

    Args:
        scores: (n,).
        is_correct: (n,) whether each detection is.
        n_bins: bins of equal width; the last one has 1, too.
    """
    bins = np.minimum((scores.astype(float) * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)

    def mean(values: npt.NDArray[np.generic]) -> Doubles:
        total = np.bincount(bins, values.astype(float), n_bins)
        return np.divide(total, counts, out=np.full(n_bins, np.nan), where=counts > 0)

    return Reliability(mean(scores), mean(is_correct), counts)


def reliability_of_detections(matches: Sequence[Matches], n_bins: int = 10) -> Reliability | None:
    """That of matched detections of all classes that score at least `LEAST`; None where scores are no probabilities."""
    scores = np.concatenate([np.zeros(0, np.float32), *(one.scores[~one.ignored] for one in matches)])
    is_correct = np.concatenate([np.zeros(0, bool), *(one.correct[~one.ignored] for one in matches)])
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    shown = scores >= LEAST
    return reliability(scores[shown], is_correct[shown], n_bins)
