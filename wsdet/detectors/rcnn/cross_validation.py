"""The choice of the SVM's C by cross-validation on average precision, over folds of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsdet.detectors.rcnn.exact_svm import Gram, solution_path
from wsdet.detectors.rcnn.svm import LinearClassifiers, Solver, SvmProblem
from wsdet.types import Floats, Ints


def choose_c(
    problem: SvmProblem, images: Ints, cs: Sequence[float], folds: int, solve: Solver, seed: int
) -> npt.NDArray[np.float64]:
    """(k,) the C with which each column's classifiers rank the examples of held-out images best; ties: the least.

    Args:
        problem: its costs are the class weights, for C = 1. Of a single column with `gram` nothing else is looked at:
            all folds and values of C share the inner products.
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
    fold_of = _folds(images, folds, seed)
    for fold in range(folds):
        held_out = torch.from_numpy(fold_of == fold).to(problem.x.device)
        if problem.gram is None or k > 1:
            of_cs = _by_solver(problem, held_out, cs, solve)
        else:
            of_cs = _by_inner_products(problem, problem.gram, held_out, cs)
        targets = problem.targets[held_out].cpu().numpy()
        for index, scores in enumerate(of_cs):
            precision[index] += _average_precision(targets, scores)
    return np.asarray(cs, np.float64)[precision.argmax(axis=0)]


def _by_solver(problem: SvmProblem, held_out: Tensor, cs: Sequence[float], solve: Solver) -> Iterator[Floats]:
    """(m, k) scores of the m examples that are held out, for each C."""
    training = problem.with_targets(torch.where(held_out[:, None], 0, problem.targets))
    examples = problem.examples.chosen(held_out.nonzero()[:, 0])
    classifiers: LinearClassifiers | None = None
    for c in cs:
        weighted = training.weighted(torch.full((problem.targets.shape[1],), c, device=problem.x.device))
        classifiers = solve(weighted, classifiers)
        yield classifiers.scores(examples).cpu().numpy()


def _by_inner_products(problem: SvmProblem, inner: Tensor, held_out: Tensor, cs: Sequence[float]) -> Iterator[Floats]:
    """The same of a single column by the inner products alone, so that no example is read."""
    rows = (~held_out & (problem.targets[:, 0] != 0)).nonzero()[:, 0].cpu()
    others = held_out.nonzero()[:, 0].cpu()
    inner, targets, costs = (one.cpu() for one in (inner, problem.targets[:, 0], problem.costs()[:, 0]))
    gram = Gram(problem.examples.chosen(rows.to(problem.x.device)), problem.bias_multiplier, inner[rows][:, rows])
    across = inner[others][:, rows]
    path = solution_path(gram, targets[rows].double(), costs[rows].double(), cs, problem.loss == "squared_hinge")
    for beta in path:
        yield (across @ beta)[:, None].float().numpy()


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
