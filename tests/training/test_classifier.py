"""Training a classifier from class labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wsdet.networks.backbones import build_backbone
from wsdet.networks.weights import read_metadata
from wsdet.sampling import held_out
from wsdet.storage.untrusted import read_json
from wsdet.training import classifier
from wsdet.training.classifier import ClassifierModule, mean_average_precision, top1, train_classifier
from wsdet.training.labeled_images import LabeledImages, augment, mask_boxes
from wsdet.training.options import ClassifierTraining
from wsdet.types import Boxes, InputError, Sample, Split

CPU = {"accelerator": "cpu"}
FIELDS = {field.name for field in fields(ClassifierTraining)}


@dataclass
class Colors:
    """Noise with a red square (class 0), a blue one (1) or both; images in `broken` cannot be read."""

    n: int = 40
    broken: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ("red", "blue")
    truth: dict[str, Boxes] = field(default_factory=dict)
    loads: int = 0

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(f"{i:03d}" for i in range(self.n))

    def labels(self, image_id: str) -> tuple[int, ...]:
        return ((0,), (1,), (0, 1), ())[int(image_id) % 4]

    def is_background(self, image_id: str) -> bool:
        return not self.labels(image_id)

    def load(self, image_id: str) -> Sample:
        self.loads += 1
        if image_id in self.broken:
            raise InputError(f"{image_id} is damaged")
        rng = np.random.default_rng(int(image_id))
        pixels = rng.integers(60, 120, (40, 48, 3)).astype(np.uint8)
        for label in self.labels(image_id):
            x, y = 24 * label + rng.integers(0, 12), rng.integers(0, 28)
            pixels[y : y + 12, x : x + 12] = (220, 30, 30) if label == 0 else (30, 30, 220)
        return Sample(image_id, pixels, self.labels(image_id))


def train(dataset: Colors, out: Path, **options: Any) -> Path:
    """A training of seconds; `options` are those of `ClassifierTraining` and other arguments."""
    options = {"epochs": 3, "batch_size": 8} | options
    training = ClassifierTraining(**{name: options.pop(name) for name in FIELDS & options.keys()})
    others: dict[str, Any] = {"workers": 0, "trainer_options": CPU, **options}
    backbone = build_backbone("tiny", 2, 32)
    return train_classifier(backbone, dataset, dataset.ids("train"), out, options=training, **others)


def weights_of(path: Path) -> dict[str, Tensor]:
    return build_backbone("tiny", 2, 32, weights=path).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_learns_which_class_is_there(activation: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "run"
    with caplog.at_level(logging.INFO, logger="wsdet"):
        path = train(
            Colors(64),
            out,
            activation=activation,
            epochs=10,
            validation=0.25,
            masked=0,
            jitter=0,
            min_crop=0.9,
            learning_rate=0.003,
        )
    assert path == out / "model.safetensors"
    report = read_json(out / "training.json")
    assert report["images"] == (48 if activation == "sigmoid" else 36)
    assert report["validation"]["map"] > 0.95
    assert report["validation"]["top1"] > 0.95
    assert sorted(file.name for file in out.iterdir()) == ["model.safetensors", "settings.json", "training.json"]
    metadata = read_metadata(path)
    assert metadata is not None
    assert (metadata.classes, metadata.activation) == (("red", "blue"), activation)
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("classifier: training all layers of tiny")
    assert str(path) in last


def test_initial_network_is_not_changed(tmp_path: Path) -> None:
    backbone = build_backbone("tiny", 2, 32)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    dataset = Colors(8)
    options = ClassifierTraining(epochs=1)
    train_classifier(backbone, dataset, dataset.ids("train"), tmp_path, options=options, workers=0, trainer_options=CPU)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    dataset = Colors(16)
    path = train(dataset, tmp_path, epochs=1)
    written, loads = path.read_bytes(), dataset.loads
    assert train(dataset, tmp_path, epochs=1) == path
    assert (path.read_bytes(), dataset.loads) == (written, loads)


@pytest.mark.parametrize("changed", [{"epochs": 2}, {"seed": 5}, {"activation": "softmax"}], ids=str)
def test_other_settings_are_refused(changed: dict[str, Any], tmp_path: Path) -> None:
    train(Colors(8), tmp_path, epochs=1)
    with pytest.raises(InputError, match=f"{next(iter(changed))} was .*give another out="):
        train(Colors(8), tmp_path, **({"epochs": 1} | changed))
    with pytest.raises(InputError, match="images was "):
        train(Colors(12), tmp_path, epochs=1)


@pytest.mark.slow
@pytest.mark.parametrize("cut_short", [False, True], ids=["killed", "killed while writing a checkpoint"])
def test_killed_training_goes_on_to_the_same_weights(
    cut_short: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights_of(train(Colors(), tmp_path / "whole", epochs=4))

    step, steps = ClassifierModule.training_step, []

    def dying_step(self: ClassifierModule, batch: Any, batch_idx: int) -> Tensor:
        if (self.current_epoch, batch_idx) == (2, 1):
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    def counting_step(self: ClassifierModule, batch: Any, batch_idx: int) -> Tensor:
        steps.append(self.current_epoch)
        return step(self, batch, batch_idx)

    out = tmp_path / "killed"
    monkeypatch.setattr(ClassifierModule, "training_step", dying_step)
    with pytest.raises(RuntimeError, match="killed"):
        train(Colors(), out, epochs=4)
    (checkpoint,) = (out / "checkpoints").iterdir()
    if cut_short:
        (out / "checkpoints" / "epoch=0009.ckpt").write_bytes(checkpoint.read_bytes()[:2000])
    monkeypatch.setattr(ClassifierModule, "training_step", counting_step)
    path = train(Colors(), out, epochs=4)
    assert sorted(set(steps)) == [2, 3]
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(path).items())
    assert read_json(out / "training.json")["validation"] == read_json(tmp_path / "whole/training.json")["validation"]


def test_killed_before_the_final_file_keeps_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "save_weights", full_disk)
        with pytest.raises(OSError, match="no space"):
            train(Colors(), tmp_path, epochs=1)
    train(Colors(), tmp_path, epochs=1)
    assert set(read_json(tmp_path / "training.json")["validation"]) == {"map", "top1"}


def test_images_that_do_not_fit_into_memory_give_the_same_weights(tmp_path: Path) -> None:
    kept = weights_of(train(Colors(16), tmp_path / "kept", epochs=2))
    read_again = weights_of(train(Colors(16), tmp_path / "again", epochs=2, memory_gib=0, workers=1))
    assert all(torch.equal(value, kept[name]) for name, value in read_again.items())


@pytest.mark.parametrize("memory_gib", [1, 0])
def test_images_that_cannot_be_read_are_left_out(
    memory_gib: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Colors(16, broken=frozenset({"003", "004"}))
    assert train(dataset, tmp_path / "some", epochs=1, memory_gib=memory_gib).exists()
    assert "004 is damaged" in caplog.text
    with pytest.raises(InputError, match="could be read"):
        train(Colors(16, broken=frozenset(dataset.ids("train"))), tmp_path / "none", epochs=1, memory_gib=memory_gib)


def test_last_layer_alone_learns(tmp_path: Path) -> None:
    initial = build_backbone("tiny", 2, 32).state_dict()
    trained = weights_of(train(Colors(16), tmp_path, head_only=True, epochs=1))
    changed = {name for name, value in trained.items() if not torch.equal(value, initial[name])}
    assert changed == {"head.fc.weight", "head.fc.bias"}


def test_all_layers_and_statistics_learn(tmp_path: Path) -> None:
    initial = build_backbone("tiny", 2, 32).state_dict()
    trained = weights_of(train(Colors(16), tmp_path, epochs=1))
    assert not any(torch.equal(value, initial[name]) for name, value in trained.items())


def test_a_training_that_diverges_is_said_in_one_line_and_leaves_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the training of the classifier diverged"):
        train(Colors(16), tmp_path, epochs=3, learning_rate=1e30, validation=0.25)
    assert list(tmp_path.iterdir()) == []


def test_outputs_must_match_classes_and_images_must_be_enough(tmp_path: Path) -> None:
    dataset = Colors(8)
    with pytest.raises(ValueError, match="one output for each of the 2 classes, got 5"):
        train_classifier(build_backbone("tiny", 5, 32), dataset, dataset.ids("train"), tmp_path)
    with pytest.raises(InputError, match="at least 2 images"):
        train(Colors(2), tmp_path)


def test_augmentation_depends_on_the_generator_alone() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    first, again = (augment(images, torch.Generator().manual_seed(1), 0.5, 0.3) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(images, before)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_masked_images_have_one_box_of_zeros() -> None:
    images = torch.ones(200, 3, 40, 40)
    masked = mask_boxes(images, torch.Generator().manual_seed(0), 0.5)
    hidden = (masked == 0).all(dim=1)
    boxed = hidden.flatten(1).any(dim=1)
    assert 0.35 < boxed.float().mean() < 0.65
    rows, columns = hidden.any(dim=2).sum(dim=1), hidden.any(dim=1).sum(dim=1)
    assert torch.equal(hidden.sum(dim=(1, 2)), rows * columns)  # solid boxes
    assert rows[boxed].min() >= 3
    assert rows.max() <= 21
    assert (mask_boxes(images, torch.Generator(), 0.0) == 1).all()


def test_images_keep_labels_beside_them_when_some_are_dropped() -> None:
    images = LabeledImages(Colors(8, broken=frozenset({"002"})), [f"{i:03d}" for i in range(8)], 32)
    images.keep_in_memory(workers=0)
    assert images.ids == ("000", "001", "003", "004", "005", "006", "007")
    assert images[2][1].tolist() == [[0.0, 0.0]]
    assert images[0][0].shape == (1, 3, 32, 32)
    assert images[0][0].dtype == torch.uint8


@pytest.mark.parametrize("memory_gib", [1.0, 0.0], ids=["in memory", "read in each epoch"])
def test_images_for_validation_that_cannot_be_read_do_not_end_the_training(tmp_path: Path, memory_gib: float) -> None:
    ids = Colors(12).ids("train")
    held = held_out(ids, 0.1, 0)[1]
    path = train(Colors(12, broken=frozenset(held)), tmp_path, epochs=1, validation=0.1, memory_gib=memory_gib)
    assert path.is_file()
    assert read_json(tmp_path / "training.json")["validation"] == {}


def test_metrics_have_known_answers() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    perfect = labels + np.array([[0, 0, -1]] * 3, np.float32)
    assert mean_average_precision(perfect, labels) == 1
    assert top1(perfect, labels) == 1
    worst = -perfect
    assert mean_average_precision(worst, labels) == pytest.approx(2 / 3)  # the two positives tie for the last places
    assert top1(worst, labels) == 0
    assert np.isnan(mean_average_precision(labels, np.zeros_like(labels)))


@pytest.mark.parametrize("head_only", [False, True])
def test_only_layers_that_learn_are_in_training_mode(head_only: bool) -> None:
    module = ClassifierModule(build_backbone("tiny", 2, 32), options=ClassifierTraining(head_only=head_only))
    assert {layer.training for layer in module.backbone.modules()} == {not head_only}
