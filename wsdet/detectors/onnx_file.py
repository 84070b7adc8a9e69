"""ONNX files of detectors: written, described, and compared with PyTorch before they are handed out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsdet.types import Floats, InputError, Ints

OPSET = 17
NAMES = ("boxes", "scores", "labels")  # of the outputs

_BOX_TOLERANCE = 0.5  # pixels
_SCORE_TOLERANCE = 1e-3  # of scores of 1 and less, else relative
_BORDERLINE = 0.01  # share of the boxes that non-maximum suppression may decide otherwise, by rounding

Outputs = tuple[Floats, Floats, Ints]
Arrays = Mapping[str, np.ndarray[Any, Any]]


def write(graph: nn.Module, inputs: Mapping[str, Tensor], free: Mapping[str, Mapping[int, str]], path: Path) -> None:
    """Writes a module that gives `NAMES`.

    Args:
        graph: takes the inputs in their order.
        inputs: examples, by name.
        free: axes of each input whose length is free, and their names.
        path: of the file.

    Raises:
        InputError: it cannot be exported.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer, about Python numbers that depend on the architecture alone
        try:
            torch.onnx.export(
                graph.eval(),
                tuple(inputs.values()),
                str(path),
                dynamo=False,  # the other exporter has no batched_nms
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(NAMES),
                dynamic_axes={**free, **{name: {0: "n"} for name in NAMES}},
            )
        except Exception as error:  # tracing and conversion may fail anywhere, and say so in many ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"this detector cannot be exported to ONNX with torch {torch.__version__}: {reason}"
            ) from error


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Adds metadata to a file, each as JSON, and checks it."""
    onnx = _library("onnx")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def run_onnx(session: Any, inputs: Arrays) -> Outputs:
    """What an `onnxruntime.InferenceSession` of such a file finds."""
    boxes, scores, labels = session.run(list(NAMES), dict(inputs))
    return boxes, scores, labels


def compare(
    path: Path,
    found_by: Callable[[Arrays], Outputs],
    images: Sequence[tuple[str, Arrays]],
    classes: Sequence[str],
    above: float = -np.inf,
) -> dict[str, float]:
    """Compares a file with what it was made from.

    Args:
        path: of the file.
        found_by: gives what PyTorch finds.
        images: ids of images, and the inputs of both.
        classes: names of the classes.
        above: score of the boxes that are compared; lower ones may be many, and decided by rounding.

    Returns:
        `boxes` compared, and the greatest differences in `pixels` and in `scores`.

    Raises:
        InputError: the file finds other boxes.
    """
    session = _library("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    n_boxes, pixels, scores = 0, 0.0, 0.0
    wrong: list[str] = []
    for image_id, inputs in images:
        theirs = run_onnx(session, inputs)
        for box, score, label in zip(*found_by(inputs), strict=True):
            if score < above:
                continue
            n_boxes += 1
            off, score_off = _nearest(box, score, label, theirs)
            if off > _BOX_TOLERANCE or score_off > _SCORE_TOLERANCE:
                wrong.append(
                    f"the ONNX file finds other boxes than the detector in {image_id}: one of class "
                    f"{classes[int(label)]!r} is off by {off:.3g} pixels and {score_off:.3g} in its score"
                )
            else:
                pixels, scores = max(pixels, off), max(scores, score_off)
    if len(wrong) > _BORDERLINE * n_boxes:
        raise InputError(wrong[0])
    return {"boxes": n_boxes, "pixels": pixels, "scores": scores}


def _nearest(box: Floats, score: float, label: int, theirs: Outputs) -> tuple[float, float]:
    """Differences in pixels and in score from the most similar of their boxes of this class; infinite for none."""
    boxes, scores, labels = theirs
    same = labels == label
    if not same.any():
        return np.inf, np.inf
    pixels = np.abs(boxes[same] - box).max(axis=1)
    score_off = np.abs(scores[same] - score) / max(1.0, abs(score))
    best = int(np.argmin(pixels / _BOX_TOLERANCE + score_off / _SCORE_TOLERANCE))
    return float(pixels[best]), float(score_off[best])


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(f"format=onnx needs the package {name}: pip install 'wsdet[onnx]'") from error
