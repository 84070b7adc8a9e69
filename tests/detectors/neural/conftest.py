"""Small detectors with random weights: the built-in network, 64 channels, inputs of 64 pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from wsdet.detectors.neural import training
from wsdet.detectors.neural.detector import NeuralDetector, build_detector
from wsdet.detectors.neural.options import Kind, ModelOptions, WeakLosses
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.training.resumable import fit
from wsdet.types import Boxes

N_CLASSES = 3

Kill = Callable[[Callable[[], object]], None]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return build_backbone("tiny", input_size=64)


def small_options(kind: Kind) -> ModelOptions:
    return ModelOptions(kind, channels=64, short_side=64, square=kind == "ssdlite")


@pytest.fixture
def kill_in_second_epoch(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Runs a training of a detector that is killed when its second epoch starts."""

    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                raise KeyError("killed")

    def fit_and_stop(*arguments: Any) -> Any:
        module, batches, out, epochs, name, options, callbacks = arguments
        return fit(module, batches, out, epochs, name, options, [*callbacks, Stop()])

    def run(train: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(training, "fit", fit_and_stop)
            with pytest.raises(KeyError, match="killed"):
                train()

    return run


@pytest.fixture
def model_of(backbone: Backbone) -> Callable[..., nn.Module]:
    """Builds a model in training mode, the same in every call."""

    def build(kind: Kind, losses: WeakLosses | None = None) -> nn.Module:
        torch.manual_seed(0)
        return build_detector(small_options(kind), backbone, N_CLASSES, losses).train()

    return build


@pytest.fixture
def detector_of(model_of: Callable[..., nn.Module]) -> Callable[..., NeuralDetector]:
    def build(kind: Kind) -> NeuralDetector:
        network = {"architecture": "tiny", "input_size": 64}
        return NeuralDetector(model_of(kind), ("square", "bar", "disc"), small_options(kind), network, "cpu")

    return build


def target(
    boxes: list[list[float]],
    labels: list[int],
    weights: list[float] | None = None,
    ignored: list[list[float]] | None = None,
    present: list[int] | None = None,
    located: list[bool] | None = None,
) -> dict[str, Tensor]:
    """A target as `make_target` gives it, labels from 1."""
    is_present = torch.zeros(N_CLASSES + 1, dtype=torch.bool)
    is_present[labels + (present or [])] = True
    unboxed = is_present.clone()
    unboxed[labels] = False
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "weights": torch.tensor(weights or [1.0] * len(labels), dtype=torch.float32),
        "located": torch.tensor(located or [True] * len(labels), dtype=torch.bool),
        "ignored": torch.tensor(ignored or [], dtype=torch.float32).reshape(-1, 4),
        "present": is_present,
        "unboxed": unboxed,
    }


def boxes_of(
    xyxy: Sequence[Sequence[float]],
    labels: Sequence[int],
    scores: Sequence[float] | None = None,
    difficult: Sequence[bool] | None = None,
) -> Boxes:
    """Boxes from lists; of score 1 where none is given."""
    return Boxes(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.array([1.0] * len(labels) if scores is None else scores, np.float32),
        np.array(labels, np.int64),
        np.array([False] * len(labels) if difficult is None else difficult),
    )
