"""Which boxes a box regressor is trained on: the split of the images, one box for each label, and a budget of boxes.

The paper splits its images into 75 % for training, 15 % for validation and 15 % for the test, which is more than all of
them; here the parts are as 75 : 15 : 15.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wsdet import boxes as xyxys
from wsdet.linear_models.box_regressor import BoxRegressor, share_inside
from wsdet.training.box_regressor import Examples
from wsdet.training.options import Budget
from wsdet.training.sensitivity_maps import Pair, SensitivityMaps
from wsdet.types import Boxes, Dataset, Floats, readable

log = logging.getLogger(__name__)

_SHARES = (75, 15, 15)


class SplitIds(NamedTuple):
    """Image ids of the three parts, each in an order sampled with the seed."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TrainingExamples:
    """Boxes to learn from.

    Attributes:
        pairs: (image id, label) each.
        xyxy: (n, 4) the box of each, in pixels of its image.
    """

    pairs: list[Pair]
    xyxy: Floats

    def first(self, n: int, budget: Budget) -> TrainingExamples:
        """The first `n` of them, or of each class; 0: all. A larger `n` adds to what a smaller one gives."""
        if not n:
            return self
        taken: Counter[int] = Counter()
        rows = []
        for row, (_, label) in enumerate(self.pairs):
            key = label if budget == "class" else -1
            if taken[key] < n:
                rows.append(row)
            taken[key] += 1
        return TrainingExamples([self.pairs[row] for row in rows], self.xyxy[rows])

    def examples(self, maps: SensitivityMaps) -> Examples:
        """Their sensitivity maps and boxes; those whose image could not be read are left out."""
        there = [row for row, pair in enumerate(self.pairs) if pair in maps]
        pairs = [self.pairs[row] for row in there]
        sizes_hw = np.array([maps.size_hw(pair) for pair in pairs], np.float32).reshape(-1, 2)
        corners = np.clip(self.xyxy[there] / np.tile(sizes_hw[:, ::-1], 2), 0, 1)
        return Examples(maps.rows(pairs), corners.astype(np.float32), np.array([label for _, label in pairs], np.int64))


def split_ids(ids: Sequence[str], seed: int) -> SplitIds:
    """Images for training, validation and test."""
    order = np.random.default_rng(seed).permutation(len(ids))
    shuffled = [ids[index] for index in order]
    to_train, to_validation = (len(ids) * sum(_SHARES[:parts]) // sum(_SHARES) for parts in (1, 2))
    return SplitIds(
        tuple(shuffled[:to_train]), tuple(shuffled[to_train:to_validation]), tuple(shuffled[to_validation:])
    )


def training_examples(
    boxes: Mapping[str, Boxes], dataset: Dataset, ids: Sequence[str], largest: bool
) -> TrainingExamples:
    """One box for each label of each image, in the order of `ids`; how many labels have none is logged.

    Args:
        boxes: by image id; boxes labeled -1 stand for every label. One without an area is not trained on, nor is one
            flagged difficult.
        dataset: gives the labels.
        ids: the images.
        largest: of several boxes of a label the largest, as of ground-truth boxes; else the first, as of a localizer's,
            which come best first.
    """
    pairs: list[Pair] = []
    found: list[Floats] = []
    without = 0
    for image_id in ids:
        given = _usable(boxes, image_id)
        for label in dataset.labels(image_id):
            own = given.xyxy[given.rows_of(label)]
            if not len(own):
                without += 1
                continue
            pairs.append((image_id, label))
            found.append(own[int(xyxys.area(own).argmax())] if largest else own[0])
    if without:
        log.info(
            "%d of %d labels of images have no box with an area and are not trained on", without, len(pairs) + without
        )
    return TrainingExamples(pairs, np.array(found, np.float32).reshape(-1, 4))


def validation_budget(n: int) -> int:
    """How many boxes to choose by go with `n` to learn from: as the parts of the split; 0 with 0, which means all."""
    return math.ceil(n * _SHARES[1] / _SHARES[0])


def center_regressor(train: Examples, like: BoxRegressor) -> BoxRegressor:
    """What gives every image the same centered box, of the average size of the boxes to learn from."""
    half = (train.corners[:, 2:] - train.corners[:, :2]).mean(axis=0) / 2
    biases = np.concatenate([0.5 - half, 0.5 + half])[None].astype(np.float32)
    return BoxRegressor(
        np.zeros((1, 4, like.side, like.side), np.float32), biases, like.classes, like.channels, like.input_size
    )


def found_by(regressor: BoxRegressor, maps: SensitivityMaps, pairs: Iterable[Pair]) -> dict[str, Boxes]:
    """The regressor's boxes, one for each of those pairs whose map is there, by image id."""
    there = [pair for pair in pairs if pair in maps]
    seen = maps.rows(there).astype(np.float32)
    corners = regressor.predict(seen, np.array([label for _, label in there], np.int64))
    found: dict[str, list[Boxes]] = {}
    for (image_id, label), of_one, box in zip(there, seen, corners, strict=True):
        xyxy = xyxys.scale(box[None], (1, 1), maps.size_hw((image_id, label)))
        found.setdefault(image_id, []).append(Boxes(xyxy, np.array([share_inside(of_one, box)]), np.array([label])))
    return {image_id: Boxes.concatenate(each) for image_id, each in found.items()}


def _usable(boxes: Mapping[str, Boxes], image_id: str) -> Boxes:
    given = dict(readable(boxes, [image_id], "is not trained on")).get(image_id, Boxes.empty())
    return given[(xyxys.area(given.xyxy) > 0) & ~given.difficult]
