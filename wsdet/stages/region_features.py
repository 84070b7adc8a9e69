"""Features of the proposals of images, as the training of a region classifier asks for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.storage.fingerprints import Fingerprints
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Dataset, Floats

if TYPE_CHECKING:
    from wsdet.networks.classifier import Network


class ProposalFeatures:
    """Features of the best proposals of an image, from maps that are kept on disk.

    Processes of one training each get a copy, which makes a network of its own on the process's device when it is
    first asked.

    Args:
        dataset: holds the images.
        proposals: boxes by image id.
        n_proposals: maximum number of them in an image; 0: all.
        network: makes the maps.
        cache: folder of the maps.
        tiling: tiles off whose maps they are read; None: off the image's.

    Attributes:
        grid: cells along a side of a region whose averages the features are.
        settings: of the features, as plain JSON values.
    """

    def __init__(
        self,
        dataset: Dataset,
        proposals: Mapping[str, Boxes],
        n_proposals: int,
        network: Network,
        cache: Path,
        tiling: Tiling | None = None,
    ) -> None:
        self._dataset = dataset
        self._proposals = proposals
        self._n_proposals = n_proposals
        self._cache = cache
        self._tile = tiling.side if tiling else None
        self._tile_overlap = tiling.overlap if tiling else Tiling.overlap
        self._parts = network.parts
        features, maps = self._open(network)
        self.grid, self.settings = features.grid, features.settings
        self._opened: tuple[RoiFeatures, MapCache] | None = (features, maps)

    def xyxy_of(self, image_id: str) -> Floats:
        """(n, 4) corners of the proposals."""
        return self._proposals[image_id].xyxy[: self._n_proposals or None]

    def __call__(self, image_id: str) -> Tensor:
        """(n, d) their features, on the network's device.

        Raises:
            InputError: the image cannot be read.
        """
        if self._opened is None:
            self._opened = self._open(self._parts.network(_process_of_node()))
        features, cache = self._opened
        maps = cache.maps(image_id, lambda: features.maps(self._dataset.load(image_id)))
        return features.features(maps, self.xyxy_of(image_id))

    def __getstate__(self) -> dict[str, Any]:
        """What travels: a network's parts, and not what holds a device."""
        return self.__dict__ | {"_opened": None}

    def _open(self, network: Network) -> tuple[RoiFeatures, MapCache]:
        features = RoiFeatures(network, tile=self._tile, tile_overlap=self._tile_overlap)
        return features, MapCache(self._cache, features, fingerprint=Fingerprints(self._dataset, labels=False))


def _process_of_node() -> int:
    """The number of this process among those of a training on this machine."""
    if "LOCAL_RANK" in os.environ:  # several nodes, under torchrun
        return int(os.environ["LOCAL_RANK"])
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
