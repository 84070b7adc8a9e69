"""Reading the images of a data set one after the other, without letting one bad file end a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
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
