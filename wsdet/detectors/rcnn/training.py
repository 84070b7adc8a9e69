"""`RcnnSvm`: training of the papers' detectors, a linear SVM for each class over features of proposals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsdet import check
from wsdet.detectors.rcnn.box_regression import BoxShifts, train_box_regression
from wsdet.detectors.rcnn.calibration import calibrate
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.examples import bytes_of_row, rows_that_fit
from wsdet.detectors.rcnn.features import BoxFeatures, RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.maps_job import fill
from wsdet.detectors.rcnn.mining import SvmTrainer, TrainedTasks
from wsdet.detectors.rcnn.options import SvmOptions
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.classifier import Network
from wsdet.runners.job import Runner
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.provenance import check_settings
from wsdet.types import Boxes, Dataset, Floats


@dataclass(frozen=True, eq=False)
class RcnnSvm(SvmOptions):
    """Trains `RcnnDetector`s, all in the same passes over the images.

    Attributes:
        feature_kinds: what describes boxes, by name: each takes the network.
        protocols: rules of training, by name.
        features: a key of `feature_kinds`.
        protocol: a key of `protocols`.
        cache_gigabytes: feature maps of training images kept on disk; 0: none.

    Raises:
        InputError: a value is out of its range.
    """

    needs_proposals: ClassVar[bool] = True

    feature_kinds: Mapping[str, Callable[..., BoxFeatures]] = field(default_factory=lambda: {"roi": RoiFeatures})
    protocols: Mapping[str, TrainingProtocol] = field(default_factory=lambda: {"fast": TrainingProtocol()})
    features: str = "roi"
    protocol: str = "fast"
    cache_gigabytes: float = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(self.feature_kinds, features=self.features)
        check.one_of(self.protocols, protocol=self.protocol)
        check.at_least(0.0, cache_gigabytes=self.cache_gigabytes)

    def memory(self, n_images: int, n_detectors: int, network: Network) -> float:
        """See `wsdet.detectors.trainer.DetectorTrainer`: the examples, of which a few are forgotten again."""
        features, protocol = self.feature_kinds[self.features](network=network), self.protocols[self.protocol]
        of_image = protocol.random_negatives + protocol.rounds * n_detectors * protocol.hard_rows_per_image
        most = self.max_rows or rows_that_fit(features.dim, network.device)
        return float(bytes_of_row(features.dim) * min(most, n_images * of_image if of_image else most))

    def train(self, data: TrainingSet, folder: Path) -> dict[str, RcnnDetector]:
        """See `wsdet.detectors.trainer.DetectorTrainer`."""
        check_settings(folder, data.depends_on)
        features = self.feature_kinds[self.features](network=data.network)
        if all((folder / name / "model.json").exists() for name in data.positives):
            return {name: RcnnDetector.load(folder / name, features=features) for name in data.positives}
        cache = None
        if data.cache and self.cache_gigabytes:
            cache = MapCache(data.cache, features, self.cache_gigabytes, Fingerprints(data.dataset, labels=False))
            if data.runner is not None and isinstance(features, RoiFeatures):  # of others a map is the image itself
                fill(cache, data.dataset, data.ids, features, data.runner)
        detectors = train_detectors(
            data.dataset,
            data.ids,
            data.positives,
            data.proposals,
            features,
            self.protocols[self.protocol],
            self,
            data.seed,
            cache,
            data.strict,
            data.proposal_settings,
            data.runner,
        )
        for name, trained in detectors.items():
            trained.save(folder / name)
        return detectors


def train_detectors(
    dataset: Dataset,
    ids: Sequence[str],
    positives: Mapping[str, Mapping[str, Boxes]],
    proposals: Mapping[str, Boxes],
    features: BoxFeatures,
    protocol: TrainingProtocol | None = None,
    options: SvmOptions | None = None,
    seed: int = 0,
    cache: MapCache | None = None,
    strict: bool = False,
    proposal_settings: Mapping[str, Any] | None = None,
    runner: Runner | None = None,
    calibrated: bool = True,
) -> dict[str, RcnnDetector]:
    """Trains one detector for each entry of `positives`, all in the same passes over the images.

    What one detector learns does not depend on the others, unless the examples fill all of `max_rows`. They take
    `max_rows` x dim x 2 bytes (dim is 4608 for SqueezeNet and a 3 x 3 grid: 1.1 GB for 120,000), whatever the number
    of images.

    Args:
        dataset: gives images and their labels.
        ids: the images to learn from.
        positives: by detector's name, its labeled boxes by image id, each scored by its weight as a positive: 1 is
            the usual one. A box flagged difficult is ignored: it is no positive and no negative may overlap it.
        proposals: boxes by image id that negatives are taken from, best first.
        features: describes boxes.
        protocol: the rules; None takes `TrainingProtocol()`.
        options: how they are solved, and what they detect; None takes `SvmOptions()`.
        seed: of every random choice.
        cache: keeps the images' maps between passes; None computes them in every pass.
        strict: raise the first image's error instead of leaving the image out.
        proposal_settings: what made `proposals`, for the detectors' files.
        runner: where images are looked at; None: in this process.
        calibrated: scores are probabilities by images that classifiers had not seen; else by a fixed curve, which is
            enough to rank by.

    Raises:
        InputError: there is no positive box at all, or the examples do not fit into `max_rows`; or
            an argument is out of its range.
    """
    protocol, options = protocol or TrainingProtocol(), options or SvmOptions()
    solver, max_rows = options.solver, options.max_rows
    how = (solver, seed, max_rows, cache, strict, runner)
    trainer = SvmTrainer(dataset, ids, positives, proposals, features, protocol, *how)
    trained = trainer.run()
    shifts: Mapping[str, BoxShifts] = {}
    if options.box_regression:
        shifts = train_box_regression(
            ids,
            trainer.images.maps,
            positives,
            proposals,
            features,
            len(dataset.classes),
            trainer.scale,
            protocol.max_proposals,
        )
    calibrations = calibrate(trainer, positives, options.nms_iou) if calibrated else {}
    detectors = {}
    for index, name in enumerate(trained.tasks.detectors):
        weights, biases, c = _classifiers_of(trained, index, len(dataset.classes))
        detectors[name] = RcnnDetector(
            features,
            dataset.classes,
            weights,
            biases,
            proposal_settings,
            {"trained_on": name, "c": {dataset.classes[label]: value for label, value in c.items()}},
            options.nms_iou,
            options.max_per_class,
            options.max_per_image,
            protocol.max_proposals,
            shifts.get(name),
            calibrations.get(name),
        )
    return detectors


def _classifiers_of(trained: TrainedTasks, detector: int, n_classes: int) -> tuple[Floats, Floats, dict[int, float]]:
    """(n_classes, dim) weights, (n_classes,) biases and each class's C; classes without a task never score."""
    weights = np.zeros((n_classes, len(trained.classifiers.weights)), np.float32)
    biases, c = np.full(n_classes, -np.inf, np.float32), {}
    for task, (of, label) in enumerate(trained.tasks.pairs):
        if of == detector:
            weights[label] = trained.classifiers.weights[:, task].cpu().numpy()
            biases[label] = float(trained.classifiers.biases[task])
            c[label] = float(trained.c[task])
    return weights, biases, c
