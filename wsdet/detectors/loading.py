"""Saved detectors of every kind: what lies in a folder says itself what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsdet.storage.untrusted import read_json
from wsdet.types import Detector, InputError


def load_detectors(
    folders: Mapping[str, Path], device: str = "auto", precision: str = "auto", worker: int = 0
) -> dict[str, Detector]:
    """Saved detectors by name; those of one run share the features of their proposals.

    Args:
        folders: what their `save` wrote. They may come from anyone: no code in them is run.
        device: see `wsdet.networks.classifier.Network`, as for `precision`.
        precision: of the forward passes.
        worker: number of this process among those of its machine: of several GPUs each takes one.

    Raises:
        InputError: a folder holds no detector that this version knows, or a file in it is damaged.
    """
    import torch

    from wsdet.detectors.neural.detector import NeuralDetector
    from wsdet.detectors.rcnn.detector import RcnnDetector

    if device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        device = f"cuda:{worker % torch.cuda.device_count()}"
    detectors: dict[str, Detector] = {}
    features = None
    for name, folder in folders.items():
        kind = _kind(folder)
        if kind.startswith("wsdet R-CNN"):
            rcnn = RcnnDetector.load(folder, device, precision, features)
            features, detectors[name] = rcnn.features, rcnn
        elif kind.startswith("wsdet neural"):
            detectors[name] = NeuralDetector.load(folder, device, precision)
        else:
            raise InputError(f"{folder / 'model.json'} describes no detector of this version, got {kind!r}")
    return detectors


def _kind(folder: Path) -> str:
    described = read_json(folder / "model.json")
    return str(described.get("format", "")) if isinstance(described, dict) else ""
