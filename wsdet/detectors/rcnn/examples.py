"""`ExamplePool`: the boxes that all SVMs of a run learn from, with their features, in bounded memory."""

from __future__ import annotations

import copy
import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsdet import check
from wsdet.storage.memory import free_bytes
from wsdet.types import Bools, Floats, InputError, Ints

Targets = npt.NDArray[np.int8]

POSITIVE_BOX = -1  # what `boxes` says of a row that is no proposal
_CHUNK = 4096
STORED = torch.float16  # scores change by a thousandth at most, less than the maps' own rounding does to features
_MOST_ROWS = 120_000
_SHARE = 1 / 3  # of the free memory

log = logging.getLogger(__name__)


def bytes_of_row(dim: int) -> int:
    """What the features of one example take."""
    return dim * STORED.itemsize


def rows_that_fit(dim: int, device: torch.device) -> int:
    """How many rows of `dim` numbers take at most a third of the free memory, and at most 120,000."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes()
    n = max(1, min(_MOST_ROWS, int(_SHARE * free) // bytes_of_row(dim)))
    log.info(
        "detector.max_rows=%d: at most %.2g GB of examples, of %.2g GB that are free",
        n,
        n * bytes_of_row(dim) / 1e9,
        free / 1e9,
    )
    return n


class ExamplePool:
    """Rows of features with a target for each task (a class of a detector).

    It holds at most `max_rows * dim * 2` bytes of features; training reads them in place (`Rows`).

    Attributes:
        x: (max_rows, dim) float16 features; the first `len(self)` rows are in use.
        targets: (max_rows, n_tasks) int8: 1 positive, -1 negative, 0 no example of the task.
        images: (max_rows,) index of a row's image.
        boxes: (max_rows,) index of a row among its image's proposals; `POSITIVE_BOX` for a positive.
        weights: (max_rows,) how often a row counts as a positive.
    """

    def __init__(self, dim: int, n_tasks: int, max_rows: int, device: torch.device) -> None:
        check.at_least(1, max_rows=max_rows)
        self.max_rows = max_rows
        self.x = torch.empty(
            max_rows, dim, dtype=STORED, device=device
        )  # a CPU gives the memory page by page, as rows are used
        self.targets: Targets = np.zeros((max_rows, n_tasks), np.int8)
        self.images: Ints = np.zeros(max_rows, np.int64)
        self.boxes: Ints = np.zeros(max_rows, np.int64)
        self.weights: Floats = np.ones(max_rows, np.float32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def room(self) -> int:
        """Rows that can be added."""
        return self.max_rows - self._n

    def add(self, x: Tensor, targets: Targets, image: int, boxes: Ints, weights: Floats | float = 1) -> None:
        """Adds rows of one image.

        Raises:
            InputError: there is no room.
        """
        if len(x) > self.room:
            raise InputError(
                f"the detectors' examples do not fit: {self._n} rows of {self.max_rows} are taken and {len(x)} come; "
                "raise detector.max_rows (each takes the features' dimension x 2 bytes), or lower limit"
            )
        new = slice(self._n, self._n + len(x))
        self.x[new] = x
        self.targets[new] = targets
        self.images[new] = image
        self.boxes[new] = boxes
        self.weights[new] = weights
        self._n = new.stop

    def rows_of(self, image: int) -> Ints:
        """Rows of an image's proposals."""
        return np.flatnonzero((self.images[: self._n] == image) & (self.boxes[: self._n] != POSITIVE_BOX))

    def known(self, image: int, n_boxes: int) -> Bools:
        """(n_boxes, n_tasks) whether a proposal of an image is an example of a task."""
        known = np.zeros((n_boxes, self.targets.shape[1]), bool)
        rows = self.rows_of(image)
        known[self.boxes[rows]] = self.targets[rows] != 0
        return known

    def without_features(self) -> ExamplePool:
        """The rows in use, without their features, as they are now."""
        bare = copy.copy(self)
        bare.x = self.x[:0].cpu()
        bare.targets, bare.images = self.targets[: self._n].copy(), self.images[: self._n].copy()
        bare.boxes, bare.weights = self.boxes[: self._n].copy(), self.weights[: self._n].copy()
        return bare

    def keep(self, mask: Bools) -> None:
        """Forgets the rows where the (len(self),) mask is False."""
        rows = np.flatnonzero(mask)
        for start in range(0, len(rows), _CHUNK):  # rows only move down, so this needs no second copy
            chunk = torch.from_numpy(rows[start : start + _CHUNK]).to(self.x.device)
            self.x[start : start + len(chunk)] = self.x[chunk]
        for column in (self.targets, self.images, self.boxes, self.weights):
            column[: len(rows)] = column[rows]
        self._n = len(rows)
