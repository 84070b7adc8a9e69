"""Scores as probabilities: Platt scaling ("Probabilistic Outputs for Support Vector Machines", 1999).

    p = 1 / (1 + exp(-(slope * score + offset of the class)))

The slope is above 0 and the same for all classes, so boxes of a class keep their order and average precision stays
what it is. Classes differ in their offsets, which are drawn towards each other where there are few examples.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from wsdet.types import Bools, Floats, InputError, Ints

log = logging.getLogger(__name__)

_LEAST_SLOPE = 1e-2  # relative to scores of unit spread: below it they tell nothing
_FREE = 3.0  # how much less the slope is drawn towards 0 than the offsets are towards each other


@dataclass(frozen=True)
class Calibration:
    """One slope, and an offset for each class.

    Attributes:
        slope: above 0.
        offsets: one for each class.

    Raises:
        ValueError: a number is not finite, or the slope not above 0.
    """

    slope: float
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        if not np.isfinite([self.slope, *self.offsets]).all() or self.slope <= 0:
            raise ValueError(f"slope must be above 0 and all numbers finite, got {self.slope} and {self.offsets}")

    @classmethod
    def fixed(cls, n_classes: int) -> Calibration:
        """Of a linear SVM that was never calibrated: one half at its decision boundary, 0.88 at its margin, 1."""
        return cls(2.0, (0.0,) * n_classes)

    def probabilities(self, scores: Floats, labels: Ints) -> Floats:
        """(n,) in [0, 1], of (n,) scores of boxes of (n,) classes."""
        return np.asarray(expit(self.slope * scores.astype(float) + np.array(self.offsets)[labels]), np.float32)

    @property
    def settings(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"slope": self.slope, "offsets": list(self.offsets)}

    @classmethod
    def of_settings(cls, settings: object, n_classes: int, path: object) -> Calibration:
        """What `settings` gave; `fixed` of None. `path` is named where it is something else.

        Raises:
            InputError: it is no calibration of so many classes.
        """
        if settings is None:
            return cls.fixed(n_classes)
        try:
            if not isinstance(settings, Mapping):
                raise TypeError("it must be an object")
            slope, offsets = float(settings["slope"]), tuple(float(value) for value in settings["offsets"])
            if len(offsets) != n_classes:
                raise ValueError(f"there must be {n_classes} offsets, got {len(offsets)}")
            return cls(slope, offsets)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}: 'calibration' cannot be used: {error}; train the detector again") from error


def fit_calibration(scores: Floats, labels: Ints, is_correct: Bools, n_classes: int) -> Calibration | None:
    """The calibration of scores by examples; None where they tell nothing: one outcome alone, or scores without order.

    Args:
        scores: (n,) of boxes that the scoring model was not trained on.
        labels: (n,) their classes.
        is_correct: (n,) whether each is.
        n_classes: how many classes there are.
    """
    from sklearn.linear_model import LogisticRegression  # here: a detector at work does without scikit-learn

    spread = float(scores.std()) if len(scores) else 0.0
    if not spread or is_correct.all() or not is_correct.any():
        return None
    which = (labels[:, None] == np.arange(n_classes)).astype(float)
    model = LogisticRegression(max_iter=1000)
    model.fit(np.column_stack([_FREE * scores / spread, which]), is_correct)
    slope, offsets = _FREE * model.coef_[0, 0], model.intercept_[0] + model.coef_[0, 1:]
    if slope < _LEAST_SLOPE:
        return None
    return Calibration(float(slope / spread), tuple(offsets.tolist()))
