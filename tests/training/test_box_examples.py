"""Sensitivity maps kept on disk, the boxes that go with them, and regressors from more and more boxes."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import FakeNetwork
from wsdet.linear_models.box_regressor import BoxRegressor, sensitivity_map
from wsdet.training.box_curve import train_box_regressors
from wsdet.training.box_examples import (
    TrainingExamples,
    center_regressor,
    found_by,
    split_ids,
    training_examples,
    validation_budget,
)
from wsdet.training.box_regressor import Examples
from wsdet.training.options import BoxRegressorTraining
from wsdet.training.sensitivity_maps import SensitivityMaps
from wsdet.types import Boxes, Floats, InputError, Sample, Split

SIDE = 8


@dataclass
class Spots:
    """Images of one bright box each, labeled 0 or 1 by turns; images in `broken` cannot be read."""

    n: int = 12
    broken: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ("even", "odd")
    truth: dict[str, Boxes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for image_id in self.ids("train"):
            self.truth[image_id] = Boxes(self.xyxy(image_id)[None], labels=np.array(self.labels(image_id)))

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(f"{i:03d}" for i in range(self.n))

    def labels(self, image_id: str) -> tuple[int, ...]:
        return (int(image_id) % 2,)

    def xyxy(self, image_id: str) -> Floats:
        rng = np.random.default_rng(int(image_id))
        (x1, x2), (y1, y2) = (np.sort(rng.choice(SIDE + 1, 2, replace=False)) for _ in range(2))
        return np.array([2 * x1, y1, 2 * x2, y2], np.float32)

    def load(self, image_id: str) -> Sample:
        if image_id in self.broken:
            raise InputError(f"{image_id} is damaged")
        pixels = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
        x1, y1, x2, y2 = self.xyxy(image_id).astype(int)
        pixels[y1:y2, x1:x2] = 255
        return Sample(image_id, pixels, self.labels(image_id))


def seer() -> FakeNetwork:
    """A network whose gradient is what the image shows."""
    return FakeNetwork(lambda one: _shown(one.view))


def _shown(sample: Sample) -> Floats:
    return sample.pixels[:, ::2].transpose(2, 0, 1).astype(np.float32)


def maps_of(dataset: Spots, folder: Path, network: FakeNetwork | None = None) -> SensitivityMaps:
    maps = SensitivityMaps(folder, {"data": "spots"}, "max", SIDE)
    maps.fill(dataset, dataset.ids("train"), network or seer())
    return maps


def test_maps_are_computed_once(tmp_path: Path) -> None:
    dataset, network = Spots(), seer()
    maps = maps_of(dataset, tmp_path, network)
    again = maps_of(dataset, tmp_path, network)
    assert len(network.inputs) == 12
    expected = sensitivity_map(_shown(dataset.load("007")))
    for kept in (maps, again):
        assert ("007", 1) in kept
        assert ("007", 0) not in kept
        assert kept.size_hw(("007", 1)) == (SIDE, 2 * SIDE)
        np.testing.assert_allclose(kept.rows([("000", 0), ("007", 1)])[1], expected, rtol=1e-3)


def test_a_stopped_or_damaged_cache_is_completed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = seer()
    maps_of(Spots(4), tmp_path, network)
    maps_of(Spots(8), tmp_path, network)
    assert len(network.inputs) == 8
    first, second = (tmp_path / "parts").iterdir()
    first.write_bytes(first.read_bytes()[:30])
    save_file({"maps": np.zeros((4, 3, 3), np.float16)}, second, metadata={"entries": "[]"})
    maps = maps_of(Spots(8), tmp_path, network)
    assert len(network.inputs) == 16
    assert caplog.text.count("is made anew") == 2
    assert maps.rows([("003", 1)]).any()


def test_maps_of_other_settings_are_refused(tmp_path: Path) -> None:
    SensitivityMaps(tmp_path, {"data": "spots"}, "max", SIDE)
    with pytest.raises(InputError, match="channels was max, is sum"):
        SensitivityMaps(tmp_path, {"data": "spots"}, "sum", SIDE)


def test_images_that_cannot_be_read_teach_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Spots(broken=frozenset({"004"}))
    maps = maps_of(dataset, tmp_path)
    assert "004 is damaged" in caplog.text
    examples = training_examples(dataset.truth, dataset, dataset.ids("train"), largest=True)
    assert (len(examples.pairs), len(examples.examples(maps))) == (12, 11)


def test_examples_are_shares_of_the_image_and_their_mirror_images_mirrored(tmp_path: Path) -> None:
    dataset = Spots()
    examples = training_examples(dataset.truth, dataset, dataset.ids("train"), largest=True).examples(
        maps_of(dataset, tmp_path)
    )
    np.testing.assert_allclose(examples.corners[3], dataset.xyxy("003") / [16, 8, 16, 8])
    x1, y1, x2, y2 = (examples.corners[3] * SIDE).astype(int)
    assert (examples.maps[3][y1:y2, x1:x2] > 0).all()
    both = examples.mirrored()
    x1, y1, x2, y2 = (both.corners[12 + 3] * SIDE).round().astype(int)
    assert np.count_nonzero(both.maps[12 + 3]) == np.count_nonzero(both.maps[12 + 3][y1:y2, x1:x2])
    assert (both.maps[12 + 3][y1:y2, x1:x2] > 0).all()


def test_the_split_has_all_images_once_in_its_shares() -> None:
    ids = [str(i) for i in range(2100)]
    split = split_ids(ids, seed=0)
    assert [len(part) for part in split] == [1500, 300, 300]
    assert sorted(ids) == sorted([*split.train, *split.validation, *split.test])
    assert split == split_ids(ids, seed=0)
    assert split != split_ids(ids, seed=1)
    assert split_ids([], 0) == ((), (), ())


def test_which_box_teaches(caplog: pytest.LogCaptureFixture) -> None:
    dataset = Spots(4)
    given = {
        "000": Boxes(np.array([[0, 0, 1, 1], [0, 0, 4, 4], [0, 0, 8, 8]], np.float32), labels=np.array([0, 0, 1])),
        "001": Boxes(np.array([[2, 2, 2, 5]], np.float32), labels=np.array([1])),  # no width
        "002": Boxes(np.array([[1, 1, 3, 3]], np.float32), labels=np.array([-1])),
        "003": Boxes(np.array([[1, 1, 3, 3]], np.float32), labels=np.array([1]), difficult=np.array([True])),
    }
    with caplog.at_level(logging.INFO, logger="wsdet"):
        largest = training_examples(given, dataset, dataset.ids("train"), largest=True)
    first = training_examples(given, dataset, dataset.ids("train"), largest=False)
    assert largest.pairs == first.pairs == [("000", 0), ("002", 0)]
    np.testing.assert_array_equal(largest.xyxy, [[0, 0, 4, 4], [1, 1, 3, 3]])
    np.testing.assert_array_equal(first.xyxy, [[0, 0, 1, 1], [1, 1, 3, 3]])
    assert "2 of 4 labels of images have no box with an area" in caplog.text


def test_budgets_grow() -> None:
    pairs = [(str(i), i % 3) for i in range(12)]
    examples = TrainingExamples(pairs, np.arange(48, dtype=np.float32).reshape(12, 4))
    assert examples.first(0, "class").pairs == pairs
    assert examples.first(4, "total").pairs == pairs[:4]
    assert Counter(label for _, label in examples.first(2, "class").pairs) == {0: 2, 1: 2, 2: 2}
    assert set(examples.first(2, "class").pairs) < set(examples.first(3, "class").pairs)
    np.testing.assert_array_equal(examples.first(2, "total").xyxy, examples.xyxy[:2])
    assert len(examples.first(99, "class").pairs) == 12
    assert [validation_budget(n) for n in (0, 1, 10, 100)] == [0, 1, 2, 20]


def test_the_center_box_has_the_average_size(tmp_path: Path) -> None:
    dataset = Spots()
    maps = maps_of(dataset, tmp_path)
    corners = np.array([[0, 0, 0.5, 1], [0.2, 0.2, 0.5, 0.4]], np.float32)
    like = BoxRegressor(np.zeros((1, 4, SIDE, SIDE), np.float32), np.zeros((1, 4), np.float32), dataset.classes)
    center = center_regressor(Examples(maps.rows([("000", 0)] * 2), corners, np.zeros(2, np.int64)), like)
    found = found_by(center, maps, [("001", 1), ("nowhere", 0)])
    assert set(found) == {"001"}
    np.testing.assert_allclose(found["001"].xyxy, [[8 - 3.2, 4 - 2.4, 8 + 3.2, 4 + 2.4]], atol=1e-4)
    assert found["001"].labels.tolist() == [1]


def test_more_boxes_find_more_and_beat_the_center_box(tmp_path: Path) -> None:
    dataset, network = Spots(240), seer()
    maps = SensitivityMaps(tmp_path / "maps", {}, "max", SIDE)
    trained = train_box_regressors(
        dataset,
        dataset.ids("train"),
        dataset.truth,
        maps,
        network,  # type: ignore[arg-type]
        tmp_path / "regressors",
        n_boxes=[3, 0],
        options=BoxRegressorTraining(epochs=5),
        trainer_options={"accelerator": "cpu"},
    )
    assert [(one.name, one.n_boxes) for one in trained] == [("3", 6), ("all", 171)]
    assert len(network.inputs) == 240  # the largest number of boxes needs all
    errors = {}
    for one in trained:
        for method, found in one.found.items():
            assert len(found) == 35
            errors[method, one.name] = np.mean([np.abs(found[i].xyxy - dataset.truth[i].xyxy).mean() for i in found])
    assert errors["sensitivity", "all"] < 0.85 * errors["center_box", "all"]
    assert errors["sensitivity", "all"] < errors["sensitivity", "3"]
    assert errors["ridge", "all"] == pytest.approx(errors["sensitivity", "all"], rel=0.1)
    assert BoxRegressor.load(trained[1].path).network == "fake"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_boxes": []}, "n_boxes must have"), ({"n_boxes": [-1]}, r"n_boxes\[0\] must be")],
    ids=str,
)
def test_budgets_that_make_no_sense_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    dataset, maps = Spots(4), SensitivityMaps(tmp_path, {}, "max", SIDE)
    with pytest.raises(InputError, match=message):
        train_box_regressors(dataset, dataset.ids("train"), dataset.truth, maps, seer(), tmp_path, **options)  # type: ignore[arg-type]
