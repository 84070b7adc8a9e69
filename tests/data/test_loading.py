"""Images come in order, a few are read ahead, and a bad one does not end the run."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from wsdet.data.loading import ids_with_known_classes, is_background, load_samples
from wsdet.types import InputError, Sample


class Reads:
    """A data set that notes what is read; ids that begin with "bad" cannot be."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.threads: set[int] = set()

    def load(self, image_id: str) -> Sample:
        self.read.append(image_id)
        self.threads.add(threading.get_ident())
        if image_id.startswith("bad"):
            raise InputError(f"{image_id} is broken")
        if image_id.startswith("defect"):
            raise RuntimeError("a mistake in the reader")
        return Sample(image_id, np.zeros((1, 1, 3), np.uint8))


def test_images_come_in_order_and_bad_ones_as_their_error() -> None:
    ids = ["a", "bad", "b", "c", "d", "e", "f"]
    found = list(load_samples(Reads(), ids))  # type: ignore[arg-type]
    assert [image_id for image_id, _ in found] == ids
    assert isinstance(found[1][1], InputError)
    assert all(isinstance(sample, Sample) and sample.image_id == name for name, sample in found if name != "bad")


def test_a_few_images_are_read_beside_the_caller() -> None:
    dataset = Reads()
    samples = load_samples(dataset, map(str, range(100)))  # type: ignore[arg-type]
    next(samples)
    deadline = time.monotonic() + 10
    while len(dataset.read) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert dataset.read == ["0", "1", "2", "3", "4"]
    samples.close()  # type: ignore[attr-defined]
    assert threading.get_ident() not in dataset.threads


def test_a_mistake_in_a_reader_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="mistake"):
        list(load_samples(Reads(), ["a", "defect"]))  # type: ignore[arg-type]


def test_no_ids_give_nothing() -> None:
    assert list(load_samples(Reads(), [])) == []  # type: ignore[arg-type]


def test_what_is_known_of_images_without_a_label(files: Any) -> None:
    """Of `unknown` ones nothing is, of background that it shows no class, of a broken one nothing again."""
    for name in "abc":
        files.image(f"images/train/{name}.jpg")
        files.text(f"labels/train/{name}.txt", {"a": "0 .5 .5 1 1", "b": "", "c": "9 .5 .5 1 1"}[name])
    files.text("data.yaml", "train: images/train\nnames: [cat]\n")
    for unlabeled, known in (("unknown", "a"), ("background", "ab")):
        dataset = files.open("yolo", test_split=None, unlabeled=unlabeled)
        ids = dataset.ids("train")
        assert ids_with_known_classes(dataset, ids) == [f"images/train/{name}.jpg" for name in known]
        assert [is_background(dataset, image_id) for image_id in ids] == [False, "b" in known, False]
    assert not is_background(Reads(), "a")  # type: ignore[arg-type]
