"""An R-CNN with SVMs as one ONNX file: the network at all scales, features of given boxes, classifiers, suppression.

    inputs  image      (height, width, 3) uint8, RGB: a photo of any size
            proposals  (m, 4) float32 xyxy in its pixels, which another program makes
    outputs boxes      (n, 4) float32 xyxy, best first
            scores     (n,) float32, probabilities that the boxes are correct
            labels     (n,) int64, indices into the classes

Resizing is inside, as two products with matrices of the antialiased filter's weights: exact at every size, which the
exported interpolation is not. The metadata `classes` names the labels; `max_proposals` boxes count, the first (0: all).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsdet.boxes import area
from wsdet.detectors import onnx_file
from wsdet.detectors.onnx_file import Arrays, Outputs
from wsdet.detectors.rcnn.box_regression import moved_within
from wsdet.detectors.rcnn.detector import RcnnDetector
from wsdet.detectors.rcnn.features import RoiFeatures
from wsdet.networks.pyramid import SHORTEST_SIDE, cell_edges
from wsdet.networks.torchvision_import import import_torchvision
from wsdet.storage.files import replacing
from wsdet.types import Boxes, Floats, InputError, Sample

_N_BOXES = 300  # that both are compared on, in each image
_LEAST_SIDE = 4.0  # pixels, of these
_NEVER = -1e30  # below the score of any class that can be found


def export_onnx(detector: RcnnDetector, path: Path, samples: Sequence[Sample]) -> dict[str, float]:
    """Writes the file, and checks it on images with boxes drawn at random.

    Args:
        detector: computes in float32 on the CPU; its features are read off maps of the image.
        path: of the file, by custom NAME.onnx.
        samples: images to compare both on, of different shapes.

    Returns:
        `boxes` compared, and the greatest differences in `pixels` and in `scores`.

    Raises:
        InputError: onnx or onnxruntime is missing, the detector is of another kind or cannot be exported, or the file
            finds other boxes than the detector; then none is written.
    """
    features = detector.features
    if not isinstance(features, RoiFeatures):
        raise InputError("format=onnx is for SVMs over detector.features=roi; those of warped crops cannot be exported")
    if detector.tiling:
        raise InputError("format=onnx is for detectors of whole images; this one was trained with tile=")
    by_id = {f"{number}: {sample.image_id}": sample for number, sample in enumerate(samples)}
    inputs = [(key, _inputs(sample, seed)) for seed, (key, sample) in enumerate(by_id.items())]
    of_inputs = {id(arrays): by_id[key] for key, arrays in inputs}

    def found_by_torch(arrays: Arrays) -> Outputs:
        n = len(arrays["proposals"])
        proposals = Boxes(arrays["proposals"], np.ones(n, np.float32), np.full(n, -1))
        found = detector.detect(of_inputs[id(arrays)], proposals)
        return found.xyxy, found.scores, found.labels

    with replacing(path) as beside:
        examples = {name: torch.from_numpy(array) for name, array in inputs[0][1].items()}
        free = {"image": {0: "height", 1: "width"}, "proposals": {0: "m"}}
        onnx_file.write(_Graph(detector, features), examples, free, beside)
        onnx_file.describe(beside, {"classes": list(detector.classes), "max_proposals": detector.max_proposals})
        return onnx_file.compare(beside, found_by_torch, inputs, detector.classes)


def _inputs(sample: Sample, seed: int) -> dict[str, Floats]:
    """The image, and boxes of all sizes."""
    h, w = sample.size_hw
    corners = np.random.default_rng(seed).random((4 * _N_BOXES, 2, 2)) * [w, h]
    xyxy = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    large = xyxy[area(xyxy) >= min(_LEAST_SIDE**2, h * w / 4)]
    return {"image": np.ascontiguousarray(sample.pixels), "proposals": large[:_N_BOXES]}


class _Graph(nn.Module):
    """From an image and boxes to the three outputs; computes what `RoiFeatures` and `RcnnDetector` do, traceably."""

    weights: Tensor
    biases: Tensor
    offsets: Tensor
    shift_weights: Tensor
    shift_biases: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, detector: RcnnDetector, features: RoiFeatures) -> None:
        super().__init__()
        import_torchvision()  # not while the graph is traced: that would trace the import, too
        from torchvision.ops import batched_nms

        self._batched_nms = batched_nms
        backbone = features.network.backbone
        self.trunk = backbone.trunk
        self.grid, self.pyramid = features.grid, features.pyramid
        self.max_per_class, self.max_per_image = detector.max_per_class, detector.max_per_image
        self.max_proposals, self.nms_iou = detector.max_proposals, detector.nms_iou
        self.register_buffer("weights", detector.weights)
        self.register_buffer("biases", detector.biases.clamp(min=2 * _NEVER))
        self.slope = detector.calibration.slope
        self.register_buffer("offsets", torch.tensor(detector.calibration.offsets))
        self.moves = detector.shifts is not None
        if detector.shifts is not None:
            self.register_buffer("shift_weights", detector.shifts[0].flatten(0, 1))
            self.register_buffer("shift_biases", detector.shifts[1])
        self.register_buffer("mean", 255 * torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(backbone.std).view(1, 3, 1, 1))

    def forward(self, image: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size_hw = torch._shape_as_tensor(image)[:2]
        image = image.permute(2, 0, 1)[None].float()
        if self.max_proposals:
            proposals = proposals[: self.max_proposals]
        limits = size_hw[[1, 0, 1, 0]].to(proposals)
        features = self._features(image, size_hw, proposals.clamp(min=0).minimum(limits))
        return self._select(proposals, features, limits)

    def _features(self, image: Tensor, size_hw: Tensor, xyxy: Tensor) -> Tensor:
        short, long = size_hw.min().double(), size_hw.max().double()
        scales = torch.tensor(self.pyramid.scales, dtype=torch.float64)
        factors = self.pyramid.input_size * torch.minimum(scales / short, self.pyramid.longest / long)
        side = ((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])).sqrt().double()
        off = (side[:, None] * factors - self.pyramid.target * self.pyramid.input_size).abs()
        best = off.argmin(dim=1)
        features = torch.zeros(())
        shortest = max(1, round(SHORTEST_SIDE * self.pyramid.input_size))
        for number in range(len(self.pyramid.scales)):
            to_hw = (size_hw.double() * factors[number]).round().clamp(min=shortest)
            averages = self._averages(self._map(image, size_hw, to_hw), size_hw, to_hw, xyxy)
            features = features + torch.where((best == number)[:, None], averages, torch.zeros(()))
        return features

    def _map(self, image: Tensor, size_hw: Tensor, to_hw: Tensor) -> Tensor:
        """(rows, columns, d) the trunk's map of the image at another size, rounded as it is kept."""
        vertical, horizontal = (_resizing(size_hw[axis].double(), to_hw[axis]) for axis in (0, 1))
        resized = vertical @ image @ horizontal.T
        map_: Tensor = self.trunk((resized - self.mean) / self.std)[0].permute(1, 2, 0)
        limit = torch.finfo(torch.float16).max
        return map_.clamp(-limit, limit).half().float()

    def _averages(self, map_: Tensor, size_hw: Tensor, resized_hw: Tensor, xyxy: Tensor) -> Tensor:
        """(m, grid * grid * d) as `SummedMap.average_cells` has them."""
        mean = map_.mean(dim=(0, 1))
        integral = F.pad((map_ - mean).cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0))
        map_hw = torch._shape_as_tensor(map_)[:2]
        covered = resized_hw / self.pyramid.stride if self.pyramid.stride else map_hw.double()
        factor = (covered / size_hw.double())[[1, 0, 1, 0]].float()
        x1, y1, x2, y2 = (xyxy * factor).unbind(1)
        columns_at, x_weights, x_sides = cell_edges(x1, x2, map_hw[1], self.grid)
        rows_at, y_weights, y_sides = cell_edges(y1, y2, map_hw[0], self.grid)
        entries = rows_at[:, :, None, :, None] * (map_hw[1] + 1) + columns_at[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        weights = weights / (y_sides * x_sides)[:, None, None, None, None]
        entries, weights = entries.reshape(-1, 16), weights.reshape(-1, 16, 1)
        table = integral.flatten(0, 1)
        sums = torch.zeros(())
        for corner in range(16):  # one after the other: all at once they would fill the memory
            sums = sums + table[entries[:, corner]] * weights[:, corner]
        return (sums + mean).view(-1, self.grid**2 * map_.shape[2])

    def _select(self, boxes: Tensor, features: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = features @ self.weights.T + self.biases
        none = torch.full((self.max_per_class, len(self.biases)), 2 * _NEVER)  # so that there are enough for `topk`
        scores, rows = torch.cat([scores, none]).topk(self.max_per_class, dim=0)
        labels = torch.arange(len(self.biases)).expand(self.max_per_class, len(self.biases))
        found = scores > _NEVER
        scores, rows, labels = scores[found], rows[found], labels[found]
        scores = (self.slope * scores + self.offsets[labels]).sigmoid()
        boxes = boxes[rows]
        if self.moves:
            offsets = (features @ self.shift_weights.T).view(-1, len(self.biases), 4) + self.shift_biases
            boxes = moved_within(boxes, offsets[rows, labels], limits)
        kept = self._batched_nms(boxes, scores, labels, self.nms_iou)
        if self.max_per_image:
            kept = kept[: self.max_per_image]
        return boxes[kept], scores[kept], labels[kept]


def _resizing(length: Tensor, to: Tensor) -> Tensor:
    """(to, length) the weights of antialiased linear interpolation along one axis."""
    scale = length / to
    centers = (_counted(to) + 0.5) * scale
    pixels = _counted(length) + 0.5
    weights = (1 - (pixels[None] - centers[:, None]).abs() / scale.clamp(min=1)).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _counted(n: Tensor) -> Tensor:
    """0, 1, ..., n - 1; `n` stays a tensor, so that the graph counts whatever it gets."""
    return torch.arange(n.long()).double()  # type: ignore[call-overload]
