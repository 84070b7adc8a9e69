"""One linear SVM solved to a small duality gap, whatever its C: Newton's method in the space of the examples.

Conjugate gradients need ever more steps as C grows, since their system's condition number grows with it. Here each
Newton system is solved directly, over the few examples that are on the margin, so C costs nothing.

The hinge has no second derivative at its corner. The method of multipliers (augmented Lagrangian) goes around that: it
solves a sequence of smooth problems, each the dual with a proximal term of strength 1 / sigma around the last
multipliers (Li, Sun and Toh, SIAM J. Optim. 2018, do so for the lasso). Their derivative is piecewise linear, which
makes Newton's steps end exactly, and the multipliers, unlike a rounded corner, leave no error behind.

The weights are w = x^T beta, so only inner products are needed: K = x x^T + B^2 for the regularized bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from wsdet.detectors.rcnn.rows import Rows

GRAM_ROWS = 4096  # maximum number of examples whose inner products are kept: 134 MB
_FIRST_SIGMA = 30.0  # over the mean squared norm of the examples
_LARGEST_SIGMA = 1e10  # over the same: beyond it the systems of equal examples are singular in float64
_SIGMA_GROWTH = 4.0
_OUTER_STEPS, _NEWTON_STEPS, _SEARCH_STEPS = 40, 50, 30
_INSIDE = 0.99  # share of its cost below which a multiplier is not at it, whatever the gap
_DECREMENT = 1e-6  # an inner problem is solved when Newton's step promises less than this part of |w|^2


class Gram:
    """Inner products of examples, bias included: K = x x^T + B^2, never kept beyond `GRAM_ROWS` rows.

    Args:
        x: n examples of d dimensions.
        bias_multiplier: B.
        kept: (n, n) float64 K where it is known already.
    """

    def __init__(self, x: Rows, bias_multiplier: float, kept: Tensor | None = None) -> None:
        self.x = x
        self.bias = bias_multiplier**2
        if kept is None and len(x) <= GRAM_ROWS:
            kept = inner_products(x, bias_multiplier)
        self.kept = kept

    def mean_square(self) -> float:
        """Mean squared norm of the examples, bias included."""
        return float(self.kept.diagonal().mean()) if self.kept is not None else self.x.mean_square_norm() + self.bias

    def times(self, beta: Tensor) -> Tensor:
        """(n,) K beta for (n,) float64 beta."""
        if self.kept is not None:
            return self.kept @ beta
        w = self.weights(beta)
        return self.x.times(w) + self.bias * beta.sum()

    def weights(self, beta: Tensor) -> Tensor:
        """(d,) float64 x^T beta."""
        return self.x.transposed_times(beta)

    def solve(self, rows: Tensor, curvature: Tensor, right_side: Tensor) -> Tensor:
        """(m,) solution of (K over the m rows + diag(1 / curvature)) z = right_side."""
        if self.kept is not None:
            return _solve_positive(self.kept[rows][:, rows] + torch.diag(1 / curvature), right_side)
        x = torch.cat(
            [self.x.chosen(rows).dense(torch.float64), torch.full_like(curvature, self.bias**0.5)[:, None]], dim=1
        )
        if len(rows) <= x.shape[1]:
            return _solve_positive(x @ x.T + torch.diag(1 / curvature), right_side)
        weighted = curvature[:, None] * x  # Woodbury: more examples than dimensions
        identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        inside = _solve_positive(identity + x.T @ weighted, weighted.T @ right_side)
        return curvature * right_side - weighted @ inside


def inner_products(x: Rows, bias_multiplier: float) -> Tensor:
    """(n, n) float64 x x^T + B^2."""
    exact = x.dense(torch.float64)
    return exact @ exact.T + bias_multiplier**2


def solution_path(
    gram: Gram, targets: Tensor, costs: Tensor, factors: Sequence[float], squared: bool
) -> Iterator[Tensor]:
    """(n,) beta for the costs times each of `factors`, which ascend; see `solve_exactly`.

    Where no multiplier of the hinge is at its cost, a higher cost changes nothing, and nothing is solved any more.
    """
    beta, is_final = torch.zeros_like(costs), False
    for factor in factors:
        if not is_final:
            beta, _ = solve_exactly(gram, targets, factor * costs, squared, start=beta)
            is_final = not squared and bool((beta.abs() < _INSIDE * factor * costs).all())
        yield beta


def solve_exactly(
    gram: Gram,
    targets: Tensor,
    costs: Tensor,
    squared: bool,
    tolerance: float = 1e-5,
    start: Tensor | None = None,
) -> tuple[Tensor, float]:
    """(n,) beta of the weights x^T beta, and the relative duality gap that they reach.

    The primal is 1/2 beta^T K beta + sum_i costs_i loss(1 - targets_i (K beta)_i); with the multipliers a its dual is
    sum_i (a_i - a_i^2 / (4 costs_i)) - 1/2 (ta)^T K (ta) for the squared hinge, a >= 0, and the same without the
    square for the hinge, 0 <= a <= costs.

    Args:
        gram: inner products of the n examples.
        targets: (n,) float64, 1 or -1.
        costs: (n,) float64, > 0.
        squared: whether the loss is the squared hinge.
        tolerance: the relative gap to reach.
        start: (n,) beta of a problem with other costs, where that is known.
    """
    beta = torch.zeros_like(costs) if start is None else start
    scores = torch.zeros_like(costs) if start is None else gram.times(start)
    multipliers = (targets * beta).clamp(min=0)
    softness = 1 / (2 * costs) if squared else torch.zeros_like(costs)
    most = torch.full_like(costs, torch.inf) if squared else costs
    mean_square = gram.mean_square()
    sigma = _FIRST_SIGMA / mean_square
    best, best_gap, before = beta, torch.inf, torch.inf
    for _ in range(_OUTER_STEPS):
        inner = _Smoothed(multipliers / sigma + 1, targets, 1 / (1 / sigma + softness), most)
        beta, scores, solved = _newton(gram, inner, beta, scores)
        slack = (1 - targets * scores).clamp(min=0)
        new = inner.slopes(scores)
        losses = slack.square() if squared else slack
        primal = float(beta @ scores / 2 + costs @ losses)
        signed = targets * new
        dual = float(new.sum() - (softness * new.square()).sum() / 2 - signed @ gram.times(signed) / 2)
        gap = (primal - dual) / max(primal, 1e-300)
        if gap < best_gap:
            best, best_gap = beta, gap
        if gap <= tolerance:
            break
        if not solved:  # a smoother problem is needed, from the multipliers that are known to be good
            sigma /= _SIGMA_GROWTH
            continue
        if gap > before / _SIGMA_GROWTH:  # too slow; a larger sigma than needed makes Newton's steps short
            sigma = min(sigma * _SIGMA_GROWTH, _LARGEST_SIGMA / mean_square)
        multipliers, before = new, gap
    return best, float(best_gap)


class _Smoothed:
    """A smooth problem: its loss has the derivative clip(curvature * (shift - target * score), 0, most)."""

    def __init__(self, shift: Tensor, targets: Tensor, curvature: Tensor, most: Tensor) -> None:
        self.shift, self.targets, self.curvature, self.most = shift, targets, curvature, most

    def slopes(self, scores: Tensor) -> Tensor:
        return torch.minimum((self.curvature * (self.shift - self.targets * scores)).clamp(min=0), self.most)


def _newton(gram: Gram, problem: _Smoothed, beta: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, bool]:
    """beta and K beta where a smooth problem is smallest, and whether Newton's method got there."""
    for _ in range(_NEWTON_STEPS):
        slopes = problem.slopes(scores)
        residual = beta - problem.targets * slopes
        rows = ((slopes > 0) & (slopes < problem.most)).nonzero()[:, 0]
        # the examples beyond the corners have constant slopes: they take theirs at once, and move what the rest solves
        step = -residual
        if len(rows):
            beyond = residual.clone()
            beyond[rows] = 0
            curvature = problem.curvature[rows]
            right_side = gram.times(beyond)[rows] - residual[rows] / curvature
            step[rows] = gram.solve(rows, curvature, right_side)
        along = gram.times(step)
        decrement = float(slopes @ (problem.targets * along) - scores @ step)
        length = _length(problem, scores, along, float(scores @ step), float(step @ along), decrement)
        beta, scores = beta + length * step, scores + length * along
        if decrement <= _DECREMENT * float(beta @ scores):
            return beta, scores, True
    return beta, scores, False


def _length(problem: _Smoothed, scores: Tensor, along: Tensor, across: float, square: float, decrement: float) -> float:
    """How far to go along a step: Newton's method on its piecewise linear derivative, kept in a bracket."""
    low, high, length = 0.0, float("inf"), 1.0
    signed = problem.targets * along
    for _ in range(_SEARCH_STEPS):
        slopes = problem.slopes(scores + length * along)
        first = across + length * square - float(slopes @ signed)
        if abs(first) <= 1e-2 * decrement:
            break
        low, high = (length, high) if first < 0 else (low, length)
        curved = problem.curvature * ((slopes > 0) & (slopes < problem.most))
        second = square + float(curved @ along.square())
        newton = length - first / second if second > 0 else low
        middle = 2 * length if high == float("inf") else (low + high) / 2
        length = newton if low < newton < high else middle
    return length


def _solve_positive(matrix: Tensor, right_side: Tensor) -> Tensor:
    return torch.cholesky_solve(right_side[:, None], torch.linalg.cholesky(matrix))[:, 0]
