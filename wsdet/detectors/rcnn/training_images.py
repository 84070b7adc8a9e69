"""`TrainingImages`: passes over the images, each with its proposals, its feature maps, and what may be a negative."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from wsdet.boxes import iou
from wsdet.detectors.rcnn.features import BoxFeatures, Maps, build_features
from wsdet.detectors.rcnn.map_cache import MapCache
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.tasks import Tasks
from wsdet.networks.classifier import NetworkParts
from wsdet.progress import Bar
from wsdet.types import Bools, Boxes, Dataset, Floats, InputError

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """An image while a pass looks at it.

    Attributes:
        image_id: its id.
        index: its place in the list of ids.
        xyxy: (m, 4) proposals in pixels.
        maps: for the features.
        negative: (m, n_tasks) whether a proposal is a negative of the task.
        nearest: (m, n_tasks) highest IoU with a box of the task's class, 0 without.
        positive: (n_tasks,) whether this is a positive image of the task.
    """

    image_id: str
    index: int
    xyxy: Floats
    maps: Maps
    negative: Bools
    nearest: Floats
    positive: Bools


class TrainingImages:
    """The images that detectors are trained on, gone over once for each round.

    Args:
        dataset: gives images and their labels.
        ids: the images to learn from.
        positives: for each detector, its boxes by image id.
        proposals: boxes by image id.
        features: describes boxes.
        tasks: what is learned.
        used_by: (n_tasks,) by image id: the tasks that are trained on it.
        protocol: says what a negative is.
        cache: keeps the images' maps between passes.
        strict: raise the first image's `InputError` instead of leaving the image out.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        positives: Mapping[str, Mapping[str, Boxes]],
        proposals: Mapping[str, Boxes],
        features: BoxFeatures,
        tasks: Tasks,
        used_by: Mapping[str, Bools],
        protocol: TrainingProtocol,
        cache: MapCache | None = None,
        strict: bool = False,
    ) -> None:
        self.dataset = dataset
        self.ids = tuple(ids)
        self.positives = positives
        self.proposals = proposals
        self.features = features
        self.tasks = tasks
        self.used_by = used_by
        self.protocol = protocol
        self.cache = cache
        self.strict = strict
        self._index_of = {image_id: index for index, image_id in enumerate(self.ids)}
        self._broken: set[str] = set()
        self._packed: tuple[NetworkParts, Mapping[str, Any]] | None = None  # what features are made of elsewhere

    @property
    def is_packed(self) -> bool:
        """Whether the features lack their network."""
        return self._packed is not None

    def packed(self) -> TrainingImages:
        """As they travel to other processes: with the parts of the network in place of it."""
        travelling = copy.copy(self)
        travelling._packed = (self.features.network.parts, self.features.settings)
        del travelling.features
        if self.cache is not None:
            travelling.cache = self.cache.without_network()
        return travelling

    def opened(self, worker: int) -> TrainingImages:
        """With a network again; maps are read from the cache, and none are added to it."""
        if self._packed is None:
            return self
        parts, settings = self._packed
        here = copy.copy(self)
        here._packed = None
        here.features = build_features(parts.network(worker), **settings)
        return here

    def visit(self, description: str, ids: Sequence[str] | None = None) -> Iterator[TrainingImage]:
        """The images, or `ids`, that can be read and that a task uses; a broken one is left out, with one warning."""

        def outcomes(used: Sequence[str]) -> Iterator[tuple[str, TrainingImage | InputError]]:
            for image_id in used:
                try:
                    yield image_id, self.look(image_id)
                except InputError as error:
                    yield image_id, error

        yield from self.results(description, outcomes, ids)

    def results(
        self,
        description: str,
        outcomes: Callable[[Sequence[str]], Iterator[tuple[str, T | InputError]]],
        ids: Sequence[str] | None = None,
    ) -> Iterator[T]:
        """What a pass over the images, or `ids`, gives, in their order; one that is broken is left out from then on.

        Args:
            description: of the pass.
            outcomes: does it for the images of a list.
            ids: None: all of them.
        """
        wanted = self.ids if ids is None else ids
        used = [image_id for image_id in wanted if image_id not in self._broken and self.used_by[image_id].any()]
        for image_id, outcome in Bar(outcomes(used), desc=description, total=len(used), unit="image", smoothing=0.1):
            if not isinstance(outcome, InputError):
                yield outcome
                continue
            if self.strict:
                raise outcome
            log.warning("%s is left out: %s", image_id, outcome)
            self._broken.add(image_id)

    def look(self, image_id: str) -> TrainingImage:
        """An image with all that a pass needs to know of it.

        Raises:
            InputError: it, or its proposals, cannot be read.
        """
        xyxy = self.proposals.get(image_id, Boxes.empty()).xyxy[: self.protocol.max_proposals or None]
        maps = self.maps(image_id)
        return TrainingImage(image_id, self._index_of[image_id], xyxy, maps, *self.compare(image_id, xyxy))

    def maps(self, image_id: str) -> Maps:
        """An image's maps, kept or computed now.

        Raises:
            InputError: the image cannot be read.
        """

        def compute() -> Maps:
            return self.features.maps(self.dataset.load(image_id))

        return self.cache.maps(image_id, compute) if self.cache else compute()

    def compare(self, image_id: str, xyxy: Floats) -> tuple[Bools, Floats, Bools]:
        """What `TrainingImage` says of (m, 4) boxes: `negative`, `nearest`, `positive`."""
        negative = np.ones((len(xyxy), len(self.tasks)), bool)
        nearest = np.zeros((len(xyxy), len(self.tasks)), np.float32)
        positive = np.zeros(len(self.tasks), bool)
        labels = set(self.dataset.labels(image_id))
        for detector, by_id in enumerate(self.positives.values()):
            boxes = by_id.get(image_id, Boxes.empty())
            for label in labels | set(boxes.labels.tolist()):
                task = self.tasks.index_of.get((detector, label))
                if task is None:
                    continue
                own = boxes.xyxy[boxes.labels == label]
                if len(own):
                    nearest[:, task] = iou(xyxy, own).max(axis=1)
                # an image with the label and without a box hides its object anywhere: no proposal is safely a negative
                negative[:, task] = nearest[:, task] < self.protocol.negative_iou if len(own) else False
                positive[task] = True
        return negative & self.used_by[image_id], nearest, positive
