"""Features of images that are described once, however many passes a training makes."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)

_MOST = 16e9  # bytes
_SHARE = 0.5  # of the disk's free space, at most


class KeptFeatures:
    """Keeps features as float16 in a file that is mapped into memory, and is gone with the process.

    What does not fit is described anew each time, and rounded like the rest: results are the same whatever the room.
    On a GPU nothing is kept, as describing takes less than fetching. A copy in another process has a file of its own.

    Args:
        describe: gives the (n, d) features of an image, by its id.
        folder: on whose disk the file lies.
    """

    def __init__(self, describe: Callable[[str], Tensor], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._describe = describe
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as this lives
        weakref.finalize(self, self._file.close)
        self._room = min(_MOST, _SHARE * shutil.disk_usage(folder).free)
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}

    def __call__(self, image_id: str) -> Tensor:
        """(n, d) float16, a tensor of the caller's own.

        Raises:
            InputError: the image cannot be read.
        """
        if image_id in self._places:
            offset, shape = self._places[image_id]
            mapped = np.memmap(self._file, np.float16, "r", offset, shape)
            return torch.from_numpy(np.array(mapped))
        rounded = self._describe(image_id).half()
        if rounded.device.type == "cpu" and rounded.numel() and rounded.nbytes <= self._room:
            self._keep(image_id, rounded)
        return rounded

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptFeatures, (self._describe, self._folder)

    def _keep(self, image_id: str, rounded: Tensor) -> None:
        try:
            offset = self._file.seek(0, 2)
            self._file.write(rounded.numpy().tobytes())
            self._file.flush()
        except OSError as error:
            log.info("features are not kept for the passes to come, which take longer: %s", error)
            self._room = 0
            return
        self._room -= rounded.nbytes
        self._places[image_id] = offset, tuple(rounded.shape)
