"""A neural detector as one ONNX file, compared with PyTorch before it is handed out.

    input   image   (height, width, 3) uint8, RGB: the photo, resized as below; height and width are free
    outputs boxes   (n, 4) float32 xyxy in pixels of that input, best first
            scores  (n,) float32 in [0, 1]
            labels  (n,) int64, indices into the classes

Scaling, normalization, padding and non-maximum suppression are inside. Resizing is outside, because exported
interpolation is off by a pixel at some sizes: the metadata `short_side`, `long_side` and `square` say to what size
(`ModelOptions.size_of`), and boxes are scaled back by the ratio of the sizes. The metadata `classes` names the labels.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsdet.detectors.neural.detector import NeuralDetector, resize
from wsdet.storage.files import replacing
from wsdet.types import Floats, InputError, Ints, Pixels, Sample

OPSET = 17
NAMES = ("boxes", "scores", "labels")

_BOX_TOLERANCE = 0.5  # pixels
_SCORE_TOLERANCE = 1e-3
_COMPARED_ABOVE = 0.05  # score: lower detections are many, and which of them stay is decided by rounding

Outputs = tuple[Floats, Floats, Ints]


def export_onnx(detector: NeuralDetector, path: Path, samples: Sequence[Sample]) -> dict[str, float]:
    """Writes the file, and checks it on images.

    Args:
        detector: computes in float32 on the CPU.
        path: of the file, by custom NAME.onnx.
        samples: images to compare both on, of different shapes.

    Returns:
        `boxes` compared, and the greatest differences in `pixels` and in `scores`.

    Raises:
        InputError: onnx or onnxruntime is missing, the detector cannot be exported, or the file finds other boxes than
            the detector; then none is written.
    """
    if detector.device.type != "cpu" or detector.dtype != torch.float32:
        raise InputError("an ONNX export needs the detector in float32 on the CPU; give device=cpu precision=float32")
    with replacing(path) as beside:
        _write(detector, beside, _input(detector, samples[0]))
        _describe(detector, beside)
        return _compare(detector, beside, samples)


def run_onnx(session: Any, image: Pixels) -> Outputs:
    """What an `onnxruntime.InferenceSession` of such a file finds in a resized (h, w, 3) image."""
    boxes, scores, labels = session.run(list(NAMES), {"image": image})
    return boxes, scores, labels


class _Graph(nn.Module):
    """From an image to the three outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.model([image.permute(2, 0, 1).float() / 255])[0]
        boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
        order = scores.topk(scores.shape[0])[1]  # torchvision's heads of several levels leave them by level
        order = order[labels[order] > 0]
        return boxes[order], scores[order], labels[order] - 1


def _input(detector: NeuralDetector, sample: Sample) -> Pixels:
    return resize(sample.pixels, detector.options.size_of(sample.size_hw))


def _write(detector: NeuralDetector, path: Path, image: Pixels) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about Python numbers that depend on the architecture alone
        try:
            torch.onnx.export(
                _Graph(detector.model).eval(),
                (torch.from_numpy(image),),
                str(path),
                dynamo=False,  # the other exporter has no batched_nms
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(NAMES),
                dynamic_axes={"image": {0: "height", 1: "width"}} | {name: {0: "n"} for name in NAMES},
            )
        except Exception as error:  # tracing and conversion may fail anywhere, and say so in many ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"this detector cannot be exported to ONNX with torch {torch.__version__}: {reason}"
            ) from error


def _describe(detector: NeuralDetector, path: Path) -> None:
    onnx = _library("onnx")
    model = onnx.load(path)
    options = detector.options
    facts: Mapping[str, Any] = {
        "classes": list(detector.classes),
        "short_side": options.short_side,
        "long_side": options.long_side,
        "square": options.square,
    }
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _compare(detector: NeuralDetector, path: Path, samples: Sequence[Sample]) -> dict[str, float]:
    runtime = _library("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    n_boxes, pixels, scores = 0, 0.0, 0.0
    for sample in samples:
        image = _input(detector, sample)
        with torch.inference_mode():
            ours = tuple(one.numpy() for one in _Graph(detector.model).eval()(torch.from_numpy(image)))
        theirs = run_onnx(session, image)
        for box, score, label in zip(*ours, strict=True):
            if score < _COMPARED_ABOVE:
                continue
            off, score_off = _nearest(box, score, label, theirs)
            n_boxes, pixels, scores = n_boxes + 1, max(pixels, off), max(scores, score_off)
            if off > _BOX_TOLERANCE or score_off > _SCORE_TOLERANCE:
                raise InputError(
                    f"the ONNX file finds other boxes than the detector in {sample.image_id}: one of class "
                    f"{detector.classes[int(label)]!r} is off by {off:.3g} pixels and {score_off:.3g} in its score"
                )
    return {"boxes": n_boxes, "pixels": pixels, "scores": scores}


def _nearest(box: Floats, score: float, label: int, theirs: Outputs) -> tuple[float, float]:
    """Differences in pixels and in score from the most similar of their boxes of this class; infinite for none."""
    boxes, scores, labels = theirs
    same = labels == label
    if not same.any():
        return np.inf, np.inf
    pixels, score_off = np.abs(boxes[same] - box).max(axis=1), np.abs(scores[same] - score)
    best = int(np.argmin(pixels / _BOX_TOLERANCE + score_off / _SCORE_TOLERANCE))
    return float(pixels[best]), float(score_off[best])


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(f"format=onnx needs the package {name}: pip install 'wsdet[onnx]'") from error
