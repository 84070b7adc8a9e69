"""Labeled images as squares of one size, read once when they fit into memory, and their random changes in training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import data

from wsdet.progress import Bar
from wsdet.types import Dataset, InputError

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]

_MASK_SIDES = (0.1, 0.5)


class LabeledImages(data.Dataset[Batch]):
    """Images of a data set, squeezed to squares as the network sees them, with their class labels.

    Args:
        dataset: where they come from.
        ids: which.
        side: side of the squares in pixels.

    Attributes:
        ids: the images; those that could not be read are gone after `keep_in_memory`.
    """

    def __init__(self, dataset: Dataset, ids: Sequence[str], side: int) -> None:
        self.dataset = dataset
        self.ids = tuple(ids)
        self.side = side
        self._targets = _multi_hot([dataset.labels(image_id) for image_id in self.ids], len(dataset.classes))
        self._kept: Tensor | None = None

    @property
    def n_bytes(self) -> int:
        """Memory that all images need."""
        return len(self.ids) * 3 * self.side**2

    def keep_in_memory(self, workers: int) -> None:
        """Reads every image now, in `workers` processes, and drops those that cannot be read."""
        loader = data.DataLoader(_Each(self), batch_size=None, num_workers=workers)
        read = torch.empty((len(self.ids), 3, self.side, self.side), dtype=torch.uint8)
        good: list[int] = []
        for index, image in enumerate(Bar(loader, desc="reading images", unit="image", smoothing=0.1)):
            if isinstance(image, Tensor):
                read[len(good)] = image
                good.append(index)
            else:
                log.warning("%s", image)
        self.ids = tuple(self.ids[index] for index in good)
        self._targets = self._targets[good]
        self._kept = read[: len(good)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """(b, 3, side, side) uint8 images and their (b, k) float32 labels of 0 and 1, of those that can be read."""
        if self._kept is not None:
            return self._kept[indices], self._targets[indices]
        read = [(index, self.read(index)) for index in indices]
        good = [(index, image) for index, image in read if isinstance(image, Tensor)]
        for _, reason in read:
            if not isinstance(reason, Tensor):
                log.warning("%s", reason)
        images = torch.empty((len(good), 3, self.side, self.side), dtype=torch.uint8)
        for row, (_, image) in enumerate(good):
            images[row] = image
        return images, self._targets[[index for index, _ in good]]

    def read(self, index: int) -> Tensor | str:
        """(3, side, side) uint8 image, or why it cannot be read."""
        image_id = self.ids[index]
        try:
            pixels = self.dataset.load(image_id).pixels
        except InputError as error:
            return f"{image_id}: {error}"
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        return F.interpolate(image, (self.side, self.side), mode="bilinear", antialias=True)[0]


def keep_in_memory(parts: Sequence[LabeledImages], memory_gib: float, workers: int) -> bool:
    """Whether all images fit into `memory_gib`; they are read then, in `workers` processes.

    Raises:
        InputError: none of the first part, the training images, can be read.
    """
    fits = sum(images.n_bytes for images in parts) <= memory_gib * 2**30
    for part, images in enumerate(parts if fits else ()):
        n_images = len(images)
        if n_images:
            images.keep_in_memory(workers)
        if n_images and not len(images):
            if part == 0:
                raise InputError(f"none of the {n_images} training images could be read; the log has the reasons")
            log.warning("none of the %d images for validation could be read; it is left out", n_images)
    return fits


def as_batch(batch: Any) -> Any:
    """What `LabeledImages.__getitems__` gives is a batch already: the loader's `collate_fn`."""
    return batch


def augment(images: Tensor, generator: torch.Generator, min_crop: float, jitter: float) -> Tensor:
    """Images cropped, mirrored and recolored at random.

    Args:
        images: (n, 3, s, s) in [0, 1].
        generator: a CPU generator; the result depends on it alone, whatever the device.
        min_crop: least side of a crop as a share of the image's, in (0, 1]; crops are rescaled to the full size.
        jitter: brightness, contrast and saturation change by factors of 1 - jitter to 1 + jitter, in [0, 1).
    """
    n, device = len(images), images.device
    crop = torch.empty(n, 2).uniform_(min_crop, 1, generator=generator)  # width, height
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - crop)
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    affine = torch.zeros(n, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = crop[:, 0] * mirror, crop[:, 1], shift
    grid = F.affine_grid(affine.to(device), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    brightness, contrast, saturation = (
        torch.empty(n, 1, 1, 1).uniform_(1 - jitter, 1 + jitter, generator=generator).to(device) for _ in range(3)
    )
    gray = images.mean(dim=1, keepdim=True)
    images = gray + (images - gray) * saturation
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (middle + (images - middle) * contrast).mul(brightness).clamp(0, 1)


def mask_boxes(images: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Images with a random box set to 0, the mean color of normalized images, in a `share` of them.

    Localizers ask a network about images with boxes painted over; it should have met such images.

    Args:
        images: (n, 3, s, s), normalized.
        generator: a CPU generator.
        share: how many get a box, 0..1; its sides are 0.1 to 0.5 of the image's.
    """
    n, side = len(images), images.shape[-1]
    sides = torch.empty(n, 2).uniform_(*_MASK_SIDES, generator=generator)
    corner = torch.rand(n, 2, generator=generator) * (1 - sides)
    masked = torch.rand(n, 1, generator=generator) < share
    at = (torch.arange(side) + 0.5) / side
    inside = (at >= corner[..., None]) & (at < (corner + sides)[..., None])  # (n, 2, side): columns, rows
    hidden = inside[:, 1, :, None] & inside[:, 0, None, :] & masked[..., None]
    return images.masked_fill(hidden[:, None].to(images.device), 0.0)


class _Each(data.Dataset[Tensor | str]):
    def __init__(self, images: LabeledImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor | str:
        return self.images.read(index)


def _multi_hot(labels: Sequence[tuple[int, ...]], n_classes: int) -> Tensor:
    targets = np.zeros((len(labels), n_classes), np.float32)
    for row, of_image in enumerate(labels):
        targets[row, list(of_image)] = 1
    return torch.from_numpy(targets)
