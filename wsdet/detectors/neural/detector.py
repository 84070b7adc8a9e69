"""`NeuralDetector`: a detector of torchvision over the run's own network, and its files. It needs no proposals.

A saved detector is a folder without any code in it:

    model.json           classes, options, network, and what else a reader wants to know
    model.safetensors    all weights
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from wsdet.boxes import clip, scale
from wsdet.detectors.described_network import described_network
from wsdet.detectors.neural.options import ModelOptions, WeakLosses
from wsdet.detectors.neural.pyramid import Pyramid
from wsdet.detectors.neural.supervision import LossRules
from wsdet.detectors.neural.torchvision_models import build_model
from wsdet.detectors.tiles import detect_in_tiles
from wsdet.networks.backbones import Backbone
from wsdet.networks.classifier import resolve_device, resolve_precision
from wsdet.storage import tensors
from wsdet.storage.files import write_json
from wsdet.storage.untrusted import read_object
from wsdet.tiles import Tiling
from wsdet.types import Boxes, Detector, InputError, Pixels, Sample

FORMAT = "wsdet neural detector 1"
_MAX_INPUT = 2048  # pixels that a detector which comes from anywhere may ask its network to take


class NeuralDetector:
    """A trained detector.

    Args:
        model: what `build_detector` built.
        classes: names of the classes.
        options: what it was built with, its short side set.
        network: architecture and input size of its backbone, which is built anew from them when it is loaded.
        device: "cpu", "cuda", "cuda:1", ... or "auto": CUDA where there is one.
        precision: "float32", "bfloat16", "float16" or "auto": float32 on the CPU, bfloat16 on a GPU.
        info: what else the file says about itself, as plain JSON values; nothing depends on it.

    Raises:
        InputError: there is no such device, or the precision is unknown.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        options: ModelOptions,
        network: Mapping[str, Any],
        device: str = "auto",
        precision: str = "auto",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.dtype = resolve_precision(precision, self.device)
        self.model = model.eval().requires_grad_(False)
        self.model.to(self.device, memory_format=fastest_layout(model, self.device.type))  # type: ignore[call-overload]
        self.options = options
        self.network = dict(network)
        self.info = dict(info or {})
        self._classes = tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that `Boxes.labels` index."""
        return self._classes

    @property
    def needs_proposals(self) -> bool:
        """Whether `detect` looks at proposals."""
        return False

    @property
    def tiling(self) -> Tiling | None:
        """The tiles that it looks at beside the image."""
        return self.options.tiling

    @property
    def device_type(self) -> str:
        """Where it runs, "cpu" or "cuda"."""
        return self.device.type

    @property
    def precision(self) -> str:
        """Of its forward passes."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def fingerprint(self) -> str:
        """Short hash of the weights and options: what a store records of the detector that made its boxes."""
        digest = hashlib.sha256(repr((self.options, self._classes, str(self.dtype))).encode())
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def detect(self, sample: Sample, proposals: Boxes | None = None) -> Boxes:
        """Scored and labeled boxes of an image, best first; proposals are not looked at."""

        def of_part(part: Sample, _: Boxes) -> dict[str, Boxes]:
            return {"": self._detect_batch([part])[0]}

        return detect_in_tiles(of_part, sample, Boxes.empty(), self.tiling)[""]

    def detect_all(self, samples: Iterable[Sample], batch_size: int = 8) -> Iterator[Boxes]:
        """The boxes of each of many images, computed `batch_size` at once; padding may move them by rounding.

        Tiles are not looked at.
        """
        waiting = iter(samples)
        while batch := list(islice(waiting, batch_size)):
            yield from self._detect_batch(batch)

    @torch.inference_mode()
    def _detect_batch(self, samples: Sequence[Sample]) -> list[Boxes]:
        inputs = [self._input(sample.pixels) for sample in samples]
        with self._autocast():
            found = self.model(inputs)
        return [
            _to_boxes(one, (int(image.shape[1]), int(image.shape[2])), sample.size_hw)
            for one, image, sample in zip(found, inputs, samples, strict=True)
        ]

    def _input(self, pixels: Pixels) -> Tensor:
        resized = resize(pixels, self.options.size_of((pixels.shape[0], pixels.shape[1])))
        return torch.from_numpy(resized).to(self.device).permute(2, 0, 1).float() / 255

    def _autocast(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def save(self, folder: Path | str) -> None:
        """Writes the detector; `model.json` comes last, so a folder that has it is complete."""
        folder = Path(folder)
        tensors.save(folder / "model.safetensors", self.model.state_dict(), {"format": FORMAT})
        described = {
            "format": FORMAT,
            "classes": list(self._classes),
            "options": asdict(self.options),
            "network": self.network,
            "info": self.info,
        }
        write_json(folder / "model.json", described)

    @classmethod
    def load(cls, folder: Path | str, device: str = "auto", precision: str = "auto") -> NeuralDetector:
        """A saved detector.

        Args:
            folder: what `save` wrote. It may come from anybody: no code in it is run.
            device: see the class.
            precision: see the class.

        Raises:
            InputError: a file is missing, damaged, or does not fit the other.
        """
        folder = Path(folder)
        path = folder / "model.json"
        described = _read_description(path)
        try:
            options = ModelOptions(**described["options"])
            network = described_network(path, described["network"], folder / "model.safetensors", _MAX_INPUT)
            model = build_detector(options, network, len(described["classes"]))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} describes no usable detector: {error}; train it again") from error
        _load_weights(model, folder / "model.safetensors")
        return cls(model, described["classes"], options, described["network"], device, precision, described["info"])


def build_detector(
    options: ModelOptions, backbone: Backbone, n_classes: int, losses: WeakLosses | None = None
) -> nn.Module:
    """torchvision's detector over a copy of a classifier's trunk; all that is new has random weights.

    Its `rules` take the place of the weak losses' state (see `LossRules`).
    """
    rules = LossRules(losses or WeakLosses())
    pyramid = Pyramid(backbone, options.strides, options.channels, options.trainable_layers)
    model = build_model(options, pyramid, n_classes, backbone.mean, backbone.std, rules)
    model.rules = rules  # type: ignore[assignment]
    return model


def fastest_layout(model: nn.Module, device_type: str) -> torch.memory_format:
    """Channels last, but for networks with depthwise convolutions on a GPU.

    cuDNN takes over grouped convolutions of that layout, and can be 30 times slower at them than PyTorch's own kernels
    are in the usual one (https://github.com/pytorch/pytorch/issues/34977).
    """
    grouped = any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules())
    return torch.contiguous_format if grouped and device_type == "cuda" else torch.channels_last


def resize(pixels: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """(h, w, 3) pixels as `size_hw`: averaged by area where that shrinks them, else interpolated (OpenCV)."""
    h, w = size_hw
    shrinks = h * w < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)


def _to_boxes(found: Mapping[str, Tensor], from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Boxes:
    """torchvision's detections in the network's input as boxes in the image; class 1 there is class 0 here."""
    xyxy, scores, labels = (found[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
    xyxy = clip(scale(xyxy.astype(np.float32), from_hw, to_hw), to_hw)
    order = np.argsort(-scores, kind="stable")
    order = order[(labels[order] > 0) & (xyxy[order, 2:] > xyxy[order, :2]).all(axis=1)]
    return Boxes(xyxy[order], scores[order], labels[order] - 1)


def load_saved(folder: Path, device: str, precision: str, others: Mapping[str, Detector]) -> NeuralDetector:
    """See `wsdet.detectors.loading`."""
    return NeuralDetector.load(folder, device, precision)


def _read_description(path: Path) -> dict[str, Any]:
    """What model.json says, with every field that `load` reads of the right kind."""
    described = read_object(path)
    if described.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a detector of this version ({FORMAT!r}); train it again")
    for name, kind in {"classes": list, "options": dict, "network": dict, "info": dict}.items():
        if not isinstance(described.get(name), kind):
            raise InputError(f"{path}: {name!r} is missing or of the wrong kind; train the detector again")
    classes = described["classes"]
    if not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path}: 'classes' must be a list of names; train the detector again")
    return described


def _load_weights(model: nn.Module, path: Path) -> None:
    weights, _ = tensors.load_torch(path, FORMAT)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} does not fit model.json beside it: {reason}") from error
