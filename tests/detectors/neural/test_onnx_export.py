"""ONNX files: they find what PyTorch finds, at any size, and need no torch to run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from wsdet.cli.entry_point import CONF
from wsdet.detectors import onnx_file
from wsdet.detectors.neural.detector import NeuralDetector, build_detector
from wsdet.detectors.neural.onnx_export import export_onnx
from wsdet.detectors.neural.options import KINDS, Kind, ModelOptions
from wsdet.export import run as run_export
from wsdet.networks.backbones import build_backbone
from wsdet.types import InputError, Sample

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["square", "bar", "disc"]
boxes, scores, labels = session.run(None, {"image": np.full((64, 96, 3), 128, np.uint8)})
assert len(boxes) == len(scores) == len(labels) > 0 and set(labels) <= {0, 1, 2}
"""


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    sizes = ((50, 75), (75, 50), (20, 100))
    return [Sample(str(size), rng.integers(0, 255, (*size, 3)).astype(np.uint8)) for size in sizes]


def sure(detector: NeuralDetector) -> NeuralDetector:
    """The detector with scores high enough to be compared."""
    for name, bias in detector.model.named_parameters():
        if name.endswith("cls_logits.bias"):
            bias.data.fill_(-1.0)
    return detector


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_finds_what_pytorch_finds(
    kind: Kind, detector_of: Callable[..., NeuralDetector], tmp_path: Path
) -> None:
    found = export_onnx(sure(detector_of(kind)), tmp_path / "model.onnx", samples())
    assert found["boxes"] > 20
    assert found["pixels"] < 0.5
    assert found["scores"] < 1e-3
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, tmp_path / "model.onnx"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_maps_that_are_stretched_are_so_in_the_file(tmp_path: Path) -> None:
    options = ModelOptions("fcos", channels=64, short_side=64)
    torch.manual_seed(0)
    model: nn.Module = build_detector(options, build_backbone("squeezenet1_0"), 3)
    detector = NeuralDetector(model, ("a", "b", "c"), options, {}, "cpu")
    assert export_onnx(sure(detector), tmp_path / "model.onnx", samples())["boxes"] > 20


@pytest.mark.slow
def test_a_file_that_finds_something_else_is_not_written(
    detector_of: Callable[..., NeuralDetector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnx_file.run_onnx

    def wrong(*arguments: Any) -> Any:
        boxes, scores, labels = run(*arguments)
        return boxes + 1.0, scores, labels

    monkeypatch.setattr(onnx_file, "run_onnx", wrong)
    with pytest.raises(InputError, match="off by 1 pixels"):
        export_onnx(sure(detector_of("fcos")), tmp_path / "model.onnx", samples())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command(detector_of: Callable[..., NeuralDetector], tmp_path: Path) -> None:
    sure(detector_of("fcos")).save(tmp_path / "model")
    data = ["data=synthetic", "data.n_test=2", "data.n_train=0"]
    overrides = [f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}", *data]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_export(compose("export", [*overrides, "format=onnx"]))
        with pytest.raises(InputError, match="format=onnx"):
            run_export(compose("export", [*overrides, "format=coco"]))
    assert (tmp_path / "out" / "model.onnx").exists()
