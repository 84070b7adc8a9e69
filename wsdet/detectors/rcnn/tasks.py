"""`Tasks`: the binary problems that the detectors of a run consist of, and the images that each is trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.types import Bools, Boxes, Dataset, InputError, Ints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tasks:
    """One binary problem for each class of each detector that has a positive box.

    Attributes:
        detectors: names of the detectors.
        pairs: (detector's index, class index) of each task.
    """

    detectors: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def index_of(self) -> dict[tuple[int, int], int]:
        """Each task's number by its pair."""
        return {pair: index for index, pair in enumerate(self.pairs)}

    def by_detector(self) -> list[Ints]:
        """The tasks of each detector that has any."""
        of = np.array([detector for detector, _ in self.pairs])
        return [np.flatnonzero(of == detector) for detector in np.unique(of)]


def find_tasks(dataset: Dataset, ids: Sequence[str], positives: Mapping[str, Mapping[str, Boxes]]) -> Tasks:
    """The tasks that there are positives for; a class without any is warned about.

    Args:
        dataset: names the classes.
        ids: the images to learn from.
        positives: for each detector, its boxes by image id, each scored by its weight.

    Raises:
        ValueError: a weight is not above 0.
        InputError: there is no positive box at all.
    """
    pairs = set()
    for index, by_id in enumerate(positives.values()):
        for image_id in ids:
            boxes = by_id.get(image_id, Boxes.empty())
            positive = ~boxes.difficult & (boxes.labels >= 0)
            if (boxes.scores[positive] <= 0).any():
                raise ValueError(f"scores of positives are their weights: they must be > 0, but not in {image_id}")
            pairs |= {(index, int(label)) for label in boxes.labels[positive]}
    detectors = tuple(positives)
    for index, name in enumerate(detectors):
        missing = [c for label, c in enumerate(dataset.classes) if (index, label) not in pairs]
        if missing:
            log.warning("detector %s has no positive box of %s: it will never find one", name, ", ".join(missing))
    if not pairs:
        raise InputError(f"there is no positive box to train the detectors {', '.join(detectors)} on")
    return Tasks(detectors, tuple(sorted(pairs)))


def sample_images(
    dataset: Dataset, ids: Sequence[str], tasks: Tasks, protocol: TrainingProtocol, seed: int
) -> dict[str, Bools]:
    """(n_tasks,) by image id: which tasks are trained on the image.

    A class is given the same images for every detector, so that detectors differ in their boxes alone.
    """
    used = np.ones((len(ids), len(tasks)), bool)
    if protocol.positive_images or protocol.negative_images:
        has = np.zeros((len(ids), len(dataset.classes)), bool)
        for row, image_id in enumerate(ids):
            has[row, list(dataset.labels(image_id))] = True
        for task, (_, label) in enumerate(tasks.pairs):
            used[:, task] = _images_of_class(has, label, protocol, seed)
    return dict(zip(ids, used, strict=True))


def _images_of_class(has: Bools, label: int, protocol: TrainingProtocol, seed: int) -> Bools:
    """(n,) the images that a class is trained on; `has`: (n, n_classes) which classes are in an image."""
    order = np.random.default_rng([seed, label]).permutation(len(has))
    drawn = has[order]
    # A negative image's rank is how manieth it is of its own class, so the classes take turns: the first of each, then
    # the second of each. An image without any class comes last.
    turn = np.where(drawn, drawn.cumsum(axis=0), len(has) + 1)
    positive = drawn[:, label]
    rank = np.where(positive, turn[:, label], turn.min(axis=1, where=~positive[:, None], initial=len(has) + 1))
    used = np.zeros(len(has), bool)
    for of_kind, n in ((positive, protocol.positive_images), (~positive, protocol.negative_images)):
        rows = np.flatnonzero(of_kind)
        used[order[rows[np.argsort(rank[rows], kind="stable")][: n or None]]] = True
    return used
