"""Feature maps kept on disk, one file per image, so that every later pass over the images skips the network.

With SqueezeNet at three scales a VOC image takes about 3.7 MB; the network's half second becomes a few milliseconds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from wsdet import check
from wsdet.detectors.rcnn.features import BoxFeatures, Maps
from wsdet.storage import tensors
from wsdet.types import InputError

log = logging.getLogger(__name__)

_FORMAT = "wsdet feature maps 2"


class MapCache:
    """Keeps the maps of images until a number of bytes is reached, and computes the rest anew each time.

    Passes go over all images in a cycle, so keeping the first ones serves better than replacing the oldest.

    Args:
        folder: a sub-folder for each network and feature settings is made in it.
        features: what makes the maps; other settings never read its files.
        max_gigabytes: files are added up to this size.
        fingerprint: of an image, by its id; where it has changed, the maps are made anew.
    """

    def __init__(
        self,
        folder: Path | str,
        features: BoxFeatures,
        max_gigabytes: float = 16.0,
        fingerprint: Callable[[str], str] = str,
    ) -> None:
        check.at_least(0.0, max_gigabytes=max_gigabytes)
        described = json.dumps([features.network.fingerprint, str(features.network.dtype), features.settings])
        self.folder = Path(folder) / hashlib.sha256(described.encode()).hexdigest()[:16]
        self.max_bytes = max_gigabytes * 1e9
        self._fingerprint = fingerprint
        self._bytes = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def maps(self, image_id: str, compute: Callable[[], Maps]) -> Maps:
        """The maps of an image: from its file, or by `compute`, which are then kept.

        Raises:
            InputError: `compute` raised it.
        """
        path = self._path(image_id)
        if path.exists():
            try:
                return _read(path)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s cannot be read and is made anew: %s", path, error)
                self._bytes -= path.stat().st_size
                path.unlink()
        maps = compute()
        self._keep(path, maps)
        return maps

    def without_network(self) -> MapCache:
        """The same files, to which none are added; it can be sent to other processes."""
        reader = copy.copy(self)
        reader.max_bytes = 0.0
        return reader

    def has(self, image_id: str) -> bool:
        """Whether the maps of an image are kept."""
        return self._path(image_id).exists()

    def keep(self, image_id: str, maps: Maps) -> bool:
        """Keeps the maps of an image; whether there was room."""
        return self._keep(self._path(image_id), maps)

    def _path(self, image_id: str) -> Path:
        key = json.dumps([image_id, self._fingerprint(image_id)])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def _keep(self, path: Path, maps: Maps) -> bool:
        size = sum(level.nbytes for level in maps.levels)
        if self._bytes + size > self.max_bytes:
            return False
        levels = {str(index): level for index, level in enumerate(maps.levels)}
        try:
            tensors.save(path, levels, {"format": _FORMAT, "size_hw": list(maps.size_hw)}, durable=False)
        except InputError as error:
            log.warning("%s: not kept", error)
            return False
        self._bytes += path.stat().st_size
        return True


def _read(path: Path) -> Maps:
    found, header = tensors.load_torch(path, _FORMAT)
    h, w = header["size_hw"]
    levels = tuple(found[str(index)] for index in range(len(found)))
    if any(level.ndim != 3 or level.dtype not in (torch.float16, torch.uint8) for level in levels):
        raise ValueError("a level is no feature map")
    return Maps(levels, (int(h), int(w)))
