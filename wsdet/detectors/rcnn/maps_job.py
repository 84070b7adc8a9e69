"""Feature maps made by several workers: the part of mining that takes the time, and needs one image alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from wsdet.detectors.rcnn.features import BoxFeatures, Maps, build_features
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.networks.classifier import NetworkParts
from wsdet.runners.job import Runner
from wsdet.types import Dataset, InputError

Levels = tuple[tuple[np.ndarray[Any, Any], ...], tuple[int, int]]  # `Maps` as arrays, which travel


@dataclass
class MapsJob:
    """Maps of images; see `wsdet.runners.job.Job`."""

    dataset: Dataset
    network: NetworkParts
    settings: Mapping[str, Any]
    chunk_size: int = 16  # of a few MB each

    def packed(self) -> MapsJob:
        """As it is."""
        return self

    def open(self, worker: int = 0) -> _MapsAtWork:
        """With its network on the device."""
        return _MapsAtWork(self.dataset, build_features(self.network.network(worker), **self.settings))


@dataclass
class _MapsAtWork:
    dataset: Dataset
    features: BoxFeatures
    n_forward_passes: int = 0  # those of localizers alone are counted

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, Levels | InputError]]:
        for image_id in ids:
            try:
                maps = self.features.maps(self.dataset.load(image_id))
            except InputError as error:
                yield image_id, error
            else:
                yield image_id, (tuple(level.cpu().numpy() for level in maps.levels), maps.size_hw)


def fill(cache: MapCache, dataset: Dataset, ids: Sequence[str], features: BoxFeatures, runner: Runner) -> None:
    """Keeps the maps of images in a cache, until it is full; who reads the others, makes them.

    Args:
        cache: of `features`.
        dataset: holds the images; one that cannot be read is left out here, and said by whoever wants it.
        ids: the images.
        features: makes the maps.
        runner: where they are made.
    """
    job = MapsJob(dataset, features.network.parts, features.settings)
    for image_id, outcome in runner.run(job, [image_id for image_id in ids if not cache.has(image_id)]):
        if isinstance(outcome, InputError):
            continue
        levels, size_hw = outcome
        if not cache.keep(image_id, Maps(tuple(map(torch.from_numpy, levels)), size_hw)):
            return
