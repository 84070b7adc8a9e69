"""Rounds of self-training with a detector that finds what it was trained on, moved to the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TinyDataset
from wsdet.detectors.self_training import SelfTraining
from wsdet.detectors.trainer import TrainingSet
from wsdet.stages.self_training import Saved, self_train
from wsdet.storage.box_store import BoxStore
from wsdet.types import Boxes, Detector, Sample


@dataclass
class Shifted:
    """Finds the boxes that it was trained on `by` pixels further right, and one of a class that no image has."""

    classes: tuple[str, ...]
    learned: Mapping[str, Boxes]
    by: float
    needs_proposals: bool = False
    device_type = "cpu"
    precision = "float32"

    def detect(self, sample: Sample, proposals: Boxes) -> Boxes:
        own = self.learned.get(sample.image_id, Boxes.empty())
        shift = np.array([self.by, 0, self.by, 0], np.float32)
        return Boxes(own.xyxy + shift, np.ones(len(own), np.float32), own.labels)


@dataclass
class ShiftedTrainer:
    """Trains `Shifted`, and remembers on what."""

    by: float
    needs_proposals: bool = False
    trained: list[tuple[str, ...]] = field(default_factory=list)

    def memory(self, n_images: int, n_detectors: int, network: object) -> float:
        return 0.0

    def train(self, data: TrainingSet, folder: Path) -> dict[str, Detector]:
        self.trained.append(tuple(data.ids))
        return {name: Shifted(data.dataset.classes, boxes, self.by) for name, boxes in data.positives.items()}


def run(
    dataset: TinyDataset, folder: Path, by: float, **options: int
) -> tuple[list[dict[str, object]], ShiftedTrainer]:
    trainer, ids = ShiftedTrainer(by), dataset.ids("train")
    positives = {image_id: dataset.truth[image_id] for image_id in ids}

    def set_of(chosen: Sequence[str], of: Mapping[str, Mapping[str, Boxes]]) -> TrainingSet:
        return TrainingSet(dataset, chosen, of, network=None, depends_on={"seed": 0})  # type: ignore[arg-type]

    first = Saved(Shifted(dataset.classes, positives, by), folder / "first")
    rounds = self_train(
        trainer, set_of, first, positives, None, ids, dataset.ids("test"), SelfTraining(**options), folder
    )
    return rounds, trainer


def test_each_round_starts_from_what_the_one_before_found(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    rounds, _ = run(tiny_dataset, tmp_path, by=2.0, rounds=2)
    true = tiny_dataset.truth["train_0"].xyxy
    for number in (1, 2):
        found = BoxStore(tmp_path / str(number) / "boxes")["train_0"].xyxy
        np.testing.assert_allclose(found - true, [[2 * number, 0, 2 * number, 0]], atol=1e-4)
    corlocs = [one["localization"]["corloc"] for one in rounds]  # type: ignore[index]
    assert corlocs[0] >= corlocs[1]
    assert all("detector" in one for one in rounds)


def test_boxes_that_stay_end_the_rounds(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    rounds, trainer = run(tiny_dataset, tmp_path, by=0.0, rounds=5)
    assert len(rounds) == 1
    assert rounds[0]["agreement"] == 1
    assert not trainer.trained


def test_with_folds_no_detector_finds_boxes_in_its_own_images(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    rounds, trainer = run(tiny_dataset, tmp_path, by=2.0, rounds=1, folds=3)
    ids = set(tiny_dataset.ids("train"))
    assert [len(one) for one in trainer.trained] == [4, 4, 4]
    assert {image_id for one in trainer.trained[:3] for image_id in ids - set(one)} == ids
    # found nothing there, so every label keeps its earlier boxes
    assert rounds[0]["agreement"] == pytest.approx(1.0)


def test_a_second_call_does_nothing_again(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    first, _ = run(tiny_dataset, tmp_path, by=2.0, rounds=1)
    again, _ = run(tiny_dataset, tmp_path, by=2.0, rounds=1)
    assert first == again
