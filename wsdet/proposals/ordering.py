"""Lists of boxes without repeats."""

from __future__ import annotations

import numpy as np

from wsdet.types import Floats, Ints


def distinct(xyxy: Floats) -> Ints:
    """Indices, in order, of the first of equal ones among (n, 4) boxes."""
    return np.sort(np.unique(xyxy, axis=0, return_index=True)[1]).astype(np.int64)
