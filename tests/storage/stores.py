"""Stores of boxes that are known from their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsdet.storage.box_store import BoxStore, FillReport, Outcome
from wsdet.types import Boxes, InputError

SETTINGS = {"localizer": {"name": "stl", "n": (1, 2)}, "seed": 0}
IDS = tuple(f"image {i}" for i in range(14))
BAD = {IDS[3], IDS[11]}


def boxes_of(image_id: str) -> Boxes:
    """Boxes that depend on the id alone; none for some."""
    number = int(image_id.split()[1])
    rng, n = np.random.default_rng(number), number % 3
    corners = rng.uniform(0, 50, size=(n, 2))
    xyxy = np.concatenate([corners, corners + rng.uniform(0, 50, size=(n, 2))], axis=1)
    return Boxes(xyxy.astype(np.float32), rng.random(n, np.float32), rng.integers(-1, 20, size=n), rng.random(n) < 0.5)


def produce(ids: Iterable[str]) -> Iterator[Outcome]:
    for image_id in ids:
        yield image_id, InputError(f"{image_id} is truncated") if image_id in BAD else boxes_of(image_id)


def fill(folder: Path, ids: Sequence[str] = IDS, **options: Any) -> FillReport:
    return BoxStore(folder, SETTINGS, part_size=4).fill(ids, produce, "test", **options)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(actual: Boxes, expected: Boxes) -> None:
    for name in ("xyxy", "scores", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
