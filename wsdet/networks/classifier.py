"""A frozen classifier that answers the questions of localizers and gives detectors their feature maps.

`Network` holds the parts and the table of who answers what; each part has a file of its own. Scores are probabilities
in float32 whatever the working precision.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from wsdet.networks.backbones import Backbone, build_backbone
from wsdet.networks.class_scores import ClassScores
from wsdet.networks.forward_passes import ForwardPasses
from wsdet.networks.gradients import Gradients
from wsdet.networks.imagenet_classes import class_outputs, has_counterpart
from wsdet.networks.masked_passes import MaskedPasses
from wsdet.networks.preprocessor import Preprocessor, View
from wsdet.networks.region_passes import RegionPasses, level_maps
from wsdet.networks.weights import Activation, digest_of_weights, read_metadata
from wsdet.questions import (
    Cropped,
    FeatureMap,
    GuidedBackprop,
    Kept,
    LayerMaps,
    Masked,
    NetworkInput,
    NeuronRank,
    Outputs,
    PixelGradient,
    Question,
    RegionFeatures,
    Regions,
    Whole,
)
from wsdet.types import Floats, InputError, Sample

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Handler(Protocol):
    """What answers some kinds of questions."""

    n_forward_passes: int  # so far

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """One row for each of `inputs`, whose questions have one batch key."""

    def assemble(self, question: Any, rows: Sequence[Any]) -> Any:
        """The answer to a question from the rows of its inputs."""


@dataclass(frozen=True, eq=False)
class NetworkParts:
    """A network on its way to another process: what makes it anew there.

    Attributes:
        backbone: on the CPU.
        class_outputs: see `Network`, as for the next two.
        activation: of the outputs.
        incremental: whether masked inputs are computed from cached activations.
        device_type: "cpu" or "cuda".
        precision: of the forward passes.
    """

    backbone: Backbone
    class_outputs: Sequence[Sequence[int]]
    activation: Activation
    incremental: bool | Literal["auto"]
    device_type: str
    precision: str

    def network(self, worker: int = 0) -> Network:
        """The network; of several GPUs each worker takes one."""
        device = self.device_type
        if device == "cuda":
            device = f"cuda:{worker % torch.cuda.device_count()}"
        return Network(self.backbone, self.class_outputs, self.activation, device, self.precision, self.incremental)


class Network:
    """A frozen classifier.

    Args:
        backbone: trunk and head; moved to `device`, set to evaluation mode.
        class_outputs: for each dataset class, the indices of the outputs that stand for it; empty for none.
        activation: how logits become probabilities: "softmax" over all outputs, or a "sigmoid" each.
        device: "cpu", "cuda", "cuda:1", ... or "auto": CUDA where there is one.
        precision: "float32", "bfloat16", "float16" or "auto": float32 on the CPU, bfloat16 on a GPU.
        incremental: whether masked inputs are computed from cached activations of the image and the mask's color
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
        if incremental not in (True, False, "auto"):
            raise InputError(f"incremental must be true, false or auto, got {incremental!r}")
        self.device = resolve_device(device)
        self.incremental = incremental
        self.dtype = resolve_precision(precision, self.device)
        self.input_size = backbone.input_size
        # once cast, weights are others: what is made of this network's backbone again is the same network
        backbone.fingerprint = self.fingerprint = backbone.fingerprint or _fingerprint(backbone)
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocessor = Preprocessor(self.input_size, backbone.mean, backbone.std, self.device, self.dtype)
        self.scores = ClassScores(backbone.n_outputs, class_outputs, activation)
        is_incremental = False if incremental == "auto" and self.device.type != "cpu" else incremental
        forward = ForwardPasses(self.backbone, self.preprocessor, self.scores)
        masked = MaskedPasses(self.backbone, self.preprocessor, self.scores, is_incremental)
        self._regions = regions = RegionPasses(self.backbone, self.preprocessor, self.scores)
        gradients = Gradients(self.backbone, self.scores.class_outputs)
        # a new question takes its class in `wsdet.questions` and a line here
        self.handlers: dict[type, Handler] = {
            Whole: forward,
            Cropped: forward,
            Kept: forward,
            FeatureMap: forward,
            Masked: masked,
            Regions: regions,
            RegionFeatures: regions,
            PixelGradient: gradients,
            NeuronRank: gradients,
            GuidedBackprop: gradients,
            LayerMaps: gradients,
        }

    @property
    def parts(self) -> NetworkParts:
        """What makes the same network in another process."""
        backbone = copy.deepcopy(self.backbone).to("cpu")
        precision = str(self.dtype).removeprefix("torch.")
        scores = self.scores
        return NetworkParts(
            backbone, scores.class_outputs, scores.activation, self.incremental, self.device.type, precision
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What its answers depend on, as plain values."""
        return {
            "fingerprint": self.fingerprint,
            "precision": str(self.dtype).removeprefix("torch."),
            "activation": self.scores.activation,
            "class_outputs": [list(outputs) for outputs in self.scores.class_outputs],
        }

    @property
    def n_forward_passes(self) -> int:
        """Inputs answered so far, each counted as one pass."""
        return sum(handler.n_forward_passes for handler in set(self.handlers.values()))

    def prepare(self, sample: Sample) -> View:
        """The image on the device."""
        return self.preprocessor.prepare(sample)

    @torch.inference_mode()
    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """A row of answer (logits, a map, gradients, ...) for each of `inputs`, whose questions have one batch key."""
        return self.handlers[type(inputs[0].question)].answer(inputs) if inputs else []

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """The answer to `question` from the rows that `answer` gave for its inputs."""
        return self.handlers[type(question)].assemble(question, rows)

    def levels(self, image: Tensor, sizes_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        """The trunk's map of an image, (1, 3, h, w) in [0, 255], at each of several sizes: (rows, columns, d) each."""
        return level_maps(self.backbone, self.preprocessor, image, sizes_hw)

    @torch.inference_mode()
    def trunk(self, inputs: Tensor) -> Tensor:
        """(n, d, rows, columns) last convolutional maps of (n, 3, h, w) normalized inputs."""
        return self.backbone.trunk(inputs)

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """(n, c) float32 outputs before the activation of (n, 3, s, s) normalized inputs."""
        return self.backbone(inputs).float()

    def outputs(self, logits: Floats) -> Outputs:
        """The answer whose rows are `logits`, (n, c)."""
        return self.scores.outputs(logits)

    def outputs_of_features(self, features: Tensor) -> Outputs:
        """The answer to `Regions` from the (n, d) features that `RegionFeatures` gives of the same boxes."""
        return self.outputs(self._regions.logits(features))


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
    need_counterpart: bool = True,
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
        need_counterpart: whether weights that know none of the classes are refused.

    Raises:
        InputError: the weights cannot be used, or know none of the classes and have to.
    """
    metadata = None if weights in (None, "imagenet") else read_metadata(str(weights))
    if metadata is None or not metadata.classes:
        backbone = build_backbone(architecture, input_size=input_size, weights=weights, model_name=model_name)
        if not need_counterpart and not has_counterpart(classes, wnids):
            return Network(backbone, [()] * len(classes), activation, device, precision, incremental)
        if not backbone.has_imagenet_outputs:
            raise InputError(
                f"{backbone.architecture} has no outputs for the 1000 classes of ImageNet; "
                "set network.head=finetune to train outputs for the classes of the data"
            )
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
    if resolved.type not in ("cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {device!r}")
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


def _fingerprint(backbone: Backbone) -> str:
    """Short hash of the weights: what a store records of the network that made its boxes."""
    return digest_of_weights(backbone, f"{backbone.architecture} {backbone.input_size}")
