"""`PoolClassifiers`: the classifiers of all tasks, fitted to the examples of one `ExamplePool`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsdet.detectors.rcnn.cross_validation import choose_c
from wsdet.detectors.rcnn.examples import ExamplePool, Targets
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.rows import Rows
from wsdet.detectors.rcnn.svm import LinearClassifiers, SvmProblem, newton_cg, solver_named
from wsdet.detectors.rcnn.tasks import Tasks
from wsdet.progress import Bar
from wsdet.types import Floats, Ints

log = logging.getLogger(__name__)

_COLUMNS = 64  # tasks solved together


class PoolClassifiers:
    """One linear SVM for each task. A fit starts where the one before it ended, which after a round of mining is near.

    Args:
        pool: the examples; it may grow and shrink between fits.
        tasks: what is learned.
        protocol: the loss, the costs, the values of C.
        solver: see `wsdet.detectors.rcnn.svm.solver_named`.
        seed: of the cross-validation that chooses C.

    Attributes:
        current: the classifiers, one column for each task, for features as the pool has them.
        c: (n_tasks,) the C of each; NaN: chosen at the next fit.
    """

    def __init__(self, pool: ExamplePool, tasks: Tasks, protocol: TrainingProtocol, solver: str, seed: int) -> None:
        self.pool = pool
        self.tasks = tasks
        self.protocol = protocol
        self.seed = seed
        self.current = LinearClassifiers.zeros(pool.x.shape[1], len(tasks), pool.x.device)
        self.c = np.full(len(tasks), np.nan)
        self._solve = solver_named(solver)

    def scores(self) -> Floats:
        """(len(pool), n_tasks) scores of the pool's examples."""
        scores: Floats = self.current.scores(Rows(self.pool.x[: len(self.pool)])).cpu().numpy()
        return scores

    def fit(self, tasks: Sequence[int], quietly: bool = False) -> None:
        """Fits the classifiers of some tasks to the pool, from where they are."""
        start = time.perf_counter()
        groups = self._groups(tasks)
        for group in Bar(groups, desc="training", unit="group", disable=quietly or len(groups) == 1):
            problem, images = self._problem(group)
            if np.isnan(self.c[group]).any():
                protocol = self.protocol
                if len(group) == 1 and self._solve is newton_cg:
                    problem = problem.with_gram()
                self.c[group] = choose_c(problem, images, protocol.cs, protocol.folds, self._solve, self.seed)
            self.current = self._solved(problem, group, self.current)
        if not quietly:
            log.info(
                "trained %d classes x detectors on %d examples, %.1f s",
                len(tasks),
                len(self.pool),
                time.perf_counter() - start,
            )

    def without(self, images: Sequence[int]) -> LinearClassifiers:
        """The classifiers of all tasks, solved without the examples of some images; `current` stays as it is."""
        classifiers = self.current
        for group in self._groups(range(len(self.tasks))):
            problem, _ = self._problem(group, images)
            classifiers = self._solved(problem, group, classifiers)
        return classifiers

    def _groups(self, tasks: Sequence[int]) -> list[list[int]]:
        """The tasks that are solved together: where negatives are shared, one product with the pool serves many."""
        if not self.protocol.share_negatives:
            return [[task] for task in tasks]
        return [
            own[first : first + _COLUMNS].tolist()
            for own in (np.intersect1d(own, tasks) for own in self.tasks.by_detector())
            for first in range(0, len(own), _COLUMNS)
        ]

    def _problem(self, group: list[int], left_out: Sequence[int] = ()) -> tuple[SvmProblem, Ints]:
        """What tasks that are solved together ask of the pool, and the image of each example.

        Args:
            group: the tasks.
            left_out: images whose rows are no examples.
        """
        device = self.pool.x.device
        n = len(self.pool)
        targets = self.pool.targets[:n, group] * ~np.isin(self.pool.images[:n], left_out)[:, None]
        rows = np.flatnonzero(targets.any(axis=1))
        targets, images, weights = targets[rows], self.pool.images[rows], self.pool.weights[rows]
        problem = SvmProblem(
            self.pool.x,
            torch.from_numpy(targets).to(device),
            *self._class_weights(targets, weights),
            self.protocol.bias_multiplier,
            self.protocol.loss,
            torch.from_numpy(weights).to(device),
            rows=torch.from_numpy(rows).to(device),
        )
        return problem, images

    def _solved(self, problem: SvmProblem, group: list[int], start: LinearClassifiers) -> LinearClassifiers:
        """Classifiers of all tasks, those of a group solved anew from where they are in `start`."""
        device = self.pool.x.device
        columns, c = torch.tensor(group, device=device), torch.from_numpy(self.c[group]).float().to(device)
        return start.with_columns(columns, self._solve(problem.weighted(c), start.columns(columns)))

    def _class_weights(self, targets: Targets, weights: Floats) -> tuple[Tensor, Tensor]:
        """(k,) costs of positives and negatives for C = 1."""
        n_positive, n_negative = weights @ (targets > 0), (targets < 0).sum(axis=0)
        weight = self.protocol.positive_weight
        if isinstance(weight, str):
            total = n_positive + n_negative
            costs = total / (2 * np.maximum(n_positive, 1e-6)), total / (2 * np.maximum(n_negative, 1))
        else:
            costs = np.full(targets.shape[1], weight), np.ones(targets.shape[1])
        positive, negative = (torch.from_numpy(cost.astype(np.float32)).to(self.pool.x.device) for cost in costs)
        return positive, negative
