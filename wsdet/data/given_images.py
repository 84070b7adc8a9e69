"""Images that a call from Python gives: kept as files beside a CSV of their labels, or looked at as they are."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from wsdet.data.images import pixels_of
from wsdet.storage.files import replacing
from wsdet.types import Boxes, InputError, Pixels, Sample, Split

GivenImage: TypeAlias = str | Path | Pixels | Image.Image
GivenLabels: TypeAlias = Sequence[str | Sequence[str]]

_SEPARATOR = ";"  # of labels in a cell of the CSV


class OneImage:
    """A `wsdet.types.Dataset` of one image in memory, without labels, in the test split.

    Raises:
        InputError: it is no image; see `wsdet.data.images.pixels_of`.
    """

    classes: tuple[str, ...] = ()
    truth: Mapping[str, Boxes] = {}

    def __init__(self, image: Pixels | Image.Image) -> None:
        self._sample = Sample("image", pixels_of(image))

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `wsdet.types.Dataset`."""
        return (self._sample.image_id,) if split == "test" else ()

    def labels(self, image_id: str) -> tuple[int, ...]:
        """None."""
        return ()

    def load(self, image_id: str) -> Sample:
        """The image."""
        return self._sample


def keep(folder: Path, images: Sequence[GivenImage], labels: GivenLabels | None) -> None:
    """Copies images into a folder, with `labels.csv` beside them: data that `data=csv` reads, all of it for training.

    A file keeps its path from the folder that holds all files given, an image in memory becomes its number, as PNG.

    Args:
        folder: receives them.
        images: files, Pillow's images and (h, w, 3) uint8 RGB arrays.
        labels: the label or labels of each; None: no image has one.

    Raises:
        InputError: there is no image, one cannot be used or comes twice, or the labels do not fit.
    """
    if not images:
        raise InputError("images must hold at least one image, got an empty list")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(images)):
        raise InputError(
            f"labels must be a list with an entry for each of the {len(images)} images, got {labels!r:.80}"
        )
    names = _names(images)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"images must be different files, {twice} comes twice; give it once, with all its labels")
    cells = [_cell(label) for label in labels or [()] * len(images)]
    for name, image in zip(names, images, strict=True):
        _write(folder / name, image)
    with replacing(folder / "labels.csv") as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *zip(names, cells, strict=True)])


def _names(images: Sequence[GivenImage]) -> list[str]:
    files = [Path(image).absolute() for image in images if isinstance(image, str | Path)]
    common = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    return [
        Path(image).absolute().relative_to(common).as_posix() if isinstance(image, str | Path) else f"{number:06d}.png"
        for number, image in enumerate(images)
    ]


def _cell(given: str | Sequence[str]) -> str:
    labels: list[object] = [given] if isinstance(given, str) else list(given)
    for label in labels:
        if not isinstance(label, str) or not label.strip() or _SEPARATOR in label:
            raise InputError(f"a label must be a name without {_SEPARATOR!r}, got {label!r}")
    return _SEPARATOR.join(map(str, labels))


def _write(path: Path, image: GivenImage) -> None:
    with replacing(path) as beside:
        if not isinstance(image, str | Path):
            Image.fromarray(pixels_of(image)).save(beside, format="PNG")
        elif Path(image).is_file():
            beside.write_bytes(Path(image).read_bytes())
        else:
            raise InputError(f"images must be files, PIL images or arrays, {str(image)!r} is no file")
