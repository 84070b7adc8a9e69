"""Which of the network's outputs a method follows: those of a known class, or of the classes predicted best."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsdet.questions import Outputs
from wsdet.types import Floats

Response = Callable[[Outputs], Floats]


def response_of(label: int, whole: Outputs, top_classes: int) -> Response:
    """What reads the followed probabilities, (n, 1) or (n, top_classes), out of an answer of n rows.

    Args:
        label: the class to follow; -1, or a class that the network has no output for, means the top classes.
        whole: the answer for the whole image.
        top_classes: how many of the network's classes to follow: those with the highest probability in `whole`.
    """
    if has_output(label, whole):
        return lambda outputs: outputs.class_scores[:, label : label + 1]
    top = np.argsort(-whole.scores[0], kind="stable")[:top_classes]
    return lambda outputs: outputs.scores[:, top]


def has_output(label: int, whole: Outputs) -> bool:
    """Whether the network has an output for a class; for -1, no class, it has none."""
    return label >= 0 and bool(np.isfinite(whole.class_scores[0, label]))
