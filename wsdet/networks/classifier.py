"""A frozen classifier that answers the questions of localizers and gives detectors their feature maps.

It sees an image as one copy on the device; masks and crops are made there. Scores are probabilities in float32
whatever the working precision.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, softmax
from torch import Tensor

from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.crops import rescaled_crops
from wsdet.networks.gradients import Gradients
from wsdet.networks.imagenet_classes import class_outputs
from wsdet.networks.incremental import IncrementalNetwork, Known
from wsdet.networks.pyramid import Pyramid, SummedMap
from wsdet.networks.weights import Activation, read_metadata
from wsdet.questions import (
    Cropped,
    FeatureMap,
    Fill,
    GradientQuestion,
    GuidedBackprop,
    Kept,
    LayerMaps,
    Masked,
    NeuronRank,
    Outputs,
    Picture,
    PixelGradient,
    Question,
    RegionFeatures,
    Regions,
    Whole,
)
from wsdet.types import Floats, InputError, Ints, Pixels, Sample

log = logging.getLogger(__name__)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_REGION_GRID = 3  # cells along a side of a region that the head is given: more change little and cost more
_REGION_BATCH = 128  # regions that the head is given at once
_COPY_SIDES = 4  # the copy of an image on the device is at most so many network inputs wide or high


@dataclass(frozen=True, eq=False)
class View:
    """An image on the device.

    Attributes:
        copy: (1, 3, h', w') float32 in [0, 255]: what crops are cut from; no side above 4 network inputs.
        picture: (3, s, s) the network's normalized input.
        size_hw: height and width of the original image.
    """

    copy: Tensor
    picture: Tensor
    size_hw: tuple[int, int]


class Network:
    """A frozen classifier.

    Args:
        backbone: trunk and head; moved to `device`, set to evaluation mode.
        class_outputs: for each dataset class, the indices of the outputs that stand for it; empty for none.
        activation: how logits become probabilities: "softmax" over all outputs, or a "sigmoid" each.
        device: "cpu", "cuda", "cuda:1", ... or "auto": CUDA where there is one.
        precision: "float32", "bfloat16", "float16" or "auto": float32 on the CPU, bfloat16 on a GPU.
        incremental: whether masked pictures are computed from what is known of the image and the mask's color
            (`wsdet.networks.incremental`), which gives the same logits up to rounding; "auto": on the CPU, where it
            is faster.

    Raises:
        InputError: `device`, `precision` or `incremental` is unknown, or there is no such device here.
    """

    def __init__(
        self,
        backbone: Backbone,
        class_outputs: Sequence[Sequence[int]],
        activation: Activation = "softmax",
        device: str = "auto",
        precision: str = "auto",
        incremental: bool | Literal["auto"] = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.dtype = resolve_precision(precision, self.device)
        self.input_size = backbone.input_size
        self.activation: Activation = activation
        self.class_outputs = tuple(tuple(outputs) for outputs in class_outputs)
        self.fingerprint = _fingerprint(backbone)
        self.n_pictures = 0  # answered so far
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._gradients = Gradients(self.backbone, self.class_outputs)
        self._mean = 255 * torch.tensor(backbone.mean, device=self.device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(backbone.std, device=self.device).view(1, 3, 1, 1)
        if incremental not in (True, False, "auto"):
            raise InputError(f"incremental must be true, false or auto, got {incremental!r}")
        self._is_incremental = False if incremental == "auto" and self.device.type != "cpu" else incremental
        self._known: WeakKeyDictionary[View, Known] = WeakKeyDictionary()
        self._levels: WeakKeyDictionary[View, tuple[SummedMap, ...]] = WeakKeyDictionary()
        self._pyramid = Pyramid(self.input_size)
        self._known_fills: dict[Fill, Known] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on, as plain values."""
        return {
            "fingerprint": self.fingerprint,
            "precision": str(self.dtype).removeprefix("torch."),
            "activation": self.activation,
            "class_outputs": [list(outputs) for outputs in self.class_outputs],
        }

    def prepare(self, sample: Sample) -> View:
        """The image on the device."""
        image = self.image(sample.pixels)
        h, w = sample.size_hw
        shrink = min(1.0, _COPY_SIDES * self.input_size / max(h, w))
        copy = image[None].float()
        if shrink < 1:
            copy = _resize(copy, (max(1, round(h * shrink)), max(1, round(w * shrink))))
        picture = self.resized(image[None].float(), (self.input_size, self.input_size))[0]
        return View(copy, picture, sample.size_hw)

    def image(self, pixels: Pixels) -> Tensor:
        """(3, h, w) uint8 on the device of (h, w, 3) pixels."""
        return torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)

    def resized(self, image: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(1, 3, h', w') normalized, in the working precision, of (1, 3, h, w) values in [0, 255]; antialiased."""
        return self.normalized(_resize(image, size_hw))

    def levels(self, image: Tensor, sizes_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        """The trunk's map of an image, (1, 3, h, w) in [0, 255], at each of several sizes: (rows, columns, d) each."""
        return tuple(self.trunk(self.resized(image, size_hw))[0].permute(1, 2, 0) for size_hw in sizes_hw)

    def normalized(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) of values in [0, 255], normalized, in the working precision; the mean color becomes 0."""
        pictures = (pictures - self._mean) / self._std
        return pictures.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def crops(self, image: Tensor, xyxy: Tensor, context: int = 0) -> Tensor:
        """(n, 3, s, s) normalized pictures: each box of an image warped to the network's input.

        Args:
            image: (3, h, w) values in [0, 255].
            xyxy: (n, 4) boxes in its pixels.
            context: pixels of the image to show around the box, counted in the warped picture (R-CNN: 16); what lies
                outside the image has the mean color.
        """
        return self._crops(image.float(), xyxy, context)

    @torch.inference_mode()
    def trunk(self, pictures: Tensor) -> Tensor:
        """(n, d, rows, columns) last convolutional maps of (n, 3, h, w) normalized pictures."""
        return self.backbone.trunk(pictures)

    @torch.inference_mode()
    def logits(self, pictures: Tensor) -> Tensor:
        """(n, c) float32 outputs before the activation of (n, 3, s, s) normalized pictures."""
        return self.backbone(pictures).float()

    def outputs(self, logits: Floats) -> Outputs:
        """The answer whose rows are `logits`, (n, c)."""
        scores = softmax(logits, axis=1) if self.activation == "softmax" else expit(logits)
        class_scores = np.full((len(logits), len(self.class_outputs)), np.nan, np.float32)
        for index, outputs in enumerate(self.class_outputs):
            if outputs:
                class_scores[:, index] = scores[:, list(outputs)].max(axis=1)
        return Outputs(logits, scores.astype(np.float32), class_scores)

    @torch.inference_mode()
    def answer(self, pictures: Sequence[Picture]) -> list[Any]:
        """A row of answer for each of `pictures`, all of one route: logits (c,), a feature map, gradients, ..."""
        self.n_pictures += len(pictures)
        if pictures and isinstance(pictures[0].question, Regions | RegionFeatures):
            return [self._read_off(picture.view, picture.question) for picture in pictures]  # type: ignore[arg-type]
        if pictures and isinstance(pictures[0].question, GradientQuestion):
            asked = [(question, row) for _, question, row in pictures if isinstance(question, GradientQuestion)]
            return self._gradients.answer(torch.stack([picture.view.picture for picture in pictures]), asked)
        rows: dict[int, Any] = dict(self._composed(pictures))
        others = [i for i in range(len(pictures)) if i not in rows]
        if others:
            rows |= zip(others, self._answer_in_full([pictures[i] for i in others]), strict=True)
        return [rows[i] for i in range(len(pictures))]

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """The answer to `question` from the rows that `answer` gave for its pictures."""
        if isinstance(question, FeatureMap | RegionFeatures | PixelGradient | NeuronRank | LayerMaps):
            return rows[0]
        if isinstance(question, GuidedBackprop):
            return rows[0] if len(rows) else np.zeros((0, 3, self.input_size, self.input_size), np.float32)
        if isinstance(question, Regions):
            return self.outputs(rows[0])
        n_outputs = self.backbone.n_outputs
        return self.outputs(np.stack(rows) if len(rows) else np.zeros((0, n_outputs), np.float32))

    def _answer_in_full(self, pictures: Sequence[Picture]) -> list[Any]:
        maps = self.backbone.trunk(self._inputs(pictures))
        logits = self.backbone.head(maps).float().cpu().numpy()
        return [
            maps[row].float().cpu().numpy() if isinstance(picture.question, FeatureMap) else logits[row]
            for row, picture in enumerate(pictures)
        ]

    def _read_off(self, view: View, question: Regions | RegionFeatures) -> Floats:
        """(n, c) logits of boxes or their (n, d) features, read off the image's maps at several scales.

        The maps of an image cost as many pictures as the image at these scales has network inputs.
        """
        if view not in self._levels:
            sizes_hw = self._pyramid.sizes_hw(view.size_hw)
            self.n_pictures += round(sum(h * w for h, w in sizes_hw) / self.input_size**2)
            self._levels[view] = tuple(map(SummedMap.of, self.levels(view.copy, sizes_hw)))
        grid = question.grid if isinstance(question, RegionFeatures) else _REGION_GRID
        averages = self._pyramid.averages(self._levels[view], view.size_hw, question.xyxy, grid)
        if isinstance(question, RegionFeatures):
            return averages.flatten(1).cpu().numpy()
        cells = averages.unflatten(1, (_REGION_GRID, _REGION_GRID)).permute(0, 3, 1, 2)  # (n, d, grid, grid)
        parts = [self.backbone.head(part.to(self.dtype)).float() for part in cells.split(_REGION_BATCH)]
        return torch.cat([averages.new_empty(0, self.backbone.n_outputs), *parts]).cpu().numpy()

    @cached_property
    def _incremental(self) -> IncrementalNetwork | None:
        if not self._is_incremental:
            return None
        try:
            picture = torch.zeros(3, self.input_size, self.input_size, dtype=self.dtype, device=self.device)
            return IncrementalNetwork(self.backbone, picture)
        except ValueError as error:
            log.info("masked pictures take full passes: %s", error)
            return None

    def _composed(self, pictures: Sequence[Picture]) -> dict[int, Floats]:
        """Logits by place in `pictures` of those done incrementally: masked ones, with "auto" those where it pays."""
        network = self._incremental
        masked = [
            (i, view, question, self._painted_xyxy(question, row, view))
            for i, (view, question, row) in enumerate(pictures)
            if isinstance(question, Masked)
        ]
        if network is None or not masked:
            return {}
        if self._is_incremental == "auto":
            pays = network.pays(np.stack([xyxy for *_, xyxy in masked]))
            masked = [one for one, one_pays in zip(masked, pays, strict=True) if one_pays]
        return dict(zip([i for i, *_ in masked], self._composed_logits(network, masked), strict=True)) if masked else {}

    def _composed_logits(self, network: IncrementalNetwork, masked: Sequence[tuple[int, View, Masked, Ints]]) -> Floats:
        """(n, c) logits of boxes painted over: (place, image, question, box in pixels of the network's input) each."""
        for _, view, question, _ in masked:
            if view not in self._known:
                self._known[view] = network.know(view.picture)
            if question.fill not in self._known_fills:
                self._known_fills[question.fill] = network.know(self._color(question.fill).expand_as(view.picture))
        logits = network.compose(
            [self._known[view] for _, view, _, _ in masked],
            [self._known_fills[question.fill] for _, _, question, _ in masked],
            np.stack([xyxy for *_, xyxy in masked]),
        )
        return logits.float().cpu().numpy()

    def _inputs(self, pictures: Sequence[Picture]) -> Tensor:
        """(n, 3, s, s) network inputs; the crops of one image are cut together."""
        batch = torch.stack([picture.view.picture for picture in pictures])
        crops: dict[int, list[int]] = {}
        for row, (view, question, i) in enumerate(pictures):
            match question:
                case Masked():
                    self._paint(batch[row], question, i, view)
                case Cropped():
                    crops.setdefault(id(view), []).append(row)
                case Kept():
                    batch[row] *= torch.from_numpy(question.masks[i]).to(self.device)
                case Whole() | FeatureMap():
                    pass
        for rows in crops.values():
            view = pictures[rows[0]].view
            xyxy = np.stack([pictures[row].question.xyxy[pictures[row].row] for row in rows])  # type: ignore[union-attr]
            factor = np.array(view.copy.shape[:1:-1]) / view.size_hw[::-1]  # width, height
            batch[rows] = self._crops(view.copy[0], torch.from_numpy((xyxy * np.tile(factor, 2)).astype(np.float32)))
        return batch.contiguous(memory_format=torch.channels_last)

    def _paint(self, picture: Tensor, question: Masked, row: int, view: View) -> None:
        """Paints one box over, in place."""
        x1, y1, x2, y2 = self._painted_xyxy(question, row, view)
        picture[:, y1:y2, x1:x2] = self._color(question.fill)

    def _painted_xyxy(self, question: Masked, row: int, view: View) -> Ints:
        """(4,) the box that is painted over, in pixels of the network's input."""
        h, w = view.size_hw
        xyxy = np.rint(question.xyxy[row] * self.input_size / np.array([w, h, w, h])).astype(np.int64)
        return np.clip(xyxy, 0, self.input_size)

    def _color(self, fill: Fill) -> Tensor:
        """(3, 1, 1) normalized color that masks are painted with."""
        black = (-self._mean / self._std).to(self.dtype)[0]
        return black if fill == "black" else torch.zeros_like(black)

    def _crops(self, image: Tensor, xyxy: Tensor, context: int = 0) -> Tensor:
        xyxy = xyxy.to(image)
        if context:
            margin = (xyxy[:, 2:] - xyxy[:, :2]) * (context / (self.input_size - 2 * context))
            xyxy = torch.cat([xyxy[:, :2] - margin, xyxy[:, 2:] + margin], dim=1)
        pictures = self.normalized(rescaled_crops(image, xyxy, self.input_size))
        if context:
            pictures *= self._inside(xyxy, image.shape[-2], image.shape[-1])
        return pictures

    def _inside(self, xyxy: Tensor, h: int, w: int) -> Tensor:
        """(n, 1, s, s) whether a pixel of the warped boxes lies inside the image."""
        steps = (torch.arange(self.input_size, device=self.device) + 0.5) / self.input_size
        xs = xyxy[:, :1] + steps * (xyxy[:, 2:3] - xyxy[:, :1])  # (n, s)
        ys = xyxy[:, 1:2] + steps * (xyxy[:, 3:] - xyxy[:, 1:2])
        return (((ys >= 0) & (ys < h))[:, None, :, None] & ((xs >= 0) & (xs < w))[:, None, None, :]).to(self.dtype)


def load_network(
    architecture: str,
    classes: Sequence[str],
    wnids: Sequence[str] | None = None,
    weights: str | Path | None = None,
    input_size: int | None = None,
    activation: Activation = "softmax",
    model_name: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    incremental: bool | Literal["auto"] = "auto",
) -> Network:
    """The network of an architecture and its weights, with its outputs mapped to a data set's classes.

    Args:
        architecture: a name that `build_backbone` takes.
        classes: the data set's classes.
        wnids: their WordNet ids, where known: they find the ImageNet outputs of a class.
        weights: a file; "imagenet" for the publisher's; None for random ones. A file that wsdet trained says itself
            which classes its outputs are, its input size and activation; other files are taken to have the 1000
            outputs of ImageNet.
        input_size: side of the input in pixels; None: what the network or file was made for.
        activation: "softmax" or "sigmoid", for weights that do not say.
        model_name: timm's name of the network, for architecture "timm".
        device: see `Network`.
        precision: see `Network`.
        incremental: see `Network`.

    Raises:
        InputError: the weights cannot be used, or know none of the classes.
    """
    metadata = None if weights in (None, "imagenet") else read_metadata(str(weights))
    if metadata is None or not metadata.classes:
        backbone = build_backbone(architecture, input_size=input_size, weights=weights, model_name=model_name)
        return Network(backbone, class_outputs(classes, wnids), activation, device, precision, incremental)
    backbone = build_backbone(
        architecture, metadata.n_outputs, input_size or metadata.input_size, weights, model_name=model_name
    )
    outputs = tuple((metadata.classes.index(name),) if name in metadata.classes else () for name in classes)
    if not any(outputs):
        raise InputError(
            f"{weights} was trained for the classes {', '.join(metadata.classes[:10])}, of which the data has none; "
            "set network.weights to other weights, or null to train"
        )
    return Network(backbone, outputs, metadata.activation, device, precision, incremental)


def resolve_device(device: str) -> torch.device:
    """The device that a config names; "auto" is CUDA where there is one, else the CPU.

    Raises:
        InputError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu or cuda, got {device!r}") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device={device}: this machine has no CUDA device that torch can use; give device=cpu or auto"
        )
    return resolved


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The working type that a config names; "auto" is bfloat16 on a GPU, float32 on the CPU.

    Raises:
        InputError: the name is unknown.
    """
    if precision == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if precision not in PRECISIONS:
        raise InputError(f"precision must be auto or one of {sorted(PRECISIONS)}, got {precision!r}")
    return PRECISIONS[precision]


def _resize(pictures: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return F.interpolate(pictures, size_hw, mode="bilinear", antialias=True, align_corners=False)


def _fingerprint(backbone: Backbone) -> str:
    """Short hash of the weights: what a store records of the network that made its boxes."""
    digest = hashlib.sha256(f"{backbone.architecture} {backbone.input_size}".encode())
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
