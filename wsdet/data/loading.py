"""The images of a data set one after the other, past files that cannot be read; and which of them are trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from wsdet.types import Dataset, InputError, Sample

_AHEAD = 4  # images read while the caller works on an earlier one


def load_samples(dataset: Dataset, ids: Iterable[str]) -> Iterator[tuple[str, Sample | InputError]]:
    """(image id, the image or what is wrong with it), lazily, in the order of `ids`.

    A thread reads a few images ahead: decoding runs outside the interpreter's lock, beside the caller's work.
    """

    def load(image_id: str) -> tuple[str, Sample | InputError]:
        try:
            return image_id, dataset.load(image_id)
        except InputError as error:
            return image_id, error

    waiting = iter(ids)
    with ThreadPoolExecutor(1, "load_samples") as reader:
        under_way: deque[Future[tuple[str, Sample | InputError]]] = deque()
        try:
            for image_id in islice(waiting, _AHEAD):
                under_way.append(reader.submit(load, image_id))
            while under_way:
                loaded = under_way.popleft().result()
                for image_id in islice(waiting, 1):
                    under_way.append(reader.submit(load, image_id))
                yield loaded
        finally:  # the caller may stop early
            reader.shutdown(wait=False, cancel_futures=True)


def is_background(dataset: Dataset, image_id: str) -> bool:
    """Whether an image is known to show none of the classes; see `unlabeled` of `wsdet.data.image_files.ImageFiles`.

    Of a dataset that does not say so, no image is.
    """
    says: Callable[[str], bool] | None = getattr(dataset, "is_background", None)
    return says is not None and says(image_id)


def ids_with_known_classes(dataset: Dataset, ids: Iterable[str]) -> list[str]:
    """Those of `ids` from which labels can be learned: they have one, or are known to show none of the classes."""
    return [image_id for image_id in ids if dataset.labels(image_id) or is_background(dataset, image_id)]
