"""Linear support vector machines, many at once over shared examples.

The objective is liblinear's, in its sum form, for every column j of `SvmProblem.targets` on its own:

    1/2 |w_j|^2 + 1/2 (b_j / B)^2 + sum_i cost_ij loss(targets_ij (x_i . w_j + b_j))

with cost_ij the cost of the target's kind, for a positive times the example's weight, and B the bias multiplier: a
large one leaves the bias almost free. `newton_cg` takes all columns together, on the CPU or a GPU, and goes on from an
earlier solution; it proves by the duality gap how close it came. `liblinear` is scikit-learn's LinearSVC, one column
after the other: what the papers used. At a large C it stops far from the optimum.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsdet import check
from wsdet.detectors.rcnn.exact_svm import GRAM_ROWS, Gram, inner_products, solve_exactly
from wsdet.detectors.rcnn.options import SOLVERS
from wsdet.detectors.rcnn.rows import Rows
from wsdet.types import Floats

log = logging.getLogger(__name__)

SvmLoss = Literal["squared_hinge", "hinge"]

_NEWTON_STEPS = 40
_CG_STEPS = 60
_CG_TOLERANCE = 0.1  # of the gradient's norm; Newton's steps correct the rest
_LINE_SEARCH_STEPS = 12
_HINGE_WIDTHS = (1.0, 0.2, 0.04, 0.008, 0.002)  # of the rounded corner that stands for the hinge's, one after another
_WELL_CONDITIONED = 1e4  # curvature of the loss times squared norm of an example: conjugate gradients converge below
_GAP = 0.01  # relative duality gap above which a column is solved again, exactly, and after that warned about


@dataclass(frozen=True, eq=False)
class SvmProblem:
    """Examples and what each column asks of them; tensors on one device.

    Attributes:
        x: (n, d) examples, float32 or float16; arithmetic is in float32 whatever it is.
        targets: (n, k) int8: 1 positive, -1 negative, 0 no example of this column.
        positive_cost: (k,) cost of a positive example's loss: C times its class weight.
        negative_cost: (k,) the same for a negative one.
        bias_multiplier: B.
        loss: "squared_hinge", max(0, 1 - margin)^2, or "hinge", max(0, 1 - margin).
        weights: (n,) how often each example counts where it is a positive; None: once.
        gram: (n, n) float64 `inner_products` of the examples, where many problems share them; None: made when needed.
        rows: (n,) which rows of a larger `x` are the examples; None: all.
    """

    x: Tensor
    targets: Tensor
    positive_cost: Tensor
    negative_cost: Tensor
    bias_multiplier: float = 10.0
    loss: SvmLoss = "squared_hinge"
    weights: Tensor | None = None
    gram: Tensor | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        n, k = self.targets.shape
        if self.x.ndim != 2 or len(self.examples) != n:
            raise ValueError(
                f"x must have shape ({n}, d) as targets has rows, got {tuple(self.x.shape)}, {len(self.examples)} rows"
            )
        if self.positive_cost.shape != (k,) or self.negative_cost.shape != (k,):
            raise ValueError(f"positive_cost and negative_cost must have shape ({k},), one per column of targets")
        if self.weights is not None and self.weights.shape != (n,):
            raise ValueError(f"weights must have shape ({n},), one per example, got {tuple(self.weights.shape)}")
        if self.bias_multiplier <= 0:
            raise ValueError(f"bias_multiplier must be > 0, got {self.bias_multiplier}")

    @property
    def examples(self) -> Rows:
        """The examples, for products with them."""
        return Rows(self.x, self.rows)

    def costs(self) -> Tensor:
        """(n, k) cost of each example's loss; 0 where it is no example of the column."""
        zero = torch.zeros((), device=self.x.device)
        positive = self.positive_cost if self.weights is None else self.positive_cost * self.weights[:, None]
        return torch.where(self.targets > 0, positive, torch.where(self.targets < 0, self.negative_cost, zero))

    def weighted(self, c: Tensor) -> SvmProblem:
        """The problem with both costs multiplied by (k,) numbers."""
        return replace(self, positive_cost=self.positive_cost * c, negative_cost=self.negative_cost * c)

    def with_targets(self, targets: Tensor) -> SvmProblem:
        """The problem with other targets."""
        return replace(self, targets=targets)

    def with_gram(self) -> SvmProblem:
        """The problem with the inner products of its examples, unless these are too many to be kept."""
        few = self.gram is None and len(self.examples) <= GRAM_ROWS
        return replace(self, gram=inner_products(self.examples, self.bias_multiplier)) if few else self

    def columns(self, index: Tensor) -> SvmProblem:
        """The problem of some columns, with all examples."""
        return replace(
            self,
            targets=self.targets[:, index],
            positive_cost=self.positive_cost[index],
            negative_cost=self.negative_cost[index],
        )

    def column(self, j: int) -> SvmProblem:
        """The problem of one column, with its own examples only."""
        rows = self.targets[:, j].nonzero()[:, 0]
        one = slice(j, j + 1)
        return SvmProblem(
            self.x,
            self.targets[rows, one],
            self.positive_cost[one],
            self.negative_cost[one],
            self.bias_multiplier,
            self.loss,
            None if self.weights is None else self.weights[rows],
            None if self.gram is None else self.gram[rows][:, rows],
            rows if self.rows is None else self.rows[rows],
        )


@dataclass(frozen=True, eq=False)
class LinearClassifiers:
    """k linear classifiers.

    Attributes:
        weights: (d, k) float32.
        biases: (k,) float32.
    """

    weights: Tensor
    biases: Tensor

    @classmethod
    def zeros(cls, d: int, k: int, device: torch.device | str = "cpu") -> LinearClassifiers:
        """LinearClassifiers that score everything 0."""
        return cls(torch.zeros(d, k, device=device), torch.zeros(k, device=device))

    def scores(self, x: Tensor | Rows) -> Tensor:
        """(n, k) signed scores of (n, d) examples."""
        return (Rows(x) if isinstance(x, Tensor) else x).times(self.weights) + self.biases

    def columns(self, index: Tensor) -> LinearClassifiers:
        """Some of the classifiers."""
        return LinearClassifiers(self.weights[:, index], self.biases[index])

    def with_columns(self, index: Tensor, others: LinearClassifiers) -> LinearClassifiers:
        """These classifiers with some of them replaced."""
        weights, biases = self.weights.clone(), self.biases.clone()
        weights[:, index], biases[index] = others.weights, others.biases
        return LinearClassifiers(weights, biases)


Solver = Callable[[SvmProblem, LinearClassifiers | None], LinearClassifiers]


def solver_named(name: str) -> Solver:
    """The solver that a config names.

    Raises:
        InputError: it is none of `SOLVERS`.
    """
    check.one_of(SOLVERS, solver=name)
    return newton_cg if name == "newton_cg" else liblinear


def objective(problem: SvmProblem, classifiers: LinearClassifiers) -> Tensor:
    """(k,) float64 value that the solvers make smallest, computed in float64: costs can be thousands of times it."""
    weights, biases = classifiers.weights.double(), classifiers.biases.double()
    scores = problem.examples.times(weights) + biases
    slack = (1 - problem.targets * scores).clamp(min=0)
    losses = slack.square() if problem.loss == "squared_hinge" else slack
    size = weights.square().sum(0) + (biases / problem.bias_multiplier).square()
    return size / 2 + (problem.costs() * losses).sum(0)


def relative_gap(problem: SvmProblem, classifiers: LinearClassifiers) -> Tensor:
    """(k,) upper bound of how far each objective is above the smallest one, as a fraction of it.

    The bound is the dual's value at the multipliers that the classifiers' slacks suggest. For the hinge an example
    on the margin tells its multiplier from a rounded corner alone: the best of several widths is taken.
    """
    slack = 1 - problem.targets * classifiers.scores(problem.examples)
    widths = (None,) if problem.loss == "squared_hinge" else _HINGE_WIDTHS
    dual = torch.stack([_dual(problem, problem.costs() * _loss(slack, width)[1]) for width in widths]).amax(dim=0)
    primal = objective(problem, classifiers)
    return (primal - dual) / primal.clamp(min=1e-300)


def _dual(problem: SvmProblem, multipliers: Tensor) -> Tensor:
    """(k,) float64 dual value of (n, k) multipliers, scaled by what suits each column best."""
    square = (
        _backward(problem.examples, problem.targets * multipliers, problem.bias_multiplier).double().square().sum(0)
    )
    if problem.loss == "squared_hinge":  # its dual has a quadratic term of its own, and no upper limit
        square += (multipliers.double().square() / (2 * problem.costs().double()).clamp(min=1e-300)).sum(0)
    total = multipliers.sum(0, dtype=torch.float64)
    scale = total / square.clamp(min=1e-300)
    scale = scale if problem.loss == "squared_hinge" else scale.clamp(max=1)
    return scale * total - scale.square() * square / 2


def liblinear(problem: SvmProblem, start: LinearClassifiers | None = None) -> LinearClassifiers:
    """scikit-learn's LinearSVC for each column; `start` is not used. A column without both targets stays 0."""
    from sklearn.exceptions import ConvergenceWarning  # here: a detector at work does without scikit-learn
    from sklearn.svm import LinearSVC

    classifiers = LinearClassifiers.zeros(problem.x.shape[1], problem.targets.shape[1], problem.x.device)
    for j in range(problem.targets.shape[1]):
        column = problem.column(j)
        targets = column.targets[:, 0].cpu().numpy()
        if not (targets > 0).any() or not (targets < 0).any():
            continue
        machine = LinearSVC(
            loss=problem.loss,
            C=1.0,
            # liblinear's own rule: the primal is faster for many examples, and only the squared hinge has one
            dual=problem.loss == "hinge" or len(targets) < problem.x.shape[1],
            class_weight={1: float(column.positive_cost), -1: float(column.negative_cost)},
            intercept_scaling=problem.bias_multiplier,
            tol=1e-3,
            max_iter=20_000,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it stops short at a large C
            machine.fit(column.examples.dense().cpu().numpy(), targets, _sample_weight(column))
        classifiers.weights[:, j] = torch.from_numpy(machine.coef_[0]).to(classifiers.weights)
        classifiers.biases[j] = float(machine.intercept_[0])
    return classifiers


def _sample_weight(column: SvmProblem) -> Floats | None:
    """(n,) what scikit-learn multiplies each example's cost with."""
    if column.weights is None:
        return None
    return np.asarray(torch.where(column.targets[:, 0] > 0, column.weights, 1).cpu().numpy())


def newton_cg(
    problem: SvmProblem, start: LinearClassifiers | None = None, tolerance: float = 1e-5
) -> LinearClassifiers:
    """Newton's method in the primal, all columns at once, and exactly where that does not suffice.

    Conjugate gradients solve Newton's systems (Keerthi and DeCoste 2005); the hinge is solved as a sequence of hinges
    with an ever narrower rounded corner. Both work while C is small. A column whose duality gap is still above 1 % of
    its objective, or whose C tells this beforehand, is solved by `wsdet.detectors.rcnn.exact_svm`, one by one; a
    gap that remains is a warning.

    Args:
        problem: what to solve.
        start: classifiers to begin at; None begins at 0.
        tolerance: a column is done when its Newton step promises less than this fraction of its objective, or, solved
            exactly, when its duality gap is less.
    """
    columns = problem.targets.shape[1]
    classifiers = start or LinearClassifiers.zeros(problem.x.shape[1], columns, problem.x.device)
    gaps = torch.full((columns,), torch.inf, dtype=torch.float64, device=problem.x.device)
    together = _well_conditioned(problem)
    if together.any():
        some = together.nonzero()[:, 0]
        solved = classifiers.columns(some)
        for width in (None,) if problem.loss == "squared_hinge" else _HINGE_WIDTHS:
            solved = _newton(problem.columns(some), solved, width, tolerance)
        classifiers = classifiers.with_columns(some, solved)
        gaps[some] = relative_gap(problem.columns(some), solved)
    for j in (gaps > _GAP).nonzero()[:, 0].tolist():
        exact, gap = _exactly(problem.column(j), tolerance)
        if gap < gaps[j]:
            classifiers = classifiers.with_columns(torch.tensor([j], device=problem.x.device), exact)
        if min(gap, float(gaps[j])) > _GAP:
            log.warning(
                "an SVM did not converge: its objective may be %.2g %% above the smallest one; take a smaller C, or "
                "scale the features",
                100 * min(gap, float(gaps[j])),
            )
    return classifiers


def _well_conditioned(problem: SvmProblem) -> Tensor:
    """(k,) whether conjugate gradients promise to converge: the costs are small beside the features' norms.

    A single column of few examples is solved exactly at once, which is as fast.
    """
    few = problem.targets.shape[1] == 1 and len(problem.targets) <= GRAM_ROWS
    mean_square = problem.examples.mean_square_norm()
    curvature = torch.maximum(problem.positive_cost, problem.negative_cost)
    curvature = curvature * 2 if problem.loss == "squared_hinge" else curvature / _HINGE_WIDTHS[-1]
    return (curvature * mean_square <= _WELL_CONDITIONED) & (not few)


def _exactly(column: SvmProblem, tolerance: float) -> tuple[LinearClassifiers, float]:
    """The classifier of a problem of one column, and its relative duality gap."""
    gram, device = Gram(column.examples, column.bias_multiplier, column.gram), column.targets.device
    targets, costs = column.targets[:, 0].double(), column.costs()[:, 0].double()
    if gram.kept is not None:  # thousands of small steps, each of which would wait for a GPU
        gram.kept, targets, costs = gram.kept.cpu(), targets.cpu(), costs.cpu()
    beta, gap = solve_exactly(gram, targets, costs, column.loss == "squared_hinge", tolerance)
    beta = beta.to(device)
    bias = gram.bias * beta.sum()
    return LinearClassifiers(gram.weights(beta).float()[:, None], bias.float()[None]), gap


def _newton(problem: SvmProblem, start: LinearClassifiers, width: float | None, tolerance: float) -> LinearClassifiers:
    """Newton's method; columns leave as soon as they are done."""
    multiplier = problem.bias_multiplier
    done = torch.cat([start.weights, start.biases[None] / multiplier])  # (d + 1, k)
    open_ = torch.arange(done.shape[1], device=done.device)
    targets, costs, v = problem.targets.float(), problem.costs(), done.clone()
    x = problem.examples.at_hand()
    scores = _forward(x, v, multiplier)
    for _ in range(_NEWTON_STEPS):
        value, slope, curvature = _loss(1 - targets * scores, width)
        total = v.square().sum(0) / 2 + (costs * value).sum(0)
        gradient = v + _backward(x, -costs * targets * slope, multiplier)
        step = _conjugate_gradients(x, costs * curvature, gradient, multiplier)
        promised = -(gradient * step).sum(0) / 2
        going = promised > tolerance * total
        done[:, open_] = v
        if not going.any():
            break
        open_, v, step = open_[going], v[:, going], step[:, going]
        targets, costs, scores = targets[:, going], costs[:, going], scores[:, going]
        along = _forward(x, step, multiplier)
        length = _line_search(v, step, targets, scores, along, costs, width)
        v, scores = v + length * step, scores + length * along
        done[:, open_] = v
    return LinearClassifiers(done[:-1], done[-1] * multiplier)


def _forward(x: Rows, v: Tensor, multiplier: float) -> Tensor:
    return x.times(v[:-1]).add_(multiplier * v[-1])


def _backward(x: Rows, r: Tensor, multiplier: float) -> Tensor:
    return torch.cat([x.transposed_times(r), multiplier * r.sum(0, keepdim=True)])


def _loss(slack: Tensor, width: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Value, slope and curvature of the loss in the slack 1 - margin; a width rounds the hinge's corner."""
    if width is None:
        positive = slack.clamp(min=0)
        return positive.square(), 2 * positive, 2.0 * (slack > 0)
    ramp = (slack / width).clamp(0, 1)
    value = torch.where(slack < width, ramp * slack / 2, slack - width / 2)
    return value, ramp, ((slack > 0) & (slack < width)) / width


def _conjugate_gradients(x: Rows, curvature: Tensor, gradient: Tensor, multiplier: float) -> Tensor:
    """(d + 1, k) approximate solutions of (I + x^T diag(curvature) x) step = -gradient."""
    rows = curvature.any(dim=1).nonzero()[:, 0]
    if len(rows) < 0.7 * len(x):  # most examples are far behind their margin: they curve nothing
        x, curvature = x.chosen(rows).at_hand(), curvature[rows]
    step = torch.zeros_like(gradient)
    residual = -gradient
    direction = residual.clone()
    square = residual.square().sum(0)
    enough = _CG_TOLERANCE**2 * square
    for _ in range(_CG_STEPS):
        running = square > enough
        if not running.any():
            break
        product = direction + _backward(x, curvature * _forward(x, direction, multiplier), multiplier)
        length = torch.where(running, square / (direction * product).sum(0).clamp(min=1e-30), 0)
        step += length * direction
        residual -= length * product
        square_after = residual.square().sum(0)
        direction = residual + square_after / square.clamp(min=1e-30) * direction
        square = torch.where(running, square_after, square)
    return step


def _line_search(
    v: Tensor, step: Tensor, targets: Tensor, scores: Tensor, along: Tensor, costs: Tensor, width: float | None
) -> Tensor:
    """(k,) lengths at which the objective is smallest along each column's step: Newton's method, kept in a bracket."""
    across, square = (v * step).sum(0), step.square().sum(0)
    length = torch.ones_like(square)
    low, high = torch.zeros_like(square), torch.full_like(square, torch.inf)
    for _ in range(_LINE_SEARCH_STEPS):
        _, slope, curvature = _loss(1 - targets * (scores + length * along), width)
        first = across + length * square - (costs * slope * targets * along).sum(0)
        second = square + (costs * curvature * along.square()).sum(0)
        if (first.abs() <= 1e-3 * second * length.clamp(min=1e-3)).all():
            break
        low, high = torch.where(first < 0, length, low), torch.where(first > 0, length, high)
        newton = length - first / second.clamp(min=1e-30)
        middle = torch.where(high.isinf(), 2 * length, (low + high) / 2)
        length = torch.where((newton > low) & (newton < high), newton, middle)
    return length
