"""`RcnnSvm`: the papers' detectors, a linear SVM for each class over features of proposals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from wsdet import check
from wsdet.detectors.rcnn.detector import RcnnDetector, train_detectors
from wsdet.detectors.rcnn.features import BoxFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.svm import SOLVERS
from wsdet.detectors.trainer import TrainingSet
from wsdet.networks.classifier import Network
from wsdet.storage.fingerprints import Fingerprints
from wsdet.storage.provenance import claim


class Costs(NamedTuple):
    """What a training's time and disk depend on.

    Attributes:
        features: describes boxes.
        max_proposals: of an image that are looked at; 0: all.
        passes: over the images.
        cache_gigabytes: feature maps kept on disk.
    """

    features: BoxFeatures
    max_proposals: int
    passes: int
    cache_gigabytes: float


class RcnnSvm:
    """Trains `RcnnDetector`s, all in the same passes over the images.

    Args:
        feature_kinds: what describes boxes, by name: each takes the network.
        protocols: rules of training, by name.
        features: a key of `feature_kinds`.
        protocol: a key of `protocols`.
        solver: see `train_detectors`, as for the next two.
        max_rows: examples held at once; None: what a third of the free memory holds.
        box_regression: each class also learns how to move its boxes.
        cache_gigabytes: feature maps of training images kept on disk; 0: none.
        nms_iou: see `RcnnDetector`, as for the next two.
        max_per_class: proposals of a class that reach non-maximum suppression.
        max_per_image: detections of an image; 0: all.

    Raises:
        InputError: an argument is out of its range.
    """

    needs_proposals = True

    def __init__(
        self,
        feature_kinds: Mapping[str, Callable[..., BoxFeatures]],
        protocols: Mapping[str, TrainingProtocol],
        features: str = "roi",
        protocol: str = "fast",
        solver: str = "newton_cg",
        max_rows: int | None = None,
        box_regression: bool = False,
        cache_gigabytes: float = 16,
        nms_iou: float = 0.3,
        max_per_class: int = 100,
        max_per_image: int = 100,
    ) -> None:
        check.one_of(feature_kinds, features=features)
        check.one_of(protocols, protocol=protocol)
        check.one_of(SOLVERS, solver=solver)
        check.at_least(1, max_per_class=max_per_class)
        if max_rows is not None:
            check.at_least(1, max_rows=max_rows)
        check.at_least(0, max_per_image=max_per_image)
        check.at_least(0.0, cache_gigabytes=cache_gigabytes)
        check.share(nms_iou=nms_iou)
        self._features_of = feature_kinds[features]
        self._protocol = protocols[protocol]
        self._solver = solver
        self._max_rows = max_rows
        self._box_regression = box_regression
        self._cache_gigabytes = cache_gigabytes
        self._suppression = (nms_iou, max_per_class, max_per_image)

    def costs(self, network: Network) -> Costs:
        """What `wsdet.doctor plan` measures with."""
        features, protocol = self._features_of(network=network), self._protocol
        return Costs(features, protocol.max_proposals, 1 + protocol.rounds, self._cache_gigabytes)

    def train(self, data: TrainingSet, folder: Path) -> dict[str, RcnnDetector]:
        """See `wsdet.detectors.trainer.DetectorTrainer`."""
        claim(folder, data.depends_on)
        features = self._features_of(network=data.network)
        if all((folder / name / "model.json").exists() for name in data.positives):
            return {name: RcnnDetector.load(folder / name, features=features) for name in data.positives}
        cache = None
        if data.cache and self._cache_gigabytes:
            cache = MapCache(data.cache, features, self._cache_gigabytes, Fingerprints(data.dataset, labels=False))
        detectors = train_detectors(
            data.dataset,
            data.ids,
            data.positives,
            data.proposals,
            features,
            self._protocol,
            self._solver,
            data.seed,
            self._max_rows,
            cache,
            data.strict,
            data.proposal_settings,
            *self._suppression,
            self._box_regression,
        )
        for name, trained in detectors.items():
            trained.save(folder / name)
        return detectors
