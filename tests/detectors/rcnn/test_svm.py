from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from wsdet.detectors.rcnn.svm import Loss, Planes, Solver, SvmProblem, liblinear, newton_cg, objective, solver_named


def made_up_problem(loss: Loss = "squared_hinge", c: float = 1e-3, n: int = 600, d: int = 80, k: int = 4) -> SvmProblem:
    """Correlated non-negative features of norm about 20, rare positives, some rows that are no example."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x = torch.relu(normal(n, 10) @ normal(10, d) + 2 * normal(n, d) + 1)
    x *= 20 / x.norm(dim=1).mean()
    scores = x @ normal(d, k)
    scores += scores.std() * 0.3 * normal(n, k) - scores.quantile(0.9, dim=0)
    signs = torch.where(scores > 0, 1, -1).to(torch.int8)
    signs[torch.rand(n, k, generator=generator) < 0.2] = 0
    ones = torch.ones(k)
    return SvmProblem(x, signs, 2 * c * ones, c * ones, 10.0, loss)


@pytest.mark.parametrize(
    ("loss", "c"), [("squared_hinge", 1e-4), ("squared_hinge", 1e-3), ("squared_hinge", 1e-1), ("hinge", 1e-3)]
)
def test_newton_reaches_liblinears_objective(loss: Loss, c: float) -> None:
    problem = made_up_problem(loss, c)
    ours, reference = objective(problem, newton_cg(problem)), objective(problem, liblinear(problem))
    assert (ours <= 1.001 * reference).all()
    assert (reference <= 1.01 * ours).all()


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
def test_the_bias_multiplier_frees_the_bias(solve: object) -> None:
    problem = made_up_problem()
    for multiplier in (1.0, 30.0):
        scaled = SvmProblem(
            problem.x + 5, problem.signs, problem.positive_cost, problem.negative_cost, multiplier, "squared_hinge"
        )
        planes = newton_cg(scaled)
        values = objective(scaled, planes)
        for change in (0.98, 1.02):  # the solution is where the objective is smallest in the bias, too
            assert (objective(scaled, Planes(planes.weights, planes.biases * change)) >= values - 1e-6).all()


def test_columns_are_solved_on_their_own() -> None:
    problem = made_up_problem()
    together = newton_cg(problem)
    for j in range(4):
        alone = newton_cg(problem.column(j))
        value = objective(problem, Planes(alone.weights.expand(-1, 4), alone.biases.expand(4)))[j]
        assert value == pytest.approx(objective(problem, together)[j].item(), rel=2e-4)


def test_a_start_at_the_solution_stays_there() -> None:
    problem = made_up_problem()
    solution = newton_cg(problem)
    again = newton_cg(problem, solution)
    assert torch.equal(again.weights, solution.weights)


def test_a_hand_made_problem() -> None:
    # one positive at 1, one negative at -1, a free bias: w minimizes w^2 / 2 + 2 c (1 - w)^2, so w = 4c / (1 + 4c)
    c = torch.tensor([0.25])
    problem = SvmProblem(torch.tensor([[1.0], [-1.0]]), torch.tensor([[1], [-1]], dtype=torch.int8), c, c, 1.0)
    planes = newton_cg(problem, tolerance=1e-9)
    assert planes.weights.item() == pytest.approx(0.5, abs=1e-5)
    assert planes.biases.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
def test_nothing_to_learn_is_no_error(solve: object) -> None:
    empty = SvmProblem(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int8), torch.ones(2), torch.ones(2))
    for name in ("newton_cg", "liblinear"):
        assert not solver_named(name)(empty, None).weights.any()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="solver must be one of"):
        solver_named("sgd")
    with pytest.raises(ValueError, match="x must have shape"):
        SvmProblem(torch.zeros(3, 2), torch.zeros(4, 1, dtype=torch.int8), torch.ones(1), torch.ones(1))
    with pytest.raises(ValueError, match="bias_multiplier"):
        SvmProblem(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int8), torch.ones(1), torch.ones(1), 0.0)


def test_average_precision_chooses_c() -> None:
    from wsdet.detectors.rcnn.cross_validation import choose_c

    problem = made_up_problem(c=1.0)
    images = np.arange(len(problem.x)) // 3
    cs = (1e-9, 1e-3, 1e-2)
    chosen = choose_c(problem, images, cs, 5, newton_cg, seed=0)
    assert set(chosen.tolist()) <= set(cs)
    assert choose_c(problem, images, (0.5,), 5, newton_cg, seed=0).tolist() == [0.5] * 4
    assert choose_c(problem, images, cs, 5, newton_cg, seed=0).tolist() == chosen.tolist()


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_a_weight_of_two_is_the_example_twice(solve: Solver, loss: Loss) -> None:
    problem = made_up_problem(loss)
    twice = torch.arange(len(problem.x)) % 3 == 0
    weighted = replace(problem, weights=1.0 + twice)
    # negatives weigh one whatever their weight, so only positives are repeated
    again = torch.where(problem.signs[twice] > 0, problem.signs[twice], 0)
    repeated = replace(
        problem, x=torch.cat([problem.x, problem.x[twice]]), signs=torch.cat([problem.signs, again.to(torch.int8)])
    )
    planes = solve(weighted, None)
    torch.testing.assert_close(objective(weighted, planes), objective(repeated, planes))
    assert (objective(repeated, planes) <= 1.002 * objective(repeated, solve(repeated, None))).all()


def test_solvers_agree_on_weighted_examples() -> None:
    problem = made_up_problem()
    weights = torch.rand(len(problem.x), generator=torch.Generator().manual_seed(1)) * 2
    weighted = replace(problem, weights=weights)
    ours, reference = objective(weighted, newton_cg(weighted)), objective(weighted, liblinear(weighted))
    torch.testing.assert_close(ours, reference, rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="weights must have shape"):
        replace(problem, weights=weights[:-1])
