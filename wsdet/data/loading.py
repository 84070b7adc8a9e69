"""Reading the images of a data set one after the other, without letting one bad file end a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsdet.types import Dataset, InputError, Sample


def load_samples(dataset: Dataset, ids: Iterable[str]) -> Iterator[tuple[str, Sample | InputError]]:
    """(image id, the image or what is wrong with it), lazily, in the order of `ids`."""
    for image_id in ids:
        try:
            yield image_id, dataset.load(image_id)
        except InputError as error:
            yield image_id, error
