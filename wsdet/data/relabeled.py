"""`Relabeled`: a dataset in which some images have other labels, such as those of the boxes that a person drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wsdet.data.derived import Derived
from wsdet.types import Dataset, Sample


class Relabeled(Derived):
    """Another dataset but for the labels of some images.

    Args:
        dataset: the other one.
        labels: class indices by image id, for the images that have others than there.
    """

    def __init__(self, dataset: Dataset, labels: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(dataset)
        self._labels = dict(labels)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image."""
        return self._labels[image_id] if image_id in self._labels else super().labels(image_id)

    def load(self, image_id: str) -> Sample:
        """The image."""
        return replace(super().load(image_id), labels=self.labels(image_id))
