"""`Relabeled`: a dataset in which some images have other labels, such as those of the boxes that a person drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wsdet.types import Boxes, Dataset, Sample, Split


class Relabeled:
    """A `wsdet.types.Dataset` that is another one but for the labels of some images.

    Args:
        dataset: the other one.
        labels: class indices by image id, for the images that have others than there.
    """

    def __init__(self, dataset: Dataset, labels: Mapping[str, tuple[int, ...]]) -> None:
        self._dataset = dataset
        self._labels = dict(labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self._dataset.classes

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Ground-truth boxes, those of the other dataset."""
        return self._dataset.truth

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split."""
        return self._dataset.ids(split)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image."""
        return self._labels[image_id] if image_id in self._labels else self._dataset.labels(image_id)

    def load(self, image_id: str) -> Sample:
        """The image."""
        return replace(self._dataset.load(image_id), labels=self.labels(image_id))

    def __getattr__(self, name: str) -> Any:
        """`path` and `is_background`, where the other dataset has them."""
        if name.startswith("_"):  # a copy that is being unpickled has no `_dataset` yet
            raise AttributeError(name)
        return getattr(self._dataset, name)
