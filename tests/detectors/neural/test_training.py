"""Training: it learns what the boxes show, goes on where it was stopped, and refuses other settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TinyDataset
from tests.detectors.neural.conftest import Kill, boxes_of, small_options
from wsdet.boxes import iou
from wsdet.detectors.neural import training
from wsdet.detectors.neural.detector import NeuralDetector
from wsdet.detectors.neural.options import KINDS, Kind, TrainingOptions, WeakLosses
from wsdet.detectors.neural.training import train_detector, training_precision
from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.types import Boxes, InputError, Sample

CPU = {"accelerator": "cpu", "devices": 1}
QUICK = TrainingOptions(epochs=2, batch_size=3, precision="32-true", average=0)


def as_positives(dataset: TinyDataset) -> dict[str, Boxes]:
    return {
        image_id: Boxes(boxes.xyxy, np.ones(len(boxes), np.float32), boxes.labels)
        for image_id, boxes in dataset.truth.items()
        if image_id.startswith("train")
    }


def train(dataset: TinyDataset, backbone: Backbone, out: Path, kind: Kind = "fcos", **options: Any) -> NeuralDetector:
    return train_detector(
        dataset,
        dataset.ids("train"),
        options.pop("positives", as_positives(dataset)),
        backbone,
        out,
        model=small_options(kind),
        trainer_options=CPU,
        device="cpu",
        **({"training": QUICK} | options),
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faster_rcnn", "fcos"])
def test_it_learns_two_images_by_heart(kind: Kind, tiny_dataset: TinyDataset, shared: Path, tmp_path: Path) -> None:
    """Of different classes in one batch: labels that are off by one, or boxes in other coordinates, could not pass."""
    network = build_backbone("mobilenet_v2", weights=shared / "weights" / "mobilenet_v2_tf_quant.safetensors")
    learned, positives = ("train_1", "train_2"), as_positives(tiny_dataset)
    # 40 images in an epoch, at whose end a checkpoint takes as long as several steps
    copies = {f"{image_id} {copy}": image_id for copy in range(20) for image_id in learned}
    detector = train_detector(
        TinyDataset(samples={copy: tiny_dataset.load(image_id) for copy, image_id in copies.items()}),
        tuple(copies),
        {copy: positives[image_id] for copy, image_id in copies.items()},
        network,
        tmp_path,
        model=replace(small_options(kind), short_side=96),
        training=TrainingOptions(
            epochs=3, batch_size=2, learning_rate=0.02, precision="32-true", flip=0, scale_jitter=0, average=0
        ),
        trainer_options=CPU,
        device="cpu",
    )
    for image_id in learned:
        true, found = tiny_dataset.truth[image_id], detector.detect(tiny_dataset.load(image_id))
        assert found.labels[0] == true.labels[0], image_id
        assert iou(found.xyxy[:1], true.xyxy)[0, 0] > 0.5, image_id


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["faster_rcnn", "ssdlite"])  # one samples at random, one does not
def test_a_stopped_training_ends_with_the_same_weights(
    kind: Kind, tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path, kill_in_second_epoch: Kill
) -> None:
    averaged = TrainingOptions(epochs=2, batch_size=3, precision="32-true", average=0.5)
    whole = train(tiny_dataset, backbone, tmp_path / "whole", kind, training=averaged)
    kill_in_second_epoch(lambda: train(tiny_dataset, backbone, tmp_path / "stopped", kind, training=averaged))
    assert not (tmp_path / "stopped" / "model.json").exists()
    resumed = train(tiny_dataset, backbone, tmp_path / "stopped", kind, training=averaged)
    assert resumed.fingerprint == whole.fingerprint
    assert len(list((tmp_path / "stopped" / "log").iterdir())) == 2


def test_a_finished_training_is_loaded_and_other_settings_are_refused(
    tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tiny_dataset, backbone, tmp_path)
    monkeypatch.setattr(training, "fit", None)  # it is not called
    assert train(tiny_dataset, backbone, tmp_path).fingerprint == first.fingerprint
    with pytest.raises(InputError, match=r"losses\.roi_drop"):
        train(tiny_dataset, backbone, tmp_path, losses=WeakLosses(roi_drop=True))
    assert not (tmp_path / "checkpoints").exists()
    assert "classification" in (tmp_path / "log" / "start_0" / "metrics.csv").read_text(encoding="utf-8")


def test_validation_stops_early(tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path) -> None:
    stubborn = TrainingOptions(
        epochs=30, batch_size=3, learning_rate=1e-9, validation=0.3, patience=1, precision="32-true", average=0
    )
    train(tiny_dataset, backbone, tmp_path, training=stubborn)
    report = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert "validation_loss" in report
    assert 0 < report["seconds_per_step"]["steps"] < 30 * 2  # of four images, three in a batch


def test_images_of_one_pixel_and_without_boxes_are_no_obstacle(backbone: Backbone, tmp_path: Path) -> None:
    pixels = [np.full((1, 1, 3), 9, np.uint8), np.full((40, 50, 3), 99, np.uint8), np.full((9, 90, 3), 9, np.uint8)]
    samples = {f"train_{i}": Sample(f"train_{i}", one, (0,)) for i, one in enumerate(pixels)}
    positives = {
        "train_0": boxes_of([[0, 0, 1, 1]], [0]),
        "train_2": boxes_of([[-50, -3, 500, 300], [4, 4, 4, 8]], [0, 0]),
    }
    one_by_one = TrainingOptions(epochs=1, batch_size=1, precision="32-true")
    for kind in KINDS:
        out = tmp_path / kind
        detector = train(TinyDataset(samples=samples), backbone, out, kind, training=one_by_one, positives=positives)
        assert (out / "model.json").exists()
        detector.detect(samples["train_0"])


def test_without_any_box_there_is_nothing_to_train_on(
    tiny_dataset: TinyDataset, backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no image has a box"):
        train(tiny_dataset, backbone, tmp_path, positives={"train_0": Boxes.empty()})
    train(tiny_dataset, backbone, tmp_path)


def test_precision_is_the_trainers_where_it_says_one() -> None:
    assert training_precision("16-mixed", CPU) == "16-mixed"
    assert training_precision("auto", CPU | {"precision": "64-true"}) == "64-true"
    assert training_precision("auto", CPU | {"precision": "32-true"}) in ("32-true", "bf16-mixed")
