"""What every format writes: images with their boxes, under names that are safe as files, and who made the boxes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from wsdet.types import Boxes, Split
from wsdet.version import __version__

_NOT_AS_IT_IS = re.compile(r"\\|%(?=[0-9A-F]{2})|^ | (?=\.[^.]*$)| $")
_LONGEST = 255  # bytes of a file's name, on every usual file system


@dataclass(frozen=True)
class ExportedImage:
    """One image and the boxes that are written for it.

    Attributes:
        image_id: its id in the dataset.
        file_name: its file, relative to the folder of images; see `file_name`.
        size_hw: height and width in pixels, EXIF orientation applied.
        boxes: inside the image, each with an area and a label that indexes `Contents.classes`.
        split: of the dataset.
    """

    image_id: str
    file_name: str
    size_hw: tuple[int, int]
    boxes: Boxes
    split: Split = "train"


@dataclass(frozen=True)
class Contents:
    """All that is written.

    Attributes:
        classes: class names.
        images: in the order in which they are written; ids and file names are unique.
        method: what made the boxes, in a few words.
        settings: what the boxes depend on, as plain JSON values.
        with_images: the images lie beside what is written.
    """

    classes: tuple[str, ...]
    images: tuple[ExportedImage, ...]
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    with_images: bool = False

    @property
    def made_by(self) -> str:
        """The method and the version of wsdet, for formats with room for one line."""
        return f"{self.method}, wsdet {__version__}"

    def of_split(self, split: Split) -> tuple[ExportedImage, ...]:
        """The images of a split."""
        return tuple(exported for exported in self.images if exported.split == split)


def file_name(name: str) -> str:
    r"""`name` as a relative path that stays inside any folder and fits on one line.

    What could lead elsewhere or break a line is written as %XX; other names stay as they are, and no two become one.

    >>> file_name("../a\n1.jpg")
    '%2E%2E/a%0A1.jpg'
    """
    return "/".join(_part(part) for part in name.split("/"))


def added_suffix(name: str, suffix: str) -> str:
    """The name of a file made for `name`: as `file_name`, with a suffix, and cut where it is too long for one.

    A digest of the whole name takes the place of what is cut off.
    """
    folder, slash, last = file_name(name).rpartition("/")
    if len(f"{last}{suffix}".encode()) > _LONGEST:
        digest = hashlib.sha256(last.encode()).hexdigest()[:16]
        last = f"{last.encode()[: _LONGEST - 40].decode(errors='ignore')}~{digest}"
    return f"{folder}{slash}{last}{suffix}"


def distinct_stems(names: Iterable[str]) -> list[str]:
    """`names` for formats with one file per image, named as the image up to its suffix: no two have the same stem.

    >>> distinct_stems(["a.jpg", "a.png"])
    ['a.jpg', 'a.png.png']
    """
    distinct, taken = [], set[str]()
    for name in names:
        suffix = PurePosixPath(name).suffix
        while (stem := name.removesuffix(suffix)) in taken:
            name += suffix or "_"
        taken.add(stem)
        distinct.append(name)
    return distinct


def _part(part: str) -> str:
    if part in ("", ".", ".."):
        return part.replace(".", "%2E") or "%00"
    return "".join(c if c.isprintable() else _escaped(c) for c in _NOT_AS_IT_IS.sub(lambda m: _escaped(m[0]), part))


def _escaped(character: str) -> str:
    return f"%{ord(character):02X}"
