"""Detecting with it: classes in their places, any image, and a folder that can be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import TinyDataset
from wsdet.detectors.neural.detector import NeuralDetector, fastest_layout
from wsdet.detectors.neural.options import KINDS, Kind, ModelOptions
from wsdet.detectors.tiles import merged
from wsdet.stages.detect import check_tiles
from wsdet.tiles import Tiling, cut, shifted
from wsdet.types import Boxes, InputError, Sample

Build = Callable[[Kind], NeuralDetector]


def raise_class(model: Any, kind: Kind, label: int) -> None:
    """Makes class `label` (0: background) the one that every box is of."""
    with torch.no_grad():
        if kind == "faster_rcnn":
            layers = [model.roi_heads.box_predictor.cls_score]
        elif kind == "ssdlite":
            layers = [level[1] for level in model.head.classification_head.module_list]
        else:
            layers = [model.head.classification_head.cls_logits]
        for layer in layers:
            layer.bias.reshape(-1, 4)[:, label] = 20.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [1, 2, 3])
def test_class_c_of_torchvision_is_class_c_minus_1(kind: Kind, label: int, detector_of: Build) -> None:
    detector = detector_of(kind)
    raise_class(detector.model, kind, label)
    found = detector.detect(Sample("x", np.zeros((50, 70, 3), np.uint8)))
    assert found.labels[0] == label - 1


@pytest.mark.parametrize("kind", KINDS)
def test_background_is_never_a_detection(kind: Kind, detector_of: Build) -> None:
    detector = detector_of(kind)
    raise_class(detector.model, kind, 0)
    found = detector.detect(Sample("x", np.zeros((50, 70, 3), np.uint8)))
    assert (found.labels >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (300, 1), (37, 211), (64, 64)])
def test_boxes_lie_in_the_image_best_first(kind: Kind, size_hw: tuple[int, int], detector_of: Build) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*size_hw, 3)).astype(np.uint8)
    found = detector_of(kind).detect(Sample("x", pixels), Boxes.empty())
    h, w = size_hw
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= [w, h, w, h]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert len(found) <= 100


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_finds_what_single_images_do(kind: Kind, detector_of: Build, tiny_dataset: TinyDataset) -> None:
    detector = detector_of(kind)
    samples = [Sample(name, np.ascontiguousarray(one.pixels[:48, :48])) for name, one in tiny_dataset.samples.items()]
    together = list(detector.detect_all(samples[:5], batch_size=2))
    for sample, boxes in zip(samples[:5], together, strict=True):
        alone = detector.detect(sample)
        np.testing.assert_allclose(alone.scores, boxes.scores, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(kind: Kind, detector_of: Build, tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    detector, sample = detector_of(kind), tiny_dataset.load("train_0")
    detector.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded = NeuralDetector.load(tmp_path, "cpu")
    assert loaded.classes == detector.classes
    assert loaded.fingerprint == detector.fingerprint
    np.testing.assert_array_equal(loaded.detect(sample).xyxy, detector.detect(sample).xyxy)


def change(folder: Path, **fields: Any) -> None:
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(described | fields), encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "wsdet R-CNN detector 1"}, "of this version"),
        ({"classes": []}, "'classes'"),
        ({"classes": ["a", "b"]}, "does not fit"),
        ({"classes": "abc"}, "'classes'"),
        ({"options": {"kind": "yolo"}}, "kind must be "),
        ({"options": {"kind": "fcos", "channels": 10**9}}, "channels"),
        ({"options": {"kind": "fcos", "surprise": 1}}, "surprise"),
        ({"network": {"architecture": "os.system", "input_size": 64}}, "architecture"),
        ({"network": {"architecture": ["tiny"], "input_size": 64}}, "architecture"),
        ({"network": {"architecture": "timm:eva_giant_patch14_224", "input_size": 64}}, "takes [0-9]{10}"),
        ({"network": {"architecture": "tiny", "input_size": -1}}, "input_size"),
    ],
)
def test_a_changed_description_is_refused(
    fields: dict[str, Any], message: str, detector_of: Build, tmp_path: Path
) -> None:
    detector_of("fcos").save(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(InputError, match=message):
        NeuralDetector.load(tmp_path, "cpu")


@pytest.mark.parametrize("content", [b"", b"\x80\x04abc", b"\xff" * 64])
def test_damaged_weights_are_refused(content: bytes, detector_of: Build, tmp_path: Path) -> None:
    detector_of("fcos").save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="safetensors"):
        NeuralDetector.load(tmp_path, "cpu")


def test_weights_that_are_not_finite_are_not_saved(detector_of: Build, tmp_path: Path) -> None:
    detector = detector_of("fcos")
    next(iter(detector.model.parameters())).data.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        detector.save(tmp_path)
    assert not (tmp_path / "model.json").exists()


def test_sizes_at_which_images_are_seen() -> None:
    options = ModelOptions("fcos", short_side=320)
    assert options.size_of((375, 500)) == (320, 427)
    assert options.size_of((500, 375)) == (427, 320)
    assert options.size_of((100, 1000)) == (53, 533)
    assert options.size_of((1, 1000)) == (1, 533)
    assert replace(options, square=True).size_of((100, 1000)) == (320, 320)
    assert [ModelOptions("fcos").fitted_to(side).short_side for side in (128, 224, 227)] == [192, 320, 352]


@pytest.mark.parametrize(
    "options",
    [{"kind": "yolo"}, {"strides": (8, 32)}, {"strides": ()}, {"channels": 0}, {"short_side": 8}, {"nms_iou": 0}],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must"):
        ModelOptions(**({"kind": "fcos"} | options))


def test_models_are_modules_in_evaluation_mode(detector_of: Build) -> None:
    assert isinstance(detector_of("fcos").model, nn.Module)
    assert not detector_of("fcos").model.training


def test_depthwise_convolutions_keep_the_usual_layout_on_a_gpu() -> None:
    plain, depthwise = nn.Sequential(nn.Conv2d(8, 8, 3)), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    assert fastest_layout(plain, "cuda") == fastest_layout(depthwise, "cpu") == torch.channels_last
    assert fastest_layout(depthwise, "cuda") == torch.contiguous_format


def test_one_of_tiles_looks_at_them_by_itself(detector_of: Build) -> None:
    plain = detector_of("fcos")
    raise_class(plain.model, "fcos", 1)
    options = replace(plain.options, tile=64, tile_overlap=0.25)
    tiled = NeuralDetector(plain.model, plain.classes, options, plain.network, "cpu")
    image = Sample("x", np.random.default_rng(0).integers(0, 255, (64, 120, 3)).astype(np.uint8))
    windows = Tiling(64, 0.25).windows(image.size_hw)
    expected = merged([shifted(plain.detect(cut(image, window)), window) for window in windows], windows)
    found = tiled.detect(image)
    assert len(windows) == 4
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    assert tiled.tiling == Tiling(64, 0.25)
    assert plain.tiling is None
    with pytest.raises(InputError, match="was trained with tile=64 and looks at tiles by itself; give no tile="):
        check_tiles(tiled, Tiling(0.5))
    check_tiles(plain, Tiling(0.5))
