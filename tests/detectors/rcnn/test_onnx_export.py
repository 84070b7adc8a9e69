"""ONNX files of SVM detectors: they find what the detector finds in given boxes, at any size, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wsdet.detectors.rcnn.box_regression import BoxShifts
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import BoxFeatures, RoiFeatures, WarpFeatures
from wsdet.detectors.rcnn.onnx_export import export_onnx
from wsdet.networks.backbones import build_backbone
from wsdet.networks.classifier import Network
from wsdet.types import InputError, Sample

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["a", "b", "c"]
image = np.random.default_rng(0).integers(0, 255, (61, 97, 3)).astype(np.uint8)
proposals = np.array([[0, 0, 50, 50], [10, 10, 97, 61]], np.float32)
boxes, scores, labels = session.run(None, {"image": image, "proposals": proposals})
assert len(boxes) == len(scores) == len(labels) > 0 and set(labels) <= {0, 1}
"""


def detector_of(architecture: str, shifts: BoxShifts | None = None, warp: bool = False) -> RcnnDetector:
    """With random weights; its last class is never found."""
    torch.manual_seed(0)
    network = Network(build_backbone(architecture, input_size=64), (), device="cpu", precision="float32")
    features: BoxFeatures = WarpFeatures(network) if warp else RoiFeatures(network)
    weights = np.random.default_rng(0).normal(size=(3, features.dim)).astype(np.float32)
    return RcnnDetector(features, "abc", weights, np.array([0.1, 0.2, -np.inf], np.float32), shifts=shifts)


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample("photo", rng.integers(0, 255, (*size, 3)).astype(np.uint8)) for size in ((75, 112), (200, 130), (30, 90))
    ]


def shifts_of(dim: int) -> BoxShifts:
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.02, (3, 4, dim)).astype(np.float32)
    return BoxShifts(weights, rng.normal(0, 0.1, (3, 4)).astype(np.float32))


@pytest.mark.parametrize(
    ("architecture", "moves"),  # of two kinds of maps
    [("tiny", True), pytest.param("squeezenet1_0", False, marks=pytest.mark.slow)],
)
def test_the_file_finds_what_the_detector_finds(architecture: str, moves: bool, tmp_path: Path) -> None:
    path, detector = tmp_path / "model.onnx", detector_of(architecture)
    if moves:
        detector = detector_of(architecture, shifts_of(detector.features.dim))
    found = export_onnx(detector, path, samples())
    assert found["boxes"] > 100
    assert found["pixels"] < 1e-3
    assert found["scores"] < 1e-3
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="features=roi"):
        export_onnx(detector_of("tiny", warp=True), tmp_path / "model.onnx", samples())
    assert not list(tmp_path.iterdir())
