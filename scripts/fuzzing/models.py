"""Saved models of every kind, weights and other files of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fuzzing.case import Case


def cases() -> Sequence[Case]:
    """One for each kind of model; `model.json` and the tensors change."""
    return [
        Case("tensors", _save_tensors, _tensors),
        Case("weights", _save_weights, _weights),
        Case("region_classifier", _save_region_classifier, _region_classifier),
        Case("box_regressor", _save_regressor, _regressor),
        Case("rcnn", _save_rcnn, _detector),
        # its tensors are of the kind of the others, and building it takes long: what describes it changes
        Case("neural", _save_neural, _detector, lambda path: path.suffix == ".json"),
    ]


def _save_tensors(folder: Path) -> None:
    from wsdet.storage import tensors

    arrays = {"x": np.ones((2, 3), np.float16), "y": np.array(1)}
    tensors.save(folder / "a.safetensors", arrays, {"format": "test 1"})


def _tensors(folder: Path) -> Callable[[], object]:
    from wsdet.storage import tensors

    return lambda: tensors.load(folder / "a.safetensors")


def _save_weights(folder: Path) -> None:
    import torch

    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.weights import WeightsMetadata, save_weights

    backbone = build_backbone("tiny", 2, 32)
    save_weights(folder / "a.safetensors", backbone.state_dict(), WeightsMetadata("tiny", 2, 32))
    torch.save({"state_dict": backbone.state_dict()}, folder / "b.ckpt")


def _weights(folder: Path) -> Callable[[], object]:
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.weights import load_weights, read_metadata

    wanted = build_backbone("tiny", 2, 32).state_dict()

    def read() -> object:
        load_weights(folder / "a.safetensors", "tiny", wanted)
        load_weights(folder / "b.ckpt", "tiny", wanted)
        return read_metadata(folder / "a.safetensors")

    return read


def _save_region_classifier(folder: Path) -> None:
    from wsdet.linear_models.region_classifier import RegionClassifier

    maps = np.zeros((1, 4, 2), np.float32)
    RegionClassifier(maps, maps[:, 0], maps, ("a", "b"), 1, "0").save(folder / "model.safetensors")


def _region_classifier(folder: Path) -> Callable[[], object]:
    from wsdet.linear_models.region_classifier import RegionClassifier

    return lambda: RegionClassifier.load(folder / "model.safetensors")


def _save_regressor(folder: Path) -> None:
    from wsdet.linear_models.box_regressor import BoxRegressor

    box = np.array([[0.2, 0.2, 0.8, 0.8]], np.float32)
    BoxRegressor(np.zeros((1, 4, 4, 4), np.float32), box, ("a",), input_size=4).save(folder / "model.safetensors")


def _regressor(folder: Path) -> Callable[[], object]:
    from wsdet.linear_models.box_regressor import BoxRegressor

    return lambda: BoxRegressor.load(folder / "model.safetensors")


def _save_rcnn(folder: Path) -> None:
    from wsdet.detectors.rcnn.detector import RcnnDetector
    from wsdet.detectors.rcnn.features import RoiFeatures
    from wsdet.networks.backbones import build_backbone
    from wsdet.networks.classifier import Network

    features = RoiFeatures(Network(build_backbone("tiny", 2, 32), [(0,), (1,)], device="cpu"), grid=1)
    weights = np.zeros((2, features.dim), np.float32)
    RcnnDetector(features, ("a", "b"), weights, weights[:, 0]).save(folder)


def _save_neural(folder: Path) -> None:
    from wsdet.detectors.neural.detector import NeuralDetector, build_detector
    from wsdet.detectors.neural.options import ModelOptions
    from wsdet.networks.backbones import build_backbone

    options = ModelOptions("retinanet", channels=64, short_side=64)
    model = build_detector(options, build_backbone("tiny", input_size=64), 2)
    network = {"architecture": "tiny", "input_size": 64}
    NeuralDetector(model, ("a", "b"), options, network, "cpu").save(folder)


def _detector(folder: Path) -> Callable[[], object]:
    from wsdet.detectors.loading import load_detectors

    return lambda: load_detectors({"a": folder}, device="cpu")
