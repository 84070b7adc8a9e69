"""An image's fingerprint changes with its content and, where they count, with its labels; with nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from wsdet.storage.fingerprints import Fingerprints


@dataclass
class Files:
    folder: Path
    classes: tuple[str, ...] = ("cat", "dog")
    labels_by_id: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def path(self, image_id: str) -> Path:
        return self.folder / image_id

    def labels(self, image_id: str) -> tuple[int, ...]:
        return self.labels_by_id.get(image_id, ())


def fingerprint(folder: Path, labels: bool, **options: Any) -> str:
    dataset: Any = Files(folder, **options)
    return Fingerprints(dataset, labels)("a")


@pytest.mark.parametrize("size", [0, 10, 2**20, 2**20 + 1, 3 * 2**20])
def test_it_follows_the_content_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(size))
    before = fingerprint(tmp_path, labels=False)
    assert len(before) == 16
    os.utime(path, (1, 1))
    assert fingerprint(tmp_path, labels=False) == before
    path.write_bytes(bytes(size) + b"1")
    assert fingerprint(tmp_path, labels=False) != before
    if size:
        path.write_bytes(bytes(size - 1) + b"1")
        os.utime(path, (2, 2))
        assert fingerprint(tmp_path, labels=False) != before


def test_labels_count_where_they_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    variants: list[dict[str, Any]] = [{}, {"labels_by_id": {"a": (1,)}}, {"classes": ("ant", "cat", "dog")}]
    assert len({fingerprint(tmp_path, labels=True, **options) for options in variants}) == 3
    assert len({fingerprint(tmp_path, labels=False, **options) for options in variants}) == 1


def test_of_a_file_that_cannot_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert fingerprint(tmp_path, labels=True) == ""
    os.mkfifo(tmp_path / "a")
    assert fingerprint(tmp_path, labels=True) == ""


def test_images_that_are_no_files_have_their_labels(tiny_dataset: Any) -> None:
    of_labels, of_nothing = Fingerprints(tiny_dataset, labels=True), Fingerprints(tiny_dataset, labels=False)
    assert of_labels("train_0") != of_labels("train_1") == of_labels("test_1")
    assert of_nothing("train_0") == of_nothing("train_1")
