"""The choice of the SVM's C by cross-validation on average precision, over folds of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from wsdet.detectors.rcnn.svm import LinearClassifiers, Solver, SvmProblem
from wsdet.types import Floats, Ints


def choose_c(
    problem: SvmProblem, images: Ints, cs: Sequence[float], folds: int, solve: Solver, seed: int
) -> npt.NDArray[np.float64]:
    """(k,) the C with which each column's classifiers rank the examples of held-out images best; ties: the least.

    Args:
        problem: its costs are the class weights, for C = 1.
        images: (n,) which image an example is from; all examples of an image are held out together.
        cs: ascending values to choose from; with one there is nothing to do.
        folds: how many parts the images are cut into.
        solve: the solver.
        seed: of the cut.
    """
    k = problem.targets.shape[1]
    if len(cs) == 1:
        return np.full(k, cs[0])
    precision = np.zeros((len(cs), k))
    problem = problem.with_gram() if k == 1 else problem  # the folds and values of C share the inner products
    fold_of = _folds(images, folds, seed)
    for fold in range(folds):
        held_out = torch.from_numpy(fold_of == fold).to(problem.x.device)
        targets = torch.where(held_out[:, None], 0, problem.targets)
        classifiers: LinearClassifiers | None = None
        for index, c in enumerate(cs):
            training = problem.with_targets(targets).weighted(torch.full((k,), c, device=problem.x.device))
            classifiers = solve(training, classifiers)
            scores = classifiers.scores(problem.examples.chosen(held_out.nonzero()[:, 0])).cpu().numpy()
            precision[index] += _average_precision(problem.targets[held_out].cpu().numpy(), scores)
    return np.asarray(cs, np.float64)[precision.argmax(axis=0)]


def _folds(images: Ints, folds: int, seed: int) -> Ints:
    different, where = np.unique(images, return_inverse=True)
    fold_of_image = np.random.default_rng(seed).permutation(len(different)) % folds
    return np.asarray(fold_of_image[where])


def _average_precision(targets: npt.NDArray[np.int8], scores: Floats) -> Floats:
    """(k,) average precision of each column over its own examples; 0 without a positive."""
    from sklearn.metrics import average_precision_score  # here: a detector at work does without scikit-learn

    values = np.zeros(targets.shape[1], np.float32)
    for j in range(targets.shape[1]):
        rows = targets[:, j] != 0
        if (targets[rows, j] > 0).any():
            values[j] = average_precision_score(targets[rows, j] > 0, scores[rows, j])
    return values
