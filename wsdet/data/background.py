"""A dataset with further training images that show none of its classes: negatives from a folder, or painted ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsdet.data.derived import Derived
from wsdet.data.image_files import ImageFiles
from wsdet.data.images import MAX_PIXELS
from wsdet.data.loading import is_background
from wsdet.data.paths import image_names
from wsdet.data.synthetic.dataset import Synthetic
from wsdet.data.synthetic.painting import paint
from wsdet.storage.files import replacing
from wsdet.types import Dataset, InputError, Sample, Split

PREFIX = "background/"  # of the ids of these images
N_TEXTURES = 100
_TEXTURE_SIDE = 256  # pixels


class WithBackground(Derived):
    """Another dataset, whose training split also has the images of a folder, known to show no class.

    Args:
        dataset: the other one.
        folder: of image files, at any depth.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no image in the folder, or `dataset` has ids like those that its images get.
    """

    def __init__(self, dataset: Dataset, folder: Path | str, max_pixels: int = MAX_PIXELS) -> None:
        folder = Path(folder).expanduser()
        names = image_names(folder) if folder.is_dir() else []
        if not names:
            raise InputError(
                f"background={folder} must be a folder with images that show none of the classes, or textures; there "
                "is none"
            )
        super().__init__(dataset)
        self._images = ImageFiles(str(folder), (), names, (), folder.joinpath, {}, {}, max_pixels)
        self.background_ids = tuple(PREFIX + name for name in names)
        self._known = frozenset(self.background_ids)
        if taken := self._known & {*dataset.ids("train"), *dataset.ids("test")}:
            raise InputError(f"background={folder}: the data has an image {min(taken)!r} already; rename its folder")

    def ids(self, split: Split) -> tuple[str, ...]:
        """Image ids of a split, those of background last."""
        return super().ids(split) + (self.background_ids if split == "train" else ())

    def labels(self, image_id: str) -> tuple[int, ...]:
        """The labels of an image; background has none."""
        return () if self._name(image_id) else super().labels(image_id)

    def is_background(self, image_id: str) -> bool:
        """Whether an image is known to show none of the classes."""
        return bool(self._name(image_id)) or is_background(self._dataset, image_id)

    def load(self, image_id: str) -> Sample:
        """The image.

        Raises:
            InputError: it cannot be read.
        """
        name = self._name(image_id)
        return replace(self._images.load(name), image_id=image_id) if name else super().load(image_id)

    def __getattr__(self, name: str) -> Any:
        """`path`, where the other dataset's images are files too, and what else it has."""
        found = super().__getattr__(name)
        return self._path if name == "path" else found

    def _path(self, image_id: str) -> Path:
        name = self._name(image_id)
        path: Path = self._images.path(name) if name else self._dataset.path(image_id)  # type: ignore[attr-defined]
        return path

    def _name(self, image_id: str) -> str:
        """The file of a background image in its folder; "" of other images."""
        return image_id.removeprefix(PREFIX) if image_id in self._known else ""


def write_textures(folder: Path, seed: int = 0, n: int = N_TEXTURES) -> Path:
    """Paints grounds, walls and things of no kind into PNG files, those that are not there yet; gives the folder.

    They are the built-in scenes without their animals.

    Args:
        folder: made when it is not there.
        seed: another one, other images.
        n: how many.
    """
    scenes = Synthetic(n_train=n, n_test=0, size=_TEXTURE_SIDE, clutter=1.0, seed=seed)
    for number, image_id in enumerate(scenes.ids("train")):
        path = folder / f"{number:04d}.png"
        if path.exists():
            continue
        scene = scenes.scene(image_id)
        empty = replace(scene, things=tuple(thing for thing in scene.things if thing.label < 0))
        pixels = paint(empty, np.random.default_rng([seed, number]), scenes.clutter)
        with replacing(path) as beside:
            Image.fromarray(pixels).save(beside, format="PNG")
    return folder
