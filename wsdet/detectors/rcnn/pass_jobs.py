"""What passes over the training images do with each image, as jobs: other processes and machines can do them, too.

An image gives rows to the pool of examples. Which ones depends on the image and on what is known before the pass, so
they are found, and described, wherever the image is looked at; the program receives them in the order of the images,
and keeps them as far as they fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from wsdet.detectors.rcnn.examples import STORED, ExamplePool, Targets
from wsdet.detectors.rcnn.negatives import first_negatives, hard_negatives
from wsdet.detectors.rcnn.svm import LinearClassifiers
from wsdet.detectors.rcnn.training_images import TrainingImage, TrainingImages
from wsdet.sampling import image_generator
from wsdet.types import Bools, Boxes, Floats, InputError, Ints

T_co = TypeVar("T_co", covariant=True)

_NORM_BOXES = 200  # of an image, that R-CNN measures the features' mean norm on


@dataclass
class PassJob(ABC, Generic[T_co]):
    """One pass; see `wsdet.runners.job.Job`.

    Attributes:
        images: what it goes over.
    """

    images: TrainingImages
    chunk_size: int = field(default=16, kw_only=True)  # images give rows of some 100 kB each
    n_forward_passes: int = field(default=0, kw_only=True)  # those of localizers alone are counted

    def packed(self) -> PassJob[T_co]:
        """With the parts of the network."""
        return replace(self, images=self.images.packed())

    def open(self, worker: int = 0) -> PassJob[T_co]:
        """With the network on the device; in the process that has it, this very job."""
        return replace(self, images=self.images.opened(worker)) if self.images.is_packed else self

    def __call__(self, ids: Sequence[str]) -> Iterator[tuple[str, T_co | InputError]]:
        """(image id, what it gives or what is wrong with it)."""
        for image_id in ids:
            try:
                yield image_id, self.look(self.images.look(image_id))
            except InputError as error:
                yield image_id, error

    @abstractmethod
    def look(self, image: TrainingImage) -> T_co:
        """What an image gives."""


@dataclass(frozen=True, eq=False)
class Positives:
    """The boxes of one detector in an image.

    Attributes:
        x: (n, dim) features.
        targets: (n, n_tasks) as of `ExamplePool`.
        weights: (n,).
    """

    x: Tensor
    targets: Targets
    weights: Floats


@dataclass(frozen=True, eq=False)
class Start:
    """What an image gives to begin with.

    Attributes:
        index: of the image.
        positives: of each detector that has some.
        negatives: (m, n_tasks) which proposals are negatives of which tasks.
        x: (k, dim) features of the k proposals that are one of any task, in their order.
        norms: of some proposals' features; none where they are not measured.
    """

    index: int
    positives: Sequence[Positives]
    negatives: Bools
    x: Tensor
    norms: Tensor


@dataclass
class StartJob(PassJob[Start]):
    """The pass that begins: positives and the first negatives.

    Attributes:
        n_random: negatives sampled from each image.
        seed: of the sampling.
        measured: images of whose features the norm is measured, by their index.
        takes_all: all negatives of the image are taken.
    """

    n_random: int
    seed: int
    measured: frozenset[int]
    takes_all: bool = False

    def look(self, image: TrainingImage) -> Start:
        """What an image gives."""
        rng, protocol, features = image_generator(image.image_id, self.seed), self.images.protocol, self.images.features
        positives = list(self._positives(image))
        negatives = image.negative if self.takes_all else first_negatives(image, protocol, self.n_random, rng)
        x = features.features(image.maps, image.xyxy[negatives.any(axis=1)])
        norms = torch.zeros(0)
        if image.index in self.measured and len(image.xyxy):
            boxes = rng.permutation(len(image.xyxy))[:_NORM_BOXES]
            norms = features.features(image.maps, image.xyxy[boxes]).norm(dim=1).cpu()
        return Start(image.index, positives, negatives, _stored(x), norms)

    def _positives(self, image: TrainingImage) -> Iterator[Positives]:
        images, used_by = self.images, self.images.used_by[image.image_id]
        for detector, by_id in enumerate(images.positives.values()):
            boxes = by_id.get(image.image_id, Boxes.empty())
            boxes = boxes[~boxes.difficult & (boxes.labels >= 0)]
            tasks = np.array([images.tasks.index_of[detector, int(label)] for label in boxes.labels], np.int64)
            boxes, tasks = boxes[used_by[tasks]], tasks[used_by[tasks]]
            if not len(boxes):
                continue
            targets: Targets = np.zeros((len(boxes), len(images.tasks)), np.int8)
            if images.protocol.share_negatives:
                # a box of another class is a negative like any proposal, but only in its own detector: one that trains
                # on pseudo-boxes must not learn from the ground truth
                own = np.array([pair[0] == detector for pair in images.tasks.pairs])
                targets[images.compare(image.image_id, boxes.xyxy)[0] & own] = -1
            targets[np.arange(len(boxes)), tasks] = 1
            yield Positives(_stored(images.features.features(image.maps, boxes.xyxy)), targets, boxes.scores)


@dataclass(frozen=True, eq=False)
class Hard:
    """What an image gives in a round of mining.

    Attributes:
        index: of the image.
        known: (m, n_tasks) which proposals were taken for examples of which tasks already.
        negatives: (m, n_tasks) which become negatives.
        boxes: (k,) the proposals that become one of any task.
        x: (k, dim) their scaled features.
    """

    index: int
    known: Bools
    negatives: Bools
    boxes: Ints
    x: Tensor


@dataclass
class HardJob(PassJob[Hard]):
    """A pass for negatives that the classifiers take for objects.

    Attributes:
        classifiers: of all tasks.
        scale: of their features.
        pool: tells which proposals are examples already; on its way to other processes, as it was at the start.
    """

    classifiers: LinearClassifiers
    scale: float
    pool: ExamplePool

    def packed(self) -> HardJob:
        """With the parts of the network, and of the pool all but the features."""
        weights, biases = self.classifiers.weights.cpu(), self.classifiers.biases.cpu()
        classifiers = LinearClassifiers(weights, biases)
        return replace(self, images=self.images.packed(), pool=self.pool.without_features(), classifiers=classifiers)

    def open(self, worker: int = 0) -> HardJob:
        """With network and classifiers on the device; in the process that has them, this very job."""
        if not self.images.is_packed:
            return self
        images = self.images.opened(worker)
        device = images.features.network.device
        weights, biases = self.classifiers.weights.to(device), self.classifiers.biases.to(device)
        return replace(self, images=images, classifiers=LinearClassifiers(weights, biases))

    def look(self, image: TrainingImage) -> Hard:
        """What an image gives."""
        images, known = self.images, self.pool.known(image.index, len(image.xyxy))
        if not len(image.xyxy):
            return Hard(image.index, known, known, np.zeros(0, np.int64), torch.zeros(0, images.features.dim))
        x = images.features.features(image.maps, image.xyxy) * self.scale
        scores = self.classifiers.scores(x).cpu().numpy()
        negatives = hard_negatives(image, scores, known, images.tasks, images.protocol)
        boxes = np.flatnonzero(negatives.any(axis=1))
        return Hard(image.index, known, negatives, boxes, _stored(x[torch.from_numpy(boxes).to(x.device)]))


def _stored(x: Tensor) -> Tensor:
    """Features as the pool keeps them, on the CPU."""
    return x.to(STORED).cpu()
