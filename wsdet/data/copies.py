"""Copies of one photo under several names, recognized by their pixels: editing metadata changes the bytes."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from wsdet.data.images import read_image, read_size
from wsdet.data.splits import equal_content
from wsdet.storage.untrusted import opened
from wsdet.types import InputError

_TAIL_BYTES = 1024  # at the end of a JPEG or PNG lie pixels, not metadata
_MAX_DECODED = 2_000  # images of the same size and name that are decoded; more are compared by their bytes alone


def equal_pixels(paths: Mapping[str, Path], max_pixels: int) -> list[tuple[str, ...]]:
    """Image ids in groups of the same pixels, in the order of `paths`.

    Images of equal bytes are equal. Others are decoded and compared where they have the same size and the same end of
    the file (the same photo with other metadata) or the same file name (the same photo in another format). A photo that
    was compressed anew has other pixels and is another image here.

    Args:
        paths: file by image id.
        max_pixels: larger images are equal to none.
    """
    by_first = {group[0]: group for group in equal_content(paths)}
    same: dict[str, str] = {}  # the first of a group -> the first of the group that it belongs to
    for candidates in _candidates({first: paths[first] for first in by_first}, max_pixels):
        seen: dict[str, str] = {}
        for first in candidates:
            if (digest := _pixel_digest(paths[first], max_pixels)) is not None:
                leader = seen.setdefault(digest, same.get(first, first))
                same.setdefault(first, leader)
    together: defaultdict[str, list[str]] = defaultdict(list)
    for first, group in by_first.items():
        together[same.get(first, first)] += group
    order = {image_id: n for n, image_id in enumerate(paths)}
    return [tuple(sorted(group, key=order.__getitem__)) for group in together.values()]


def _candidates(paths: Mapping[str, Path], max_pixels: int) -> list[Sequence[str]]:
    """Images that may have the same pixels: of one size, and of one end or one file name."""
    by_tail: defaultdict[object, list[str]] = defaultdict(list)
    by_name: defaultdict[object, list[str]] = defaultdict(list)
    for image_id, path in paths.items():
        try:
            size_hw = read_size(path, max_pixels)
            by_tail[size_hw, _tail(path)].append(image_id)
            by_name[size_hw, PurePosixPath(image_id).stem].append(image_id)
        except InputError:  # reading it as an image says why
            continue
    several = [group for group in by_name.values() if len(group) > 1]
    if sum(map(len, several)) > _MAX_DECODED:
        several = []
    return [*(group for group in by_tail.values() if len(group) > 1), *several]


def _tail(path: Path) -> bytes:
    with opened(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read(_TAIL_BYTES)


def _pixel_digest(path: Path, max_pixels: int) -> str | None:
    try:
        return hashlib.sha256(read_image(path, max_pixels).tobytes()).hexdigest()
    except InputError:
        return None
