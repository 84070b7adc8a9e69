"""The choice among models by their losses on examples that none was trained on."""

from __future__ import annotations

import numpy as np

from wsdet.types import Floats


def plainest_of_the_best(losses: Floats) -> int:
    """The first of k models whose mean loss is no more than a standard error above the lowest (Breiman et al. 1984).

    Args:
        losses: (k, n) loss of each model, the plainest first, on each of the same n examples. The standard error is
            that of the paired differences, as the models err on the same examples.
    """
    above = losses - losses[losses.mean(axis=1).argmin()]
    if above.shape[1] < 2:
        return 0
    errors = above.std(axis=1, ddof=1) / np.sqrt(above.shape[1])
    return int((above.mean(axis=1) <= errors).argmax())
