"""`Derived`: a dataset that is another one but for what a subclass says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsdet.types import Boxes, Dataset, Sample, Split


class Derived:
    """A `wsdet.types.Dataset` with all that another one has.

    Args:
        dataset: the other one.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self._dataset.classes

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """Ground-truth boxes by image id."""
        return self._dataset.truth

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split."""
        return self._dataset.ids(split)

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image."""
        return self._dataset.labels(image_id)

    def load(self, image_id: str) -> Sample:
        """The image.

        Raises:
            InputError: it cannot be read.
        """
        return self._dataset.load(image_id)

    def __getattr__(self, name: str) -> Any:
        """`path`, by whose content results are found to be out of date, and `is_background`, where there are any."""
        if name.startswith("_"):  # a copy that is being unpickled has no `_dataset` yet
            raise AttributeError(name)
        return getattr(self._dataset, name)
