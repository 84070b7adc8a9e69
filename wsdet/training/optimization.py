"""What the optimizers of trainings have in common: what decays, and how the learning rate rises and falls."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

_FIRST_RATE = 0.01  # relative to the highest, at which the warm-up begins


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that are trained; biases and normalization do not decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def warm_up_and_cosine(optimizer: Optimizer, n_steps: int, warm_up: float) -> dict[str, Any]:
    """What a Lightning module's `configure_optimizers` returns.

    The learning rate rises linearly over the first part of the steps, then falls to 0 as a cosine.

    Args:
        optimizer: with its highest learning rate.
        n_steps: of the whole training.
        warm_up: share of the steps in which the rate rises, in [0, 1).
    """
    n_steps = max(2, n_steps)
    n_warm = min(n_steps - 1, max(1, round(warm_up * n_steps)))
    parts = [LinearLR(optimizer, _FIRST_RATE, total_iters=n_warm), CosineAnnealingLR(optimizer, n_steps - n_warm)]
    schedule = SequentialLR(optimizer, parts, [n_warm])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
