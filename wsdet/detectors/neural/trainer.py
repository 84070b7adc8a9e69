"""`TorchvisionDetectors`: detectors of torchvision over the run's own network, one for each set of boxes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from wsdet import check
from wsdet.detectors.neural.detector import NeuralDetector, build_detector, resize
from wsdet.detectors.neural.examples import make_target
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions, WeakLosses
from wsdet.detectors.neural.training import train_detector
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.classifier import Network
from wsdet.storage.provenance import claim
from wsdet.types import Boxes, Sample


class Costs(NamedTuple):
    """What a training's time depends on.

    Attributes:
        step_seconds: of a training step, for one image.
        detect_seconds: of detecting, for one image.
        epochs: passes over the images.
    """

    step_seconds: float
    detect_seconds: float
    epochs: int


class TorchvisionDetectors:
    """Trains `NeuralDetector`s one after the other, with one seed and one schedule.

    Args:
        model: the detector.
        training: how it is trained.
        losses: what weak labels change in the losses.
        backbone: "network": the run's network with its weights; "imagenet": its architecture with torchvision's or
            timm's published weights, which are downloaded.
        memory_gib: training images are kept in memory up to so much.
        workers: processes that read and change images in training; 0: the training does it itself.

    Raises:
        InputError: a value is out of its range.
    """

    needs_proposals = False

    def __init__(
        self,
        model: ModelOptions,
        training: TrainingOptions | None = None,
        losses: WeakLosses | None = None,
        backbone: Literal["network", "imagenet"] = "network",
        memory_gib: float = 4.0,
        workers: int = 0,
    ) -> None:
        check.one_of(("network", "imagenet"), backbone=backbone)
        check.at_least(0.0, memory_gib=memory_gib)
        check.at_least(0, workers=workers)
        self._model = model
        self._training = training or TrainingOptions()
        self._losses = losses or WeakLosses()
        self._backbone = backbone
        self._memory_gib = memory_gib
        self._workers = workers

    def costs(self, network: Network, samples: Sequence[Sample], n_classes: int) -> Costs:
        """What `wsdet.doctor plan` says: measured on these images, forward and back."""
        options = self._model.fitted_to(network.input_size)
        model = build_detector(options, self._backbone_of(network), n_classes, self._losses)
        model.train().to(network.device)
        inputs = [
            torch.from_numpy(resize(one.pixels, options.size_of(one.size_hw))).permute(2, 0, 1).to(network.device)
            for one in samples
        ]
        whole = [Boxes(np.array([[0, 0, x.shape[2], x.shape[1]]], np.float32), labels=np.zeros(1, int)) for x in inputs]
        targets = [
            {name: value.to(network.device) for name, value in make_target(boxes, (0,), n_classes).items()}
            for boxes in whole
        ]
        for _ in range(2):  # the first warms up
            start = time.perf_counter()
            torch.stack(list(model([x.float() / 255 for x in inputs], targets).values())).sum().backward()
            step = (time.perf_counter() - start) / len(samples)
        detector = NeuralDetector(model, [str(n) for n in range(n_classes)], options, {}, str(network.device))
        start = time.perf_counter()
        for sample in samples:
            detector.detect(sample)
        return Costs(step, (time.perf_counter() - start) / len(samples), self._training.epochs)

    def train(self, data: TrainingSet, folder: Path) -> dict[str, NeuralDetector]:
        """See `wsdet.detectors.trainer.DetectorTrainer`."""
        claim(folder, data.depends_on)
        backbone = self._backbone_of(data.network)
        return {
            name: train_detector(
                data.dataset,
                data.ids,
                positives,
                backbone,
                folder / name,
                model=self._model,
                training=self._training,
                losses=self._losses,
                trainer_options=data.trainer,
                workers=self._workers,
                memory_gib=self._memory_gib,
                device=str(data.network.device),
                precision=str(data.network.dtype).removeprefix("torch."),
                seed=data.seed,
                name=name,
            )
            for name, positives in data.positives.items()
        }

    def _backbone_of(self, network: Network) -> Backbone:
        own = network.backbone
        if self._backbone == "network":
            return own
        return build_backbone(own.architecture, input_size=own.input_size, weights="imagenet")
