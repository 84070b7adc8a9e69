"""A trained detector as a file for other programs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from wsdet.types import Dataset, InputError, Sample

log = logging.getLogger(__name__)

_COMPARED = 3  # photos


def export_model(folder: Path, dataset: Dataset, ids: Sequence[str], path: Path) -> None:
    """Writes a detector as ONNX, compared with PyTorch on photos of a data set, cut to different shapes.

    Args:
        folder: of the detector.
        dataset: gives the photos.
        ids: of them; the first three are looked at.
        path: of the file, by custom NAME.onnx.

    Raises:
        InputError: the detector is of a kind that cannot be exported, or the file would find other boxes.
    """
    from wsdet.detectors.loading import load_detectors
    from wsdet.detectors.neural import onnx_export as neural
    from wsdet.detectors.neural.detector import NeuralDetector
    from wsdet.detectors.rcnn import onnx_export as rcnn
    from wsdet.detectors.rcnn.detector import RcnnDetector

    detector = load_detectors({"detector": folder}, "cpu", "float32")["detector"]
    if not ids:
        raise InputError("format=onnx compares the file with PyTorch on photos, and data= has none; give data=")
    shown = [_cut(dataset.load(ids[number % len(ids)]), number) for number in range(_COMPARED)]
    if isinstance(detector, NeuralDetector):
        found = neural.export_onnx(detector, path, shown)
    elif isinstance(detector, RcnnDetector):
        found = rcnn.export_onnx(detector, path, shown)
    else:
        raise InputError(f"{folder} holds a {type(detector).__name__}, which cannot be exported to ONNX")
    log.info(
        "%s: %d boxes in %d photos are off by at most %.2g pixels and %.2g in their scores",
        path,
        found["boxes"],
        len(shown),
        found["pixels"],
        found["scores"],
    )


def _cut(sample: Sample, number: int) -> Sample:
    """The photo as it is, its upper half, or its left half."""
    h, w = sample.size_hw
    part = sample.pixels[: max(1, h // 2) if number == 1 else h, : max(1, w // 2) if number == 2 else w]
    return Sample(sample.image_id, part, sample.labels)
