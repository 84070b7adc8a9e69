from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wsdet.detectors.loading import load_detectors
from wsdet.detectors.positives import best_positives, ground_truth_positives
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures, WarpFeatures
from wsdet.detectors.rcnn.protocol import TrainingProtocol
from wsdet.detectors.rcnn.training import train_detectors
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import Boxes, InputError, Sample


def plain_detector(network: Any, **changed: Any) -> RcnnDetector:
    """Scores a box by its mean red, green or blue."""
    features = RoiFeatures(network, grid=1)
    return RcnnDetector(
        features, ("red", "green", "blue"), np.eye(3, dtype=np.float32), np.zeros(3, np.float32), **changed
    )


def test_detections_are_the_suppressed_scores(network: Any) -> None:
    xyxy = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]], np.float32)
    features = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.5, 0.0], [0.7, 0.0, 0.3]])
    boxes = plain_detector(network).select(xyxy, features, (64, 64))
    found = {(label, box[0]): score for box, score, label in zip(boxes.xyxy, boxes.scores, boxes.labels, strict=True)}
    # the second box overlaps the first: red keeps the first, green the second
    margins = {(0, 0.0): 0.9, (0, 30.0): 0.7, (1, 1.0): 0.5}
    for box, margin in margins.items():
        assert found[box] == pytest.approx(1 / (1 + math.exp(-2 * margin)))  # of a detector without a calibration
    assert (0, 1.0) not in found
    assert (np.diff(boxes.scores) <= 0).all()


def test_limits(network: Any) -> None:
    xyxy = np.arange(40, dtype=np.float32).reshape(10, 4).cumsum(axis=1)
    features = torch.rand(10, 3)
    assert len(plain_detector(network, max_per_image=4).select(xyxy, features, (64, 64))) == 4
    best_of_each = plain_detector(network, max_per_class=1).select(xyxy, features, (64, 64))
    assert sorted(best_of_each.labels.tolist()) == [0, 1, 2]
    assert len(plain_detector(network).select(np.zeros((0, 4), np.float32), torch.zeros(0, 3), (64, 64))) == 0


def test_a_class_without_positives_is_never_found(squares: Any, network: Any, caplog: pytest.LogCaptureFixture) -> None:
    only_red = {i: boxes for i, boxes in squares.truth.items() if boxes.labels[0] == 0}
    features = RoiFeatures(network)
    detector = train_detectors(squares, squares.ids("train"), {"pseudo": only_red}, squares.proposals, features)[
        "pseudo"
    ]
    assert "pseudo has no positive box of green, blue" in caplog.text
    boxes = detector.detect(squares.load("train01"), squares.proposals["train01"])
    assert set(boxes.labels.tolist()) == {0}


def test_detectors_find_the_squares(squares: Any, network: Any) -> None:
    features = RoiFeatures(network)
    truth = ground_truth_positives(squares, squares.ids("train"))
    detector = train_detectors(
        squares, squares.ids("train"), {"ground_truth": truth}, squares.proposals, features, TrainingProtocol(c=1.0)
    )
    for image_id in squares.ids("train"):
        best = detector["ground_truth"].detect(squares.load(image_id), squares.proposals[image_id])[0]
        assert best.labels.tolist() == list(squares.labels(image_id))
        np.testing.assert_allclose(best.xyxy, squares.truth[image_id].xyxy, atol=1.5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RcnnDetector]:
    folder = tmp_path_factory.mktemp("model")
    features = RoiFeatures(Network(build_backbone("tiny", 5, 64), (), device="cpu"), grid=2, scales=(1.0, 2.0))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, features.dim)).astype(np.float32)
    biases = np.array([0.5, -np.inf, -1.0], np.float32)
    proposals = {"_target_": "wsdet.proposals.selective_search.SelectiveSearch", "ks": [50]}
    detector = RcnnDetector(features, ("a", "b", "ü </script>"), weights, biases, proposals, {"note": 1}, 0.4, 50, 20)
    detector.save(folder)
    return folder, detector


def test_a_saved_detector_is_the_same(saved: tuple[Path, RcnnDetector], rng: np.random.Generator) -> None:
    folder, detector = saved
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.json",
        "model.safetensors",
        "network.safetensors",
    ]
    loaded = RcnnDetector.load(folder, device="cpu")
    sample = Sample("a", rng.integers(0, 256, (80, 100, 3)).astype(np.uint8))
    corner = rng.uniform(0, 60, (30, 2))
    proposals = Boxes(np.concatenate([corner, corner + rng.uniform(5, 20, (30, 2))], axis=1).astype(np.float32))
    before, after = detector.detect(sample, proposals), loaded.detect(sample, proposals)
    assert len(before) == 20
    np.testing.assert_array_equal(before.xyxy, after.xyxy)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert 1 not in after.labels
    assert loaded.classes == detector.classes
    assert (loaded.proposals, loaded.info) == (detector.proposals, detector.info)


def test_saved_detectors_of_one_trained_network_share_its_features(tmp_path: Path) -> None:
    trunk_and_outputs = build_backbone("tiny", 5, 64, seed=1)  # outputs that were trained are not saved with a detector
    other = build_backbone("tiny", 5, 64, seed=2)
    for name, backbone in (("a", trunk_and_outputs), ("b", trunk_and_outputs), ("c", other)):
        features = RoiFeatures(Network(backbone, (), device="cpu"), grid=1, scales=(1.0,))
        weights, biases = np.zeros((1, features.dim), np.float32), np.zeros(1, np.float32)
        RcnnDetector(features, ("thing",), weights, biases).save(tmp_path / name)
    loaded = load_detectors({name: tmp_path / name for name in "abc"}, "cpu")
    of = [one.features for one in loaded.values() if isinstance(one, RcnnDetector)]
    assert of[0] is of[1]
    assert of[0] is not of[2]


def test_features_can_be_shared(saved: tuple[Path, RcnnDetector], network: Any) -> None:
    folder, detector = saved
    assert RcnnDetector.load(folder, features=detector.features).features is detector.features
    with pytest.raises(InputError, match="another network or other features"):
        RcnnDetector.load(folder, features=RoiFeatures(network))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something else"}, "does not describe a detector"),
        ({"classes": ["a", "b"], "calibration": None}, "weights and biases must have shapes"),
        ({"classes": [1, 2, 3]}, "'classes' must be a list of names"),
        ({"classes": None}, "'classes' is missing"),
        ({"features": {"kind": "os.system"}}, "features must be roi or warp"),
        ({"features": {"kind": "roi", "grid": 10**9}}, "grid must be a number in"),
        ({"features": {"kind": "roi", "scales": ["x"]}}, "'scales' must be"),
        ({"features": {"kind": "roi", "scales": [math.nan]}}, "'scales' must be"),
        ({"features": {"kind": "roi", "scales": [1.0] * 100_000}}, "'scales' must be"),
        ({"features": {"kind": "roi", "scales": 1.0, "longest": math.inf}}, "'longest'"),
        ({"features": {"kind": "roi", "grid": 3.0}}, "grid must be a whole number"),
        ({"network": {"architecture": "tiny", "input_size": 4096}}, "input_size from 32 to 1024"),
        ({"box_regression": True}, "'shift_weights' is missing in a file"),
        ({"network": {"architecture": "timm:eva_giant_patch14_224", "input_size": 32}}, "takes [0-9]{10}"),
        ({"info": json.loads("[" * 90 + "]" * 90)}, "'info' is missing or of the wrong kind"),
        ({"features": {"kind": "roi", "network": 1}}, "no usable detector"),
        ({"network": {"architecture": "../../etc", "input_size": 64}}, "architecture must be one of"),
        ({"network": {"architecture": "tiny", "input_size": 10**9}}, "input_size from 32 to 1024"),
        ({"network": {"architecture": "squeezenet1_0", "input_size": 64}}, "is no part of squeezenet1_0"),
        ({"nms_iou": "high"}, "'nms_iou' is missing or of the wrong kind"),
        ({"max_per_class": -4}, "max_per_class must be"),
    ],
)
def test_a_hostile_description_is_an_input_error(
    saved: tuple[Path, RcnnDetector], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    said = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(said | change))
    with pytest.raises(InputError, match=message):
        RcnnDetector.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "network.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04pickle", b"[1]"])
def test_a_damaged_file_is_an_input_error(
    saved: tuple[Path, RcnnDetector], tmp_path: Path, name: str, content: bytes | None
) -> None:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        RcnnDetector.load(tmp_path, device="cpu")


def test_weights_that_are_no_numbers_are_an_input_error(saved: tuple[Path, RcnnDetector], tmp_path: Path) -> None:
    for path in saved[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(
        {"weights": torch.full((3, saved[1].features.dim), torch.nan), "biases": torch.zeros(3)},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(InputError, match="not finite"):
        RcnnDetector.load(tmp_path, device="cpu")


def test_best_positives() -> None:
    xyxy = np.zeros((5, 4), np.float32)
    boxes = Boxes(xyxy, np.array([0.1, 0.9, 0.9, 0.5, 1.0], np.float32), np.array([2, 2, 2, 0, -1]))
    best = best_positives({"a": boxes}, ["a", "b"])
    assert best["a"].labels.tolist() == [2, 0]
    assert best["a"].scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(best["b"]) == 0
    assert len(best_positives({"a": boxes}, ["a"], top_k=3)["a"]) == 4
    with pytest.raises(ValueError, match="top_k"):
        best_positives({}, [], top_k=0)


def test_ground_truth_positives(caplog: pytest.LogCaptureFixture) -> None:
    class Truth(dict[str, Boxes]):
        def __getitem__(self, key: str) -> Boxes:
            if key == "broken":
                raise InputError("broken is no XML")
            return super().__getitem__(key)

    class Annotated:
        truth = Truth(a=Boxes.empty(), broken=Boxes.empty(), other=Boxes.empty())

    dataset: Any = Annotated()
    assert list(ground_truth_positives(dataset, ["a", "b", "broken"])) == ["a"]
    assert "broken is no XML" in caplog.text
    with pytest.raises(InputError, match="needs ground-truth boxes"):
        ground_truth_positives(dataset, ["b"])


@pytest.mark.slow  # AlexNet has 57 million weights
def test_a_detector_on_the_hidden_layer_of_alexnet_keeps_that_layer(tmp_path: Path) -> None:
    network = Network(build_backbone("alexnet", 3, 64), (), device="cpu")
    features = WarpFeatures(network)
    assert features.dim == 4096
    weights = np.random.default_rng(0).normal(size=(3, 4096)).astype(np.float32)
    detector = RcnnDetector(features, ("a", "b", "c"), weights, np.zeros(3, np.float32))
    detector.save(tmp_path)
    sample = Sample("s", np.random.default_rng(1).integers(0, 256, (60, 90, 3)).astype(np.uint8))
    proposals = Boxes(np.array([[0, 0, 50, 50], [40, 10, 90, 60]], np.float32))
    loaded = RcnnDetector.load(tmp_path, device="cpu").detect(sample, proposals)
    np.testing.assert_allclose(loaded.scores, detector.detect(sample, proposals).scores, rtol=1e-5)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(InputError, match=r"head\.safetensors"):
        RcnnDetector.load(tmp_path, device="cpu")


def test_a_warp_detector_of_an_earlier_version_keeps_its_averages(network: Any, tmp_path: Path) -> None:
    features = WarpFeatures(Network(build_backbone("tiny", 5, 64), (), device="cpu"), context=4, grid=1)
    RcnnDetector(features, ("a",), np.ones((1, features.dim), np.float32), np.zeros(1, np.float32)).save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["features"].pop("layer") == "map"
    (tmp_path / "model.json").write_text(json.dumps(described))
    assert RcnnDetector.load(tmp_path, device="cpu").features.settings == features.settings
