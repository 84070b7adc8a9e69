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

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wsdet.detectors import onnx_file
from wsdet.detectors.neural.detector import NeuralDetector, resize
from wsdet.detectors.onnx_file import Arrays, Outputs
from wsdet.storage.files import replacing
from wsdet.types import InputError, Pixels, Sample

_COMPARED_ABOVE = 0.05  # score


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
    graph, options = _Graph(detector.model).eval(), detector.options
    images = [(sample.image_id, {"image": _input(detector, sample)}) for sample in samples]
    facts = {
        "classes": list(detector.classes),
        "short_side": options.short_side,
        "long_side": options.long_side,
        "square": options.square,
    }

    def found_by_torch(inputs: Arrays) -> Outputs:
        with torch.inference_mode():
            boxes, scores, labels = graph(torch.from_numpy(inputs["image"]))
        return boxes.numpy(), scores.numpy(), labels.numpy()

    with replacing(path) as beside:
        example = torch.from_numpy(_input(detector, samples[0]))
        onnx_file.write(graph, {"image": example}, {"image": {0: "height", 1: "width"}}, beside)
        onnx_file.describe(beside, facts)
        return onnx_file.compare(beside, found_by_torch, images, detector.classes, _COMPARED_ABOVE)


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
