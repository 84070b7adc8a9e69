from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor

from wsdet.detectors.rcnn import exact_svm, rows, svm
from wsdet.detectors.rcnn.exact_svm import Gram, solution_path, solve_exactly
from wsdet.detectors.rcnn.svm import (
    LinearClassifiers,
    Solver,
    SvmLoss,
    SvmProblem,
    liblinear,
    newton_cg,
    objective,
    relative_gap,
    solver_named,
)


def made_up_problem(
    loss: SvmLoss = "squared_hinge", c: float = 1e-3, n: int = 600, d: int = 80, k: int = 4
) -> SvmProblem:
    """Correlated non-negative features of norm about 20, rare positives, some rows that are no example."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x = torch.relu(normal(n, 10) @ normal(10, d) + 2 * normal(n, d) + 1)
    x *= 20 / x.norm(dim=1).mean()
    scores = x @ normal(d, k)
    scores += scores.std() * 0.3 * normal(n, k) - scores.quantile(0.9, dim=0)
    targets = torch.where(scores > 0, 1, -1).to(torch.int8)
    targets[torch.rand(n, k, generator=generator) < 0.2] = 0
    ones = torch.ones(k)
    return SvmProblem(x, targets, 2 * c * ones, c * ones, 10.0, loss)


def rare_positives(
    loss: SvmLoss, c: float, signal: float = 0.0, size: tuple[int, int, int] = (750, 25, 120)
) -> SvmProblem:
    """Non-negative features of norm 20, balanced, B = 1; of a size (examples, positives, dimensions).

    With a signal the positives' features are larger by up to so much before they are scaled; with none they are drawn
    as the negatives are, and few features more than examples of the rare class still part the two.
    """
    rng = np.random.default_rng(1)
    n, n_positives, d = size
    x = np.abs(rng.standard_normal((n, d)))
    x[:n_positives] += signal * rng.random(d)
    x *= 20 / np.linalg.norm(x, axis=1, keepdims=True)
    targets = np.where(np.arange(n) < n_positives, 1, -1).astype(np.int8)[:, None]
    costs = torch.tensor([c * n / (2 * n_positives)]), torch.tensor([c * n / (2 * (n - n_positives))])
    return SvmProblem(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(targets), *costs, 1.0, loss)


def libsvm_bound(problem: SvmProblem) -> float:
    """What the objective of a problem of one column cannot fall below: the dual's value at libsvm's multipliers.

    libsvm's bias is free and liblinear's is not. Each example comes a second time, mirrored, which makes the free bias
    0; the regularized one is one more feature. The squared hinge is a hinge without a limit, of a kernel whose
    diagonal is longer by 1 / cost.
    """
    x = problem.x.double().numpy()
    x = np.hstack([x, np.full((len(x), 1), problem.bias_multiplier)])
    y, costs = problem.targets[:, 0].double().numpy(), problem.costs()[:, 0].double().numpy()
    x, y, costs = np.vstack([x, -x]), np.concatenate([y, -y]), np.tile(costs / 2, 2)
    squared = problem.loss == "squared_hinge"
    kernel = x @ x.T + squared * np.diag(1 / (2 * costs))
    machine = SVC(kernel="precomputed", C=1e10 if squared else 1.0, tol=1e-4)
    machine.fit(kernel, y, sample_weight=np.ones(len(y)) if squared else costs)
    signed = machine.dual_coef_[0]
    return float(np.abs(signed).sum() - signed @ kernel[np.ix_(machine.support_, machine.support_)] @ signed / 2)


@pytest.mark.parametrize(
    ("loss", "c"),
    [(loss, c) for loss in ("hinge", "squared_hinge") for c in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)],
)
def test_newton_reaches_the_smallest_objective_from_a_cold_start(loss: SvmLoss, c: float) -> None:
    problem = rare_positives(loss, c)
    bound = libsvm_bound(problem)
    assert bound * (1 - 1e-9) <= float(objective(problem, newton_cg(problem))) <= bound * (1 + 2e-3)


@pytest.mark.parametrize(("loss", "c"), [("hinge", 1.0), ("hinge", 100.0), ("squared_hinge", 1.0)])
def test_newton_reaches_it_where_positives_differ_from_negatives(loss: SvmLoss, c: float) -> None:
    problem = rare_positives(loss, c, signal=0.5)
    reached, bound = float(objective(problem, newton_cg(problem))), libsvm_bound(problem)
    assert bound * (1 - 1e-9) <= reached <= bound * (1 + 2e-3)
    if loss == "hinge":  # nothing is on the wrong side, so a larger C changes nothing
        assert reached == pytest.approx(1.419, rel=2e-3)


@pytest.mark.parametrize(
    ("loss", "c"), [("squared_hinge", 1e-3), ("squared_hinge", 0.1), ("hinge", 1e-3), ("hinge", 1e-2)]
)
def test_conjugate_gradients_alone_converge_while_c_is_small(
    loss: SvmLoss, c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = made_up_problem(loss, c)
    exact = torch.stack([objective(problem.column(j), newton_cg(problem.column(j)))[0] for j in range(4)])
    monkeypatch.setattr(svm, "_WELL_CONDITIONED", np.inf)
    monkeypatch.setattr(svm, "_GAP", np.inf)
    assert (objective(problem, newton_cg(problem)) <= 1.001 * exact).all()


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
@pytest.mark.parametrize("shape", [(300, 20), (100, 150)], ids=["Woodbury", "few examples"])
def test_examples_too_many_to_keep_their_products_have_the_same_solution(
    loss: SvmLoss, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    n, d = shape
    problem = made_up_problem(loss, 10.0, n, d, 1).column(0)
    kept = newton_cg(problem)
    monkeypatch.setattr(exact_svm, "GRAM_ROWS", 0)
    monkeypatch.setattr(rows, "_CHUNK", 100)
    torch.testing.assert_close(objective(problem, newton_cg(problem)), objective(problem, kept), rtol=2e-3, atol=0)


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
@pytest.mark.parametrize("c", [1e-4, 1e-2])
def test_the_gap_is_an_upper_bound(loss: SvmLoss, c: float) -> None:
    problem = made_up_problem(loss, c)
    solution = newton_cg(problem)
    smallest = objective(problem, solution)
    for part in (0.0, 0.5, 0.9):
        other = LinearClassifiers(part * solution.weights, part * solution.biases)
        above = 1 - smallest / objective(problem, other)
        assert (relative_gap(problem, other) >= above - 1e-6).all()
    assert (relative_gap(problem, LinearClassifiers.zeros(80, 4)) > 0.3).all()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_equal_examples_and_an_enormous_c_are_no_error(loss: SvmLoss, caplog: pytest.LogCaptureFixture) -> None:
    column = made_up_problem(loss, 1e6, 200, 20, 1).column(0)
    once = replace(column, x=column.x[column.rows], rows=None)
    twice = replace(once, x=once.x.repeat(2, 1), targets=once.targets.repeat(2, 1))
    doubled = replace(once, positive_cost=2 * once.positive_cost, negative_cost=2 * once.negative_cost)
    torch.testing.assert_close(
        objective(twice, newton_cg(twice)), objective(doubled, newton_cg(doubled)), rtol=2e-2, atol=0
    )
    assert not caplog.records
    contradiction = replace(once, x=once.x.repeat(2, 1), targets=torch.cat([once.targets, -once.targets]))
    assert newton_cg(contradiction).weights.isfinite().all()


def test_what_does_not_converge_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    problem = rare_positives("hinge", 100.0)
    newton_cg(problem)
    assert not caplog.records
    monkeypatch.setattr(exact_svm, "_OUTER_STEPS", 1)
    newton_cg(problem)
    assert "an SVM did not converge" in caplog.text


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
def test_the_bias_multiplier_frees_the_bias(solve: object) -> None:
    problem = made_up_problem()
    for multiplier in (1.0, 30.0):
        scaled = SvmProblem(
            problem.x + 5, problem.targets, problem.positive_cost, problem.negative_cost, multiplier, "squared_hinge"
        )
        classifiers = newton_cg(scaled)
        values = objective(scaled, classifiers)
        for change in (0.98, 1.02):  # the solution is where the objective is smallest in the bias, too
            assert (
                objective(scaled, LinearClassifiers(classifiers.weights, classifiers.biases * change)) >= values - 1e-6
            ).all()


def test_columns_are_solved_on_their_own() -> None:
    problem = made_up_problem()
    together = newton_cg(problem)
    for j in range(4):
        alone = newton_cg(problem.column(j))
        value = objective(problem, LinearClassifiers(alone.weights.expand(-1, 4), alone.biases.expand(4)))[j]
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
    classifiers = newton_cg(problem, tolerance=1e-9)
    assert classifiers.weights.item() == pytest.approx(0.5, abs=1e-5)
    assert classifiers.biases.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
def test_nothing_to_learn_is_no_error(solve: object) -> None:
    empty = SvmProblem(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int8), torch.ones(2), torch.ones(2))
    for name in ("newton_cg", "liblinear"):
        assert not solver_named(name)(empty, None).weights.any()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="solver must be newton_cg or liblinear"):
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


def test_c_of_one_column_is_the_one_that_liblinear_ranks_held_out_images_best_with() -> None:
    """A column alone goes by inner products; scikit-learn's solver, fold by fold, is the reference."""
    from sklearn.metrics import average_precision_score
    from sklearn.svm import LinearSVC

    from wsdet.detectors.rcnn.cross_validation import choose_c

    rng = np.random.default_rng(3)
    targets = np.where(np.arange(90) % 4 == 0, 1, -1)
    x = (rng.normal(0, 1, (90, 12)) + 0.25 * targets[:, None]).astype(np.float32)
    images, cs = np.arange(90), (1e-3, 1e-1, 1e1)
    one = torch.ones(1)
    problem = SvmProblem(
        torch.from_numpy(x), torch.from_numpy(targets[:, None].astype(np.int8)), one, one, 1.0, "hinge"
    )
    fold_of = np.random.default_rng(0).permutation(90) % 3
    precision = np.zeros(3)
    for fold in range(3):
        learned, others = fold_of != fold, fold_of == fold
        for index, c in enumerate(cs):
            reference = LinearSVC(C=c, loss="hinge", tol=1e-8, max_iter=10**6).fit(x[learned], targets[learned])
            scores = reference.decision_function(x[others])
            precision[index] += average_precision_score(targets[others] > 0, scores)
    assert np.ptp(precision) > 0.1  # C matters here
    assert choose_c(problem.with_gram(), images, cs, 3, newton_cg, seed=0).tolist() == [cs[precision.argmax()]]
    assert choose_c(problem, images, cs, 3, newton_cg, seed=0).tolist() == [cs[precision.argmax()]]


@pytest.mark.parametrize("squared", [False, True])
def test_a_path_of_c_solves_each_of_its_problems(squared: bool) -> None:
    problem = rare_positives("squared_hinge" if squared else "hinge", 1.0)
    gram, factors = Gram(problem.examples, 1.0), (1e-3, 1e-1, 1e3, 1e4)
    targets, costs = problem.targets[:, 0].double(), problem.costs()[:, 0].double()
    path = list(solution_path(gram, targets, costs, factors, squared))
    for beta, factor in zip(path, factors, strict=True):
        alone, gap = solve_exactly(gram, targets, factor * costs, squared)
        assert gap < 1e-5
        assert (gram.times(beta - alone) @ (beta - alone)) <= 1e-4 * (gram.times(alone) @ alone)  # as |w| counts it
    assert (path[2] is path[3]) is not squared  # the hinge is not solved again where no multiplier is at its cost


@pytest.mark.parametrize("solve", [newton_cg, liblinear])
@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_a_weight_of_two_is_the_example_twice(solve: Solver, loss: SvmLoss) -> None:
    problem = made_up_problem(loss)
    twice = torch.arange(len(problem.x)) % 3 == 0
    weighted = replace(problem, weights=1.0 + twice)
    # negatives weigh one whatever their weight, so only positives are repeated
    again = torch.where(problem.targets[twice] > 0, problem.targets[twice], 0)
    repeated = replace(
        problem, x=torch.cat([problem.x, problem.x[twice]]), targets=torch.cat([problem.targets, again.to(torch.int8)])
    )
    classifiers = solve(weighted, None)
    torch.testing.assert_close(objective(weighted, classifiers), objective(repeated, classifiers))
    assert (objective(repeated, classifiers) <= 1.002 * objective(repeated, solve(repeated, None))).all()


def test_solvers_agree_on_weighted_examples() -> None:
    problem = made_up_problem()
    weights = torch.rand(len(problem.x), generator=torch.Generator().manual_seed(1)) * 2
    weighted = replace(problem, weights=weights)
    ours, reference = objective(weighted, newton_cg(weighted)), objective(weighted, liblinear(weighted))
    torch.testing.assert_close(ours, reference, rtol=1e-3, atol=0)
    with pytest.raises(ValueError, match="weights must have shape"):
        replace(problem, weights=weights[:-1])
