"""A folder of photos with awkward names, made-up boxes, and a function that exports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.data.folder import Folder
from wsdet.formats.contents import Contents
from wsdet.stages.export import export
from wsdet.types import Boxes, Split

CLASSES = ('a "b" <c> & é', "cat", "no")  # the last is a bool to YAML

Export = Callable[..., Contents]


@pytest.fixture
def photos(tmp_path: Path) -> Folder:
    """Six photos of 60 to 65 x 80 to 85 pixels: one of each class a split, with a space in each name."""
    number = 0
    for split in ("train", "test"):
        for name in CLASSES:
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (80 + number, 60 + number), "gray").save(folder / f"{split} {number}.jpg")
            number += 1
    return Folder(tmp_path / "photos", train_split="train", test_split="test")


@pytest.fixture
def boxes(photos: Folder, rng: np.random.Generator) -> dict[str, Boxes]:
    """0 to 5 boxes per image, scores -1 to 1."""
    found = {}
    for n, image_id in enumerate([*photos.ids("train"), *photos.ids("test")]):
        corners = np.sort(rng.uniform(0, 60, (n, 2, 2)), axis=1)
        xyxy = np.concatenate([corners[:, 0], corners[:, 1] + 3], axis=1)
        xyxy = np.minimum(xyxy, 60)
        found[image_id] = Boxes(xyxy.astype(np.float32), rng.uniform(-1, 1, n), rng.integers(0, 3, n))  # type: ignore[arg-type]
    return found


@pytest.fixture
def export_as(photos: Folder, boxes: dict[str, Boxes], tmp_path: Path) -> Export:
    """Exports the photos to tmp_path / "out"."""

    def run(format: str, **options: Any) -> Contents:
        ids: dict[Split, tuple[str, ...]] = {"train": photos.ids("train"), "test": photos.ids("test")}
        arguments: dict[str, Any] = {"method": "stl <cl>", "settings": {"seed": 0}, "images": "copy"} | options
        return export(photos, ids, boxes, tmp_path / "out", format, **arguments)

    return run
