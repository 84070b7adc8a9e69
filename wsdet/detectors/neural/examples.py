"""Images with boxes to train on: kept in memory as they fit, changed at random by (seed, epoch, image) alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils import data
from torchvision.transforms.v2 import functional as change

from wsdet.boxes import area, clip, intersection, scale
from wsdet.detectors.neural.detector import resize
from wsdet.detectors.neural.options import ModelOptions, TrainingOptions
from wsdet.progress import Bar
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Dataset, Floats, InputError, Ints, Pixels

log = logging.getLogger(__name__)

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]

LEAST_SIDE = 1.0  # pixels of the input: what is left of a box counts from here
_LEAST_VISIBLE = 0.3  # share of a box that a crop must leave, else the box is ignored
_GRAY = 114  # around an image that was shrunk


class Draw(NamedTuple):
    """One look at an image: which, its own random number, and the enlargement that it shares with its batch."""

    image: int
    seed: int
    factor: float


class Examples(data.Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images of a data set with the boxes that a detector takes for true.

    With tiles, an example is an image, or a tile of one in which some of a box lies.

    Args:
        dataset: gives the images and their labels.
        ids: which.
        positives: labeled boxes by image id, scored by their weights as positives; one flagged difficult is an ignored
            region. An image without an entry has no box.
        model: the size at which the detector sees images.
        training: how they are changed.
        memory_gib: images are kept up to so much memory and read again beyond it.
        workers: processes that read them the first time.

    Attributes:
        ids: the image of each example.
        sizes_hw: height and width of each.

    Raises:
        InputError: none can be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        positives: Mapping[str, Boxes],
        model: ModelOptions,
        training: TrainingOptions,
        memory_gib: float = 4.0,
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.positives = positives
        self.model = model
        self.training = training
        self.ids: list[str] = []
        self.sizes_hw: list[tuple[int, int]] = []
        self._windows: list[Ints] = []
        self._kept: dict[str, Pixels] = {}
        room = memory_gib * 2**30
        for image_id, size_hw, pixels in _read(self, ids, workers):
            for x1, y1, x2, y2 in (windows := self._shown(image_id, size_hw)).tolist():
                self.ids.append(image_id)
                self.sizes_hw.append((y2 - y1, x2 - x1))
            self._windows += list(windows)
            if room > pixels.nbytes:
                self._kept[image_id] = pixels
                room -= pixels.nbytes
        if not self.ids:
            raise InputError(f"none of {len(ids)} images could be read; the log has the reasons")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """A (3, h, w) uint8 image and its target (see `wsdet.detectors.neural.supervision`)."""
        image_id, size_hw = self.ids[draw.image], self.sizes_hw[draw.image]
        pixels = self._kept[image_id] if image_id in self._kept else self.read(image_id)[1]
        boxes, window = self.positives.get(image_id, Boxes.empty()), self._windows[draw.image]
        rng = np.random.default_rng(draw.seed)
        to_hw = self.model.size_of(size_hw, draw.factor)
        if self.model.tiling:
            pixels = pixels[window[1] : window[3], window[0] : window[2]]
        in_window = scale(boxes.xyxy - np.tile(window[:2], 2).astype(np.float32), size_hw, to_hw)
        whole = area(in_window)
        pixels, xyxy = resize(pixels, to_hw), clip(in_window, to_hw)
        if self.model.square:
            pixels, xyxy = _fit_square(pixels, xyxy, self.model.short_side, rng)
        if rng.random() < self.training.flip:
            pixels, xyxy = pixels[:, ::-1], flip(xyxy, pixels.shape[1])
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        cut = area(xyxy) < _LEAST_VISIBLE * whole
        ignored = Boxes(xyxy, boxes.scores, boxes.labels, boxes.difficult | cut)
        target = make_target(ignored, self._labels(image_id, window), len(self.dataset.classes))
        return jitter_color(image, self.training.color_jitter, rng), target

    def read(self, image_id: str) -> tuple[tuple[int, int], Pixels]:
        """An image's height and width, and its pixels, not larger than training ever needs them.

        Raises:
            InputError: it cannot be read.
        """
        sample = self.dataset.load(image_id)
        if self.model.tiling:
            return sample.size_hw, sample.pixels
        h, w = self.model.size_of(sample.size_hw, 1 + self.training.scale_jitter)
        smaller = h * w < sample.size_hw[0] * sample.size_hw[1]
        return sample.size_hw, resize(sample.pixels, (h, w)) if smaller else sample.pixels

    def _shown(self, image_id: str, size_hw: tuple[int, int]) -> Ints:
        """(t, 4) the windows of an image that are examples, itself first."""
        windows = (self.model.tiling or Tiling(1)).windows(size_hw)
        boxes = self.positives.get(image_id, Boxes.empty())
        shared = intersection(windows.astype(np.float32), boxes.xyxy)  # (t, n)
        shows = (shared >= _LEAST_VISIBLE * area(boxes.xyxy)).any(axis=1)
        return windows[shows | (np.arange(len(windows)) == 0)]

    def _labels(self, image_id: str, window: Ints) -> list[int]:
        """The labels of an example: a tile has not those whose boxes all lie elsewhere in the image."""
        boxes = self.positives.get(image_id, Boxes.empty())
        here = intersection(boxes.xyxy, window[None].astype(np.float32))[:, 0] > 0
        elsewhere = {*boxes.labels.tolist()} - {*boxes.labels[here].tolist()}
        return [label for label in self.dataset.labels(image_id) if label not in elsewhere]


class BatchOrder(data.Sampler[list[Draw]]):
    """Batches in an order sampled with (seed, epoch), each of one orientation, so that little is padded.

    Where several processes train, they share out each batch of all of them: what is learned in a step is what one
    process would learn from a batch of that size.

    Args:
        sizes_hw: height and width of every image.
        batch_size: images in a process's batch; the last of each orientation may be smaller.
        scale_jitter: batches are enlarged by factors in 1 +- this.
        seed: of the order.
        epoch: gives the current epoch.
        rank: of this process among `world_size`.
        world_size: processes that train together.
    """

    def __init__(
        self,
        sizes_hw: Sequence[tuple[int, int]],
        batch_size: int,
        scale_jitter: float,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._is_portrait = np.array([h > w for h, w in sizes_hw], bool)
        self._step = batch_size * world_size
        self._scale_jitter = scale_jitter
        self._seed = seed
        self._epoch = epoch
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        n_portrait = int(self._is_portrait.sum())
        return sum(-(-n // self._step) for n in (n_portrait, len(self._is_portrait) - n_portrait))

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng([self._seed, self._epoch()])
        batches = []
        for portrait in (False, True):
            indices = rng.permutation(np.flatnonzero(self._is_portrait == portrait))
            batches += [indices[i : i + self._step] for i in range(0, len(indices), self._step)]
        for number in rng.permutation(len(batches)).tolist():
            factor = 1 + self._scale_jitter * rng.uniform(-1, 1)
            seeds = rng.integers(2**62, size=len(batches[number])).tolist()
            draws = [Draw(int(i), seed, factor) for i, seed in zip(batches[number], seeds, strict=True)]
            yield draws[self._rank :: self._world_size] or draws[-1:]  # no process may wait for one that has nothing


def in_lists(examples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
    """A batch as torchvision's detectors take it: images of any sizes, and their targets."""
    return [image for image, _ in examples], [target for _, target in examples]


def in_one_thread(_: int) -> None:
    """Sets up a worker process: there is one for each core that is to be used."""
    cv2.setNumThreads(0)


def make_target(boxes: Boxes, labels: Sequence[int], n_classes: int) -> dict[str, Tensor]:
    """The target of an image; classes count from 1 in it (see `wsdet.detectors.neural.supervision`).

    Args:
        boxes: in the coordinates of the network's input; those of less than a pixel are left out.
        labels: of the image.
        n_classes: in all.
    """
    boxes = boxes[(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2] >= LEAST_SIDE).all(axis=1)]
    objects = boxes[~boxes.difficult & (boxes.labels >= 0)]
    present = torch.zeros(n_classes + 1, dtype=torch.bool)
    present[[label + 1 for label in {*labels, *objects.labels.tolist()}]] = True
    unboxed = present.clone()
    unboxed[(objects.labels + 1).tolist()] = False
    return {
        "boxes": torch.from_numpy(np.array(objects.xyxy)),
        "labels": torch.from_numpy(objects.labels + 1),
        "weights": torch.from_numpy(np.array(objects.scores)),
        "located": torch.ones(len(objects), dtype=torch.bool),
        "ignored": torch.from_numpy(np.array(boxes[boxes.difficult].xyxy)),
        "present": present,
        "unboxed": unboxed,
    }


def flip(xyxy: Floats, width: float) -> Floats:
    """(n, 4) corners in an image that is mirrored left to right."""
    return np.stack([width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]], axis=1)


def jitter_color(image: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    """A (3, h, w) uint8 image with brightness, contrast and saturation changed by factors in 1 +- `most`."""
    if not most:
        return image
    for adjust in (change.adjust_brightness, change.adjust_contrast, change.adjust_saturation):
        image = adjust(image, 1 + most * float(rng.uniform(-1, 1)))
    return image


def _fit_square(pixels: Pixels, xyxy: Floats, side: int, rng: np.random.Generator) -> tuple[Pixels, Floats]:
    """A square image cropped at random, or set at random onto gray, to be of this side."""
    spare = side - pixels.shape[0]
    x, y = rng.integers(min(0, spare), max(0, spare) + 1, size=2).tolist()  # of the image's corner in the square
    canvas = np.full((side, side, 3), _GRAY, np.uint8)
    part = pixels[max(0, -y) : max(0, -y) + side, max(0, -x) : max(0, -x) + side]
    canvas[max(0, y) : max(0, y) + part.shape[0], max(0, x) : max(0, x) + part.shape[1]] = part
    return canvas, clip(xyxy + np.array([x, y, x, y], np.float32), (side, side))


class _Each(data.Dataset[tuple[str, tuple[int, int], Pixels] | InputError]):
    """Images one by one, so that worker processes can read them."""

    def __init__(self, examples: Examples, ids: Sequence[str]) -> None:
        self._examples = examples
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[str, tuple[int, int], Pixels] | InputError:
        try:
            return (self._ids[index], *self._examples.read(self._ids[index]))
        except InputError as error:
            return error


def _as_it_is(one: Any) -> Any:
    return one


def _read(examples: Examples, ids: Sequence[str], workers: int) -> Iterator[tuple[str, tuple[int, int], Pixels]]:
    loader = data.DataLoader(
        _Each(examples, ids), batch_size=None, num_workers=workers, collate_fn=_as_it_is, worker_init_fn=in_one_thread
    )
    for one in Bar(loader, desc="reading images", unit="image", smoothing=0.1):
        if isinstance(one, InputError):
            log.warning("%s", one)
        else:
            yield one
