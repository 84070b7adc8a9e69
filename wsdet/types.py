"""The carriers and Protocols that everything else speaks in. Read this file first.

Everything that finds boxes turns a `Sample` into `Boxes`; everything on disk between stages is a mapping
*image id -> `Boxes`*. A `Sample` carries no ground-truth boxes, so no weakly supervised method can see them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Split = Literal["train", "test"]


class InputError(ValueError):
    """Something from outside (a file, an annotation, a setting) cannot be used.

    The message names it, says what is allowed and what came, and gives the remedy. Stages record it for the
    image and go on; entry points print it without a traceback.
    """


@dataclass(frozen=True, eq=False)
class Boxes:
    """Parallel arrays, one row per box. Empty is an ordinary value; indexing gives `Boxes`.

    Attributes:
        xyxy: (n, 4) float32 corners (x1, y1, x2, y2) in pixels of the original image, continuous coordinates:
            width = x2 - x1.
        scores: (n,) float32, higher is better; zeros when not given.
        labels: (n,) int64 indices into `Dataset.classes`, -1 for no class; -1 when not given.
        difficult: (n,) bool, VOC's flag; False when not given.

    Raises:
        ValueError: the arrays' shapes do not match, or a corner is not finite, or x2 < x1 or y2 < y1.
    """

    xyxy: Floats
    scores: Floats = None  # type: ignore[assignment]
    labels: Ints = None  # type: ignore[assignment]
    difficult: Bools = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        xyxy = np.array(self.xyxy, dtype=np.float32).reshape(-1, 4) if np.size(self.xyxy) == 0 else self.xyxy
        xyxy = np.array(xyxy, dtype=np.float32)
        if xyxy.ndim != 2 or xyxy.shape[1] != 4:
            raise ValueError(f"xyxy must have shape (n, 4), got {xyxy.shape}")
        if not np.isfinite(xyxy).all():
            raise ValueError(f"xyxy must be finite, got {xyxy[~np.isfinite(xyxy).all(axis=1)][0].tolist()}")
        inverted = (xyxy[:, 2:] < xyxy[:, :2]).any(axis=1)
        if inverted.any():
            raise ValueError(f"xyxy must have x1 <= x2 and y1 <= y2, got {xyxy[inverted][0].tolist()}")
        object.__setattr__(self, "xyxy", xyxy)
        for name, dtype, fill in (("scores", np.float32, 0), ("labels", np.int64, -1), ("difficult", np.bool_, False)):
            given = getattr(self, name)
            column = np.full(len(xyxy), fill, dtype) if given is None else np.array(given, dtype=dtype)
            if column.shape != (len(xyxy),):
                raise ValueError(f"{name} must have shape ({len(xyxy)},) as xyxy has rows, got {column.shape}")
            object.__setattr__(self, name, column)
        for column in (self.xyxy, self.scores, self.labels, self.difficult):
            column.setflags(write=False)

    @classmethod
    def empty(cls) -> Boxes:
        """No boxes."""
        return cls(np.zeros((0, 4), np.float32))

    @classmethod
    def concatenate(cls, many: Iterable[Boxes]) -> Boxes:
        """All boxes of `many`, in order."""
        parts = [cls.empty(), *many]
        return cls(
            np.concatenate([part.xyxy for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.difficult for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: Any) -> Boxes:
        """The rows that a mask, slice, integer array or integer selects, always as `Boxes`."""
        if isinstance(index, (int, np.integer)):
            index = [int(index)]
        return Boxes(self.xyxy[index], self.scores[index], self.labels[index], self.difficult[index])

    def __iter__(self) -> Iterator[Boxes]:
        return (self[i] for i in range(len(self)))

    def rows_of(self, label: int) -> Ints:
        """(k,) rows of the boxes of a class, in their order; a box of no class stands for every one."""
        return np.flatnonzero((self.labels == label) | (self.labels == -1))

    def first_of(self, label: int) -> Boxes:
        """The first box of a class, the best of a localizer's; empty where it has none."""
        return self[self.rows_of(label)[:1]]

    def best_rows(self, top_k: int) -> Ints:
        """(k,) rows of the `top_k` boxes of highest score of each class, best first; equal scores as they come."""
        order = np.argsort(-self.scores, kind="stable")
        kept = np.zeros(len(self), np.bool_)
        for label in np.unique(self.labels):
            kept[order[self.labels[order] == label][:top_k]] = True
        return order[kept[order]]


def readable(boxes: Mapping[str, Boxes], ids: Iterable[str], otherwise: str) -> Iterator[tuple[str, Boxes]]:
    """(image id, boxes) of the images whose boxes are there and can be read.

    Args:
        boxes: by image id; reading some may raise an `InputError`, which is logged.
        ids: the images.
        otherwise: what becomes of an image whose boxes cannot be read, for the log: "is not counted".
    """
    for image_id in ids:
        try:
            if image_id not in boxes:
                continue
            found = boxes[image_id]
        except InputError as error:
            log.warning("%s %s: %s", image_id, otherwise, error)
        else:
            yield image_id, found


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its class labels, and nothing more.

    Attributes:
        image_id: unique in its dataset over all splits.
        pixels: (h, w, 3) uint8 RGB, EXIF orientation applied.
        labels: sorted indices into `Dataset.classes`, without repeats; empty when the image has no label.
    """

    image_id: str
    pixels: Pixels
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels of {self.image_id!r} must be (h, w, 3) uint8, got {self.pixels.shape} {self.pixels.dtype}"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


class Dataset(Protocol):
    """Labeled images in two splits, with ground-truth boxes where they exist."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split, in a fixed order; empty when there is no such split."""

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image, without reading its pixels."""

    def load(self, image_id: str) -> Sample:
        """The image.

        Raises:
            InputError: the file is missing or is not an image that can be read.
        """

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Ground-truth boxes by image id; an image without annotation is absent.

        For evaluation, and for what is explicitly configured to train on boxes.
        """


class ProposalSource(Protocol):
    """A class-agnostic source of boxes that needs nothing but the image."""

    def propose(self, sample: Sample) -> Boxes:
        """Boxes of an image, best first, labels -1."""


class Detector(Protocol):
    """A trained detector."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `Boxes.labels` index."""

    @property
    def needs_proposals(self) -> bool:
        """Whether `detect` looks at proposals."""

    @property
    def device_type(self) -> str:
        """Where it runs, "cpu" or "cuda"."""

    @property
    def precision(self) -> str:
        """Of its forward passes: "float32", "bfloat16" or "float16"."""

    def detect(self, sample: Sample, proposals: Boxes) -> Boxes:
        """Scored and labeled boxes of an image after non-maximum suppression, best first."""
