from __future__ import annotations

import numpy as np

from wsdet.training.selection import plainest_of_the_best


def test_what_few_examples_cannot_tell_apart_is_left_to_the_plainest() -> None:
    plain, best = np.array([0.5, 0.3, 0.7, 0.6], np.float32), np.array([0.1, 0.5, 0.6, 0.7], np.float32)
    assert plainest_of_the_best(np.stack([plain, best])) == 0
    assert plainest_of_the_best(np.tile(np.stack([plain, best]), 100)) == 1  # the same difference, told by 400
    assert plainest_of_the_best(np.stack([plain[:1], best[:1]])) == 0  # one tells nothing
    assert plainest_of_the_best(np.stack([plain, plain])) == 0
