"""What an image's results depend on, in a few characters: its file's content and, where asked, its labels.

Not the file's time, which a copy of the data changes: neither moving data nor touching it costs work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from wsdet.storage.untrusted import opened
from wsdet.types import Dataset, InputError

_WHOLE = 2**20  # bytes of a file that is read in full
_BLOCK = 2**18  # bytes at the start, in the middle and at the end of a larger one


class Fingerprints:
    """The fingerprint of each image of a data set.

    Args:
        dataset: gives labels and, where its images are files, `path(image_id)`.
        labels: the results depend on the image's labels, and so on the data set's classes.
    """

    def __init__(self, dataset: Dataset, labels: bool) -> None:
        self._dataset = dataset
        self._labels = labels

    def __call__(self, image_id: str) -> str:
        """16 characters; "" of an image whose file cannot be read, of which nothing is known."""
        path_of = getattr(self._dataset, "path", None)  # images that are made as they are asked for have none
        try:
            content = _content(path_of(image_id)) if path_of else ""
        except (InputError, OSError, ValueError):
            return ""
        known: list[object] = [content]
        if self._labels:
            known += [self._dataset.classes, self._dataset.labels(image_id)]
        return _digest(json.dumps(known).encode())

    def digest(self, image_ids: Iterable[str]) -> str:
        """16 characters for some images together, in their order."""
        return _digest(json.dumps([[image_id, self(image_id)] for image_id in image_ids]).encode())


def digest_of_folder(folder: Path) -> str:
    """16 characters for the names and contents of the files directly in a folder.

    Raises:
        InputError: one cannot be read.
    """
    content = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()):
        of_file = hashlib.sha256()
        with opened(path) as file:
            while block := file.read(_BLOCK):
                of_file.update(block)
        content.update(json.dumps([path.name, of_file.hexdigest()]).encode())
    return content.hexdigest()[:16]


def _content(path: Path) -> str:
    status = os.stat(path)  # noqa: PTH116  (a path may be text)
    return _content_of(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2_000_000)  # several stages of a program ask; 200 bytes each
def _content_of(path: str, size: int, time_ns: int) -> str:
    with opened(path) as file:
        if size <= _WHOLE:
            return _digest(file.read(_WHOLE + 1))
        parts = [str(size).encode()]
        for start in (0, (size - _BLOCK) // 2, size - _BLOCK):
            file.seek(start)
            parts.append(file.read(_BLOCK))
        return _digest(b"".join(parts))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
