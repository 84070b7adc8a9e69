"""Which proposals of an image become negatives: at the start by chance or nearness, in a round because they are hard.

Both functions only choose, by the rules of a `TrainingProtocol`; `mining` computes features and keeps the chosen.
"""

from __future__ import annotations

import numpy as np

from wsdet.boxes import nms
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.tasks import Tasks
from wsdet.detectors.rcnn.training_images import TrainingImage
from wsdet.types import Bools, Floats


def first_negatives(image: TrainingImage, protocol: TrainingProtocol, n_random: int, rng: np.random.Generator) -> Bools:
    """(m, n_tasks) the proposals that are negatives of a task from the start.

    Args:
        image: its proposals.
        protocol: the rules.
        n_random: how many are sampled, whatever they show.
        rng: of the sampling.
    """
    chosen = np.zeros_like(image.negative)
    chosen[rng.permutation(len(image.xyxy))[:n_random]] = True  # the same boxes for every task
    if not protocol.random_in_positive_images:
        chosen &= ~image.positive
    order = rng.permutation(len(image.xyxy))
    # boxes with a part of the object, or with too much around it, are what a detector most often takes for it
    for task in np.flatnonzero(image.positive) if protocol.near_iou is not None else ():
        near = order[(image.nearest[order, task] >= protocol.near_iou) & image.negative[order, task]]
        apart = nms(image.xyxy[near], np.zeros(len(near), np.float32), protocol.near_nms)
        chosen[near[apart[: protocol.near_per_image or None]], task] = True
    return chosen & image.negative


def hard_negatives(
    image: TrainingImage, scores: Floats, known: Bools, tasks: Tasks, protocol: TrainingProtocol
) -> Bools:
    """(m, n_tasks) the proposals that become negatives of a task because it scores them high.

    Three limits hold one after the other: each task's own highest scores, then each detector's highest scores over all
    its tasks, and what a task already has from this image.

    Args:
        image: its proposals.
        scores: (m, n_tasks) the current classifiers' scores of them.
        known: (m, n_tasks) whether a proposal is an example of the task already.
        tasks: which of them belong to one detector.
        protocol: the rules.
    """
    # what is a negative already would come first again and use up the image's share
    allowed = image.negative & ~known
    if not protocol.mine_positive_images:
        allowed &= ~image.positive
    if protocol.negatives_per_image:
        allowed &= known.sum(axis=0) < protocol.negatives_per_image
    value = np.where(allowed, scores, -np.inf)  # from here on: -inf where a proposal is not taken
    if protocol.hard_above is not None:
        value[value <= protocol.hard_above] = -np.inf
    value = _best_rows(value, protocol.hard_per_image)
    hard: Bools = np.isfinite(value)
    for own in tasks.by_detector():
        best = value[:, own].max(axis=1)
        chosen = np.isfinite(best)
        if protocol.hard_rows_per_image:
            chosen[np.argsort(-best, kind="stable")[protocol.hard_rows_per_image :]] = False
        hard[:, own] &= chosen[:, None]
        if protocol.share_negatives:
            # the row is in the pool anyway, and serving all classes costs nothing: the solver multiplies with every
            # row of the detector for all of its classes at once
            hard[:, own] = allowed[:, own] & chosen[:, None]
    return hard


def _best_rows(values: Floats, n: int) -> Floats:
    """(m, k) values with all but the n highest of each column at -inf; 0: all stay."""
    if not n or len(values) <= n:
        return values
    best = np.argsort(-values, axis=0, kind="stable")[:n]  # of equal scores the first: a threshold would let all in
    chosen = np.full_like(values, -np.inf)
    np.put_along_axis(chosen, best, np.take_along_axis(values, best, axis=0), axis=0)
    return chosen
