"""`TorchvisionDetectors`: detectors of torchvision over the run's own network, one for each set of boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from wsdet import check
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.detectors.neural.mean_teacher import Teaching
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions, WeakLosses
from wsdet.detectors.neural.training import train_detector
from wsdet.detectors.self_training import MeanTeacher
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.classifier import Network
from wsdet.storage.provenance import check_settings
from wsdet.types import Detector


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

    def memory(self, n_images: int, n_detectors: int, network: Network) -> float:
        """See `wsdet.detectors.trainer.DetectorTrainer`: images as they are kept, four by three."""
        short, long = sorted(self._model.fitted_to(network.backbone.input_size).size_of((3, 4)))
        return min(self._memory_gib * 2**30, 3.0 * n_images * short * long)

    def train(self, data: TrainingSet, folder: Path) -> dict[str, NeuralDetector]:
        """See `wsdet.detectors.trainer.DetectorTrainer`."""
        check_settings(folder, data.depends_on)
        backbone = self._backbone_of(data.network)
        return {name: self._train(data, name, backbone, folder, self._training) for name in data.positives}

    def teach(self, data: TrainingSet, start: Detector, options: MeanTeacher, folder: Path) -> NeuralDetector:
        """See `wsdet.detectors.trainer.StepwiseTrainer`."""
        if not isinstance(start, NeuralDetector):
            raise ValueError(f"a mean teacher starts from a neural detector, got a {type(start).__name__}")
        check_settings(folder, data.depends_on)
        training = replace(
            self._training,
            epochs=options.epochs,
            learning_rate=self._training.learning_rate * options.learning_rate_share,
        )
        (name,) = data.positives
        backbone = self._backbone_of(data.network)
        return self._train(data, name, backbone, folder, training, Teaching(options, start))

    def _train(
        self,
        data: TrainingSet,
        name: str,
        backbone: Backbone,
        folder: Path,
        training: TrainingOptions,
        teaching: Teaching | None = None,
    ) -> NeuralDetector:
        return train_detector(
            data.dataset,
            data.ids,
            data.positives[name],
            backbone,
            folder / name,
            model=self._model,
            training=training,
            losses=self._losses,
            trainer_options=data.trainer,
            workers=self._workers,
            memory_gib=self._memory_gib,
            device=str(data.network.device),
            precision=str(data.network.dtype).removeprefix("torch."),
            seed=data.seed,
            name=name,
            teaching=teaching,
        )

    def _backbone_of(self, network: Network) -> Backbone:
        own = network.backbone
        if self._backbone == "network":
            return own
        return build_backbone(own.architecture, input_size=own.input_size, weights="imagenet")
