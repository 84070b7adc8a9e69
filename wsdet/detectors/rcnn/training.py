"""`RcnnSvm`: the papers' detectors, a linear SVM for each class over features of proposals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from wsdet import check
from wsdet.detectors.rcnn.detector import RcnnDetector, train_detectors
from wsdet.detectors.rcnn.examples import bytes_of_row, rows_that_fit
from wsdet.detectors.rcnn.features import BoxFeatures, RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.maps_job import fill
from wsdet.detectors.rcnn.options import SvmOptions
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.classifier import Network
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.provenance import check_settings


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
        )
        for name, trained in detectors.items():
            trained.save(folder / name)
        return detectors
