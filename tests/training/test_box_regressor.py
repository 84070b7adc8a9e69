"""Training of the linear map from sensitivity maps to boxes, on maps whose boxes are known."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsdet.linear_models.box_regressor import BoxRegressor
from wsdet.storage.untrusted import read_json
from wsdet.training import box_regressor
from wsdet.training.box_regressor import BoxRegressorModule, Examples, train_box_regressor
from wsdet.training.options import BoxRegressorTraining
from wsdet.types import Floats, InputError

SIDE, CLASSES = 12, ("one", "two")
CPU = {"accelerator": "cpu"}


def linear_examples(
    n: int, seed: int, noise: float = 0.0, of_class: Floats | None = None, other_map: bool = False
) -> Examples:
    """Random maps, whose boxes are a linear function of them; of class 1, with corners moved by `of_class`.

    With `other_map` the boxes of class 1 depend on the map turned upside down.
    """
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).normal(0, 0.01, (4, SIDE * SIDE))
    maps = rng.uniform(0, 2, (n, SIDE, SIDE)).astype(np.float16)
    labels = np.arange(n) % 2
    seen = np.where(other_map & (labels == 1)[:, None, None], maps[:, ::-1], maps)
    corners = (seen.reshape(n, -1).astype(np.float64) - 1) @ truth.T + [0.2, 0.25, 0.7, 0.8]
    if of_class is not None:
        corners[labels == 1] += of_class
    return Examples(maps, (corners + rng.normal(0, noise, corners.shape)).astype(np.float32), labels)


def blob_examples(n: int, seed: int) -> Examples:
    """Maps that are 1 inside a box and 0 outside."""
    rng = np.random.default_rng(seed)
    maps, corners = np.zeros((n, SIDE, SIDE), np.float16), np.zeros((n, 4), np.float32)
    for row in range(n):
        (x1, x2), (y1, y2) = (np.sort(rng.choice(SIDE + 1, 2, replace=False)) for _ in range(2))
        maps[row, y1:y2, x1:x2] = 1
        corners[row] = np.array([x1, y1, x2, y2]) / SIDE
    return Examples(maps, corners, np.zeros(n, np.int64))


def train(learned: Examples, chosen_by: Examples, out: Path, **options: Any) -> tuple[BoxRegressor, BoxRegressor]:
    training = BoxRegressorTraining(**{"per_class": "nothing", "mirror": False, **options})
    return train_box_regressor(learned, chosen_by, out, CLASSES, "0123", 24, training, CPU)


def predicted(regressor: BoxRegressor, examples: Examples) -> Floats:
    return regressor.predict(examples.maps.astype(np.float32), examples.labels)


def test_a_linear_function_is_recovered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh = linear_examples(50, 2)
    with caplog.at_level(logging.INFO, logger="wsdet"):
        regressor, ridge = train(linear_examples(600, 0), linear_examples(60, 1), tmp_path, penalties=[1e-6])
    np.testing.assert_allclose(predicted(regressor, fresh), fresh.corners, atol=0.01)
    np.testing.assert_allclose(predicted(ridge, fresh), fresh.corners, atol=0.01)
    files = ["regressor.safetensors", "ridge.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*files, "settings.json", "training.json"]
    assert str(tmp_path / "regressor.safetensors") in caplog.messages[-1]
    report = read_json(tmp_path / "training.json")
    assert report["boxes"] == {"train": 600, "validation": 60}
    assert report["validation"]["regressor"]["found"] == 1
    loaded = BoxRegressor.load(tmp_path / "regressor.safetensors")
    assert np.array_equal(loaded.weights, regressor.weights)
    assert (loaded.classes, loaded.network, loaded.input_size) == (CLASSES, "0123", 24)


@pytest.mark.slow
@pytest.mark.parametrize("per_class", ["nothing", "bias", "map"])
@pytest.mark.parametrize("mirror", [False, True])
def test_lightning_s_optimum_is_the_closed_form_s(per_class: str, mirror: bool, tmp_path: Path) -> None:
    learned = linear_examples(80, 0, noise=0.05, of_class=np.full(4, 0.05, np.float32))
    # chosen by what it learns from, so that the best epoch is the last
    chosen_by = learned.mirrored() if mirror else learned
    regressor, ridge = train(
        learned, chosen_by, tmp_path, per_class=per_class, mirror=mirror, penalties=[1e-3], patience=10
    )
    assert regressor.per_class == per_class
    np.testing.assert_allclose(predicted(regressor, chosen_by), predicted(ridge, chosen_by), atol=2e-3)


def test_boxes_that_are_seen_in_the_map_are_learned_and_beat_their_mean(tmp_path: Path) -> None:
    learned, chosen_by, fresh = blob_examples(400, 0), blob_examples(80, 1), blob_examples(200, 2)
    regressor, _ = train(learned, chosen_by, tmp_path, mirror=True)
    of_mean = np.abs(learned.corners.mean(axis=0) - fresh.corners).mean()
    assert np.abs(predicted(regressor, fresh) - fresh.corners).mean() < 0.75 * of_mean


def test_the_overlap_loss_finds_most_boxes_where_the_mean_box_finds_none(tmp_path: Path) -> None:
    corners = np.array(12 * [[0, 0, 1, 1]] + 8 * [[0.4, 0.4, 0.6, 0.6]], np.float32)
    blank = Examples(np.zeros((20, SIDE, SIDE), np.float16), corners, np.zeros(20, np.int64))
    train(blank, blank, tmp_path, loss="overlap")
    report = read_json(tmp_path / "training.json")["validation"]
    assert (report["ridge"]["found"], report["regressor"]["found"]) == (0, 0.6)


def test_the_mirror_image_of_a_map_has_the_mirror_image_of_its_box(tmp_path: Path) -> None:
    learned, fresh = blob_examples(60, 0), blob_examples(20, 2)
    regressor, _ = train(learned, blob_examples(20, 1), tmp_path, mirror=True)
    both = predicted(regressor, fresh.mirrored())
    np.testing.assert_allclose(
        both[20:], np.stack([1 - both[:20, 2], both[:20, 1], 1 - both[:20, 0], both[:20, 3]], 1), atol=1e-3
    )


@pytest.mark.parametrize(
    ("apart", "other_map", "expected"), [(0.0, False, "nothing"), (0.3, False, "bias"), (0.3, True, "map")]
)
def test_validation_chooses_what_each_class_has_of_its_own(
    apart: float, other_map: bool, expected: str, tmp_path: Path
) -> None:
    moved = np.array([0, apart, 0, apart], np.float32) - np.float32(apart / 2)
    learned, chosen_by = (linear_examples(n, seed, 0.03, moved, other_map) for n, seed in ((400, 0), (200, 1)))
    regressor, _ = train(learned, chosen_by, tmp_path, per_class="auto", epochs=5)
    assert regressor.per_class == expected


@pytest.mark.slow
def test_a_bias_of_each_class_recovers_where_its_boxes_lie(tmp_path: Path) -> None:
    moved = np.array([0.1, 0, 0.1, 0], np.float32)
    learned, fresh = (linear_examples(n, seed, 0.0, moved) for n, seed in ((600, 0), (50, 2)))
    regressor, ridge = train(learned, linear_examples(60, 1, 0.0, moved), tmp_path, per_class="bias", penalties=[1e-6])
    np.testing.assert_allclose(predicted(ridge, fresh), fresh.corners, atol=0.01)
    np.testing.assert_allclose(predicted(regressor, fresh), fresh.corners, atol=0.01)
    np.testing.assert_allclose(ridge.biases[1] - ridge.biases[0], moved, atol=0.01)


def test_a_class_that_nothing_is_chosen_by_still_has_its_map(tmp_path: Path) -> None:
    learned, chosen_by = linear_examples(120, 0, 0.03), linear_examples(20, 1)
    rows = np.flatnonzero(chosen_by.labels == 0)
    chosen_by = Examples(chosen_by.maps[rows], chosen_by.corners[rows], chosen_by.labels[rows])
    regressor, ridge = train(learned, chosen_by, tmp_path, per_class="map")
    assert len(regressor.weights) == 2
    np.testing.assert_allclose(regressor.biases, ridge.biases, atol=0.05)


def test_noise_is_met_by_a_larger_penalty(tmp_path: Path) -> None:
    penalties = {}
    for name, noise in (("exact", 0.0), ("noisy", 0.2)):
        train(linear_examples(160, 0, noise), linear_examples(80, 1, noise), tmp_path / name, epochs=5)
        penalties[name] = read_json(tmp_path / name / "training.json")["penalty"]
    assert penalties["noisy"] > penalties["exact"]


def test_a_killed_training_goes_on_to_the_same_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned, chosen_by = linear_examples(80, 0, noise=0.1), linear_examples(40, 1, noise=0.1)
    options: dict[str, Any] = {"epochs": 4, "patience": 4}
    expected, _ = train(learned, chosen_by, tmp_path / "whole", **options)

    step, epochs = BoxRegressorModule.training_step, []

    def dying_step(self: BoxRegressorModule, batch: Any, batch_idx: int) -> Any:
        epochs.append(self.current_epoch)
        if epochs.count(self.current_epoch) == 1 and self.current_epoch == 2 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(BoxRegressorModule, "training_step", dying_step)
    with pytest.raises(RuntimeError, match="killed"):
        train(learned, chosen_by, tmp_path / "killed", **options)
    assert list((tmp_path / "killed" / "checkpoints").iterdir())
    epochs.clear()
    found, _ = train(learned, chosen_by, tmp_path / "killed", **options)
    assert min(epochs) == 2
    assert np.array_equal(found.weights, expected.weights)
    assert np.array_equal(found.biases, expected.biases)


def test_a_finished_training_is_read_and_one_with_other_settings_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned, chosen_by = linear_examples(20, 0), linear_examples(10, 1)
    first, _ = train(learned, chosen_by, tmp_path, epochs=2)
    monkeypatch.setattr(box_regressor, "fit", None)
    again, _ = train(learned, chosen_by, tmp_path, epochs=2)
    assert np.array_equal(again.weights, first.weights)
    with pytest.raises(InputError, match="epochs was 2, is 3"):
        train(learned, chosen_by, tmp_path, epochs=3)
    with pytest.raises(InputError, match="train was "):
        train(linear_examples(21, 0), chosen_by, tmp_path, epochs=2)


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 boxes to learn from and 1 to choose by, got 1 and 5"):
        train(linear_examples(1, 0), linear_examples(5, 1), tmp_path)
    with pytest.raises(InputError, match="per_class=map needs 2 examples of every class"):
        train(blob_examples(9, 0), blob_examples(5, 1), tmp_path, per_class="map")


def test_maps_without_any_sensitivity_give_the_mean_box(tmp_path: Path) -> None:
    learned = linear_examples(20, 0)
    blank = Examples(np.zeros_like(learned.maps), learned.corners, learned.labels)
    regressor, _ = train(blank, blank, tmp_path, epochs=2)
    np.testing.assert_allclose(predicted(regressor, blank)[0], learned.corners.mean(axis=0), atol=1e-5)
    assert torch.isfinite(torch.from_numpy(regressor.weights)).all()
