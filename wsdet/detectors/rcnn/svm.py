"""Linear support vector machines, many at once over shared examples.

The objective is liblinear's, in its sum form, for every column j of `SvmProblem.signs` on its own:

    1/2 |w_j|^2 + 1/2 (b_j / B)^2 + sum_i cost_ij loss(signs_ij (x_i . w_j + b_j))

with cost_ij the cost of the sign, for a positive times the example's weight, and B the bias multiplier: a large one
leaves the bias almost free. Two solvers answer it: `liblinear`, scikit-learn's
LinearSVC one column after the other, is the reference; `newton_cg` takes all columns together, on the CPU or a GPU,
and goes on from an earlier solution.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from wsdet.types import Floats

Loss = Literal["squared_hinge", "hinge"]

_NEWTON_STEPS = 40
_CG_STEPS = 60
_CG_TOLERANCE = 0.1  # of the gradient's norm; Newton's steps correct the rest
_LINE_SEARCH_STEPS = 12
_HINGE_WIDTHS = (
    1.0,
    0.2,
    0.04,
    0.008,
    0.002,
)  # of the rounded corner that stands for the hinge's; the last one is the solution's


@dataclass(frozen=True, eq=False)
class SvmProblem:
    """Examples and what each column asks of them; tensors on one device.

    Attributes:
        x: (n, d) float32 examples.
        signs: (n, k) int8: 1 positive, -1 negative, 0 no example of this column.
        positive_cost: (k,) cost of a positive example's loss: C times its class weight.
        negative_cost: (k,) the same for a negative one.
        bias_multiplier: B.
        loss: "squared_hinge", max(0, 1 - margin)^2, or "hinge", max(0, 1 - margin).
        weights: (n,) how often each example counts where it is a positive; None: once.
    """

    x: Tensor
    signs: Tensor
    positive_cost: Tensor
    negative_cost: Tensor
    bias_multiplier: float = 10.0
    loss: Loss = "squared_hinge"
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        n, k = self.signs.shape
        if self.x.ndim != 2 or len(self.x) != n:
            raise ValueError(f"x must have shape ({n}, d) as signs has rows, got {tuple(self.x.shape)}")
        if self.positive_cost.shape != (k,) or self.negative_cost.shape != (k,):
            raise ValueError(f"positive_cost and negative_cost must have shape ({k},), one a column of signs")
        if self.weights is not None and self.weights.shape != (n,):
            raise ValueError(f"weights must have shape ({n},), one an example, got {tuple(self.weights.shape)}")
        if self.bias_multiplier <= 0:
            raise ValueError(f"bias_multiplier must be > 0, got {self.bias_multiplier}")

    def costs(self) -> Tensor:
        """(n, k) cost of each example's loss; 0 where it is no example of the column."""
        zero = torch.zeros((), device=self.x.device)
        positive = self.positive_cost if self.weights is None else self.positive_cost * self.weights[:, None]
        return torch.where(self.signs > 0, positive, torch.where(self.signs < 0, self.negative_cost, zero))

    def weighted(self, c: Tensor) -> SvmProblem:
        """The problem with both costs multiplied by (k,) numbers."""
        return replace(self, positive_cost=self.positive_cost * c, negative_cost=self.negative_cost * c)

    def with_signs(self, signs: Tensor) -> SvmProblem:
        """The problem with other signs."""
        return replace(self, signs=signs)

    def column(self, j: int) -> SvmProblem:
        """The problem of one column, with its own examples only."""
        rows = self.signs[:, j].nonzero()[:, 0]
        one = slice(j, j + 1)
        return SvmProblem(
            self.x[rows],
            self.signs[rows, one],
            self.positive_cost[one],
            self.negative_cost[one],
            self.bias_multiplier,
            self.loss,
            None if self.weights is None else self.weights[rows],
        )


@dataclass(frozen=True, eq=False)
class Planes:
    """k separating planes.

    Attributes:
        weights: (d, k) float32.
        biases: (k,) float32.
    """

    weights: Tensor
    biases: Tensor

    @classmethod
    def zeros(cls, d: int, k: int, device: torch.device | str = "cpu") -> Planes:
        """Planes that score everything 0."""
        return cls(torch.zeros(d, k, device=device), torch.zeros(k, device=device))

    def scores(self, x: Tensor) -> Tensor:
        """(n, k) signed scores of (n, d) examples."""
        return x @ self.weights + self.biases

    def columns(self, index: Tensor) -> Planes:
        """Some of the planes."""
        return Planes(self.weights[:, index], self.biases[index])


Solver = Callable[[SvmProblem, Planes | None], Planes]


def solver_named(name: str) -> Solver:
    """The solver that a config names.

    Raises:
        ValueError: the name is neither "newton_cg" nor "liblinear".
    """
    solvers: dict[str, Solver] = {"newton_cg": newton_cg, "liblinear": liblinear}
    if name not in solvers:
        raise ValueError(f"solver must be one of {sorted(solvers)}, got {name!r}")
    return solvers[name]


def objective(problem: SvmProblem, planes: Planes) -> Tensor:
    """(k,) value that the solvers make smallest."""
    slack = (1 - problem.signs * planes.scores(problem.x)).clamp(min=0)
    losses = slack.square() if problem.loss == "squared_hinge" else slack
    size = planes.weights.square().sum(0) + (planes.biases / problem.bias_multiplier).square()
    return size / 2 + (problem.costs() * losses).sum(0)


def liblinear(problem: SvmProblem, start: Planes | None = None) -> Planes:
    """scikit-learn's LinearSVC for each column; `start` is not used. A column without both signs stays 0."""
    planes = Planes.zeros(problem.x.shape[1], problem.signs.shape[1], problem.x.device)
    for j in range(problem.signs.shape[1]):
        column = problem.column(j)
        signs = column.signs[:, 0].cpu().numpy()
        if not (signs > 0).any() or not (signs < 0).any():
            continue
        machine = LinearSVC(
            loss=problem.loss,
            C=1.0,
            # liblinear's own rule: the primal is faster for many examples, and only the squared hinge has one
            dual=problem.loss == "hinge" or len(signs) < problem.x.shape[1],
            class_weight={1: float(column.positive_cost), -1: float(column.negative_cost)},
            intercept_scaling=problem.bias_multiplier,
            tol=1e-3,
            max_iter=20_000,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at a large C the objective is flat long before
            machine.fit(column.x.cpu().numpy(), signs, _sample_weight(column))
        planes.weights[:, j] = torch.from_numpy(machine.coef_[0]).to(planes.weights)
        planes.biases[j] = float(machine.intercept_[0])
    return planes


def _sample_weight(column: SvmProblem) -> Floats | None:
    """(n,) what scikit-learn multiplies each example's cost with."""
    if column.weights is None:
        return None
    return np.asarray(torch.where(column.signs[:, 0] > 0, column.weights, 1).cpu().numpy())


def newton_cg(problem: SvmProblem, start: Planes | None = None, tolerance: float = 1e-4) -> Planes:
    """Newton's method with conjugate gradients in the primal (Keerthi and DeCoste 2005), all columns at once.

    The hinge is not smooth: it is solved as a sequence of hinges with an ever narrower rounded corner, the last one
    0.002 wide, which changes the objective by at most 0.001 times the costs of the examples on the margin. This pays
    up to about C = 1e-2 with features of norm 20; above, `liblinear` solves the hinge sooner and closer.

    Args:
        problem: what to solve.
        start: planes to begin at; None begins at 0.
        tolerance: a column is done when its Newton step promises less than this fraction of its objective.
    """
    planes = start or Planes.zeros(problem.x.shape[1], problem.signs.shape[1], problem.x.device)
    widths = (None,) if problem.loss == "squared_hinge" else _HINGE_WIDTHS
    for width in widths:
        planes = _newton(problem, planes, width, tolerance)
    return planes


def _newton(problem: SvmProblem, start: Planes, width: float | None, tolerance: float) -> Planes:
    """Newton's method; columns leave as soon as they are done."""
    multiplier = problem.bias_multiplier
    done = torch.cat([start.weights, start.biases[None] / multiplier])  # (d + 1, k)
    open_ = torch.arange(done.shape[1], device=done.device)
    signs, costs, v = problem.signs.float(), problem.costs(), done.clone()
    scores = _forward(problem.x, v, multiplier)
    for _ in range(_NEWTON_STEPS):
        value, slope, curvature = _loss(1 - signs * scores, width)
        total = v.square().sum(0) / 2 + (costs * value).sum(0)
        gradient = v + _backward(problem.x, -costs * signs * slope, multiplier)
        step = _conjugate_gradients(problem.x, costs * curvature, gradient, multiplier)
        promised = -(gradient * step).sum(0) / 2
        going = promised > tolerance * total
        done[:, open_] = v
        if not going.any():
            break
        open_, v, step = open_[going], v[:, going], step[:, going]
        signs, costs, scores = signs[:, going], costs[:, going], scores[:, going]
        along = _forward(problem.x, step, multiplier)
        length = _line_search(v, step, signs, scores, along, costs, width)
        v, scores = v + length * step, scores + length * along
        done[:, open_] = v
    return Planes(done[:-1], done[-1] * multiplier)


def _forward(x: Tensor, v: Tensor, multiplier: float) -> Tensor:
    return torch.addmm(multiplier * v[-1], x, v[:-1])


def _backward(x: Tensor, r: Tensor, multiplier: float) -> Tensor:
    return torch.cat([x.T @ r, multiplier * r.sum(0, keepdim=True)])


def _loss(slack: Tensor, width: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Value, slope and curvature of the loss in the slack 1 - margin; a width rounds the hinge's corner."""
    if width is None:
        positive = slack.clamp(min=0)
        return positive.square(), 2 * positive, 2.0 * (slack > 0)
    ramp = (slack / width).clamp(0, 1)
    value = torch.where(slack < width, ramp * slack / 2, slack - width / 2)
    return value, ramp, ((slack > 0) & (slack < width)) / width


def _conjugate_gradients(x: Tensor, curvature: Tensor, gradient: Tensor, multiplier: float) -> Tensor:
    """(d + 1, k) approximate solutions of (I + x^T diag(curvature) x) step = -gradient."""
    rows = curvature.any(dim=1).nonzero()[:, 0]
    if len(rows) < 0.7 * len(x):  # most examples are far behind their margin: they curve nothing
        x, curvature = x[rows], curvature[rows]
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
    v: Tensor, step: Tensor, signs: Tensor, scores: Tensor, along: Tensor, costs: Tensor, width: float | None
) -> Tensor:
    """(k,) lengths at which the objective is smallest along each column's step: Newton's method, kept in a bracket."""
    across, square = (v * step).sum(0), step.square().sum(0)
    length = torch.ones_like(square)
    low, high = torch.zeros_like(square), torch.full_like(square, torch.inf)
    for _ in range(_LINE_SEARCH_STEPS):
        _, slope, curvature = _loss(1 - signs * (scores + length * along), width)
        first = across + length * square - (costs * slope * signs * along).sum(0)
        second = square + (costs * curvature * along.square()).sum(0)
        if (first.abs() <= 1e-3 * second * length.clamp(min=1e-3)).all():
            break
        low, high = torch.where(first < 0, length, low), torch.where(first > 0, length, high)
        newton = length - first / second.clamp(min=1e-30)
        middle = torch.where(high.isinf(), 2 * length, (low + high) / 2)
        length = torch.where((newton > low) & (newton < high), newton, middle)
    return length
