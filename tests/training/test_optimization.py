"""The learning rate over the steps, and which parameters decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wsdet.training.optimization import parameter_groups, warm_up_and_cosine


def rates(n_steps: int, warm_up: float) -> list[float]:
    """The learning rate at each step of a training whose highest is 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warm_up_and_cosine(optimizer, n_steps, warm_up)["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(n_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def test_the_rate_rises_for_its_share_of_the_steps_and_falls_to_0() -> None:
    found = rates(100, 0.1)
    assert found[0] == pytest.approx(0.01)
    assert found[5] == pytest.approx(0.505)
    assert found[10] == max(found) == 1
    assert found[55] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0, abs=1e-12)
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)


@pytest.mark.parametrize(("n_steps", "warm_up"), [(1, 0.1), (2, 0.0), (3, 0.99)])
def test_the_shortest_trainings_have_a_rate_in_every_step(n_steps: int, warm_up: float) -> None:
    assert all(0 < rate <= 1 for rate in rates(n_steps, warm_up)[:n_steps])


def test_weights_that_are_trained_decay_and_biases_do_not() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    layers[2].requires_grad_(False)
    decaying, others = parameter_groups(layers, 0.1)
    assert [decaying["weight_decay"], others["weight_decay"]] == [0.1, 0]
    assert [p.shape for p in decaying["params"]] == [(3, 2)]
    assert len(others["params"]) == 3
