"""Classifier networks cut in two: a trunk that makes the last feature map, and a head that makes class outputs of it.

The halves hold a published network's modules under its own names, so "the 11th convolution of VGG-16" is
`trunk.features.24`, and dropping the first part of a weight's name gives torchvision's (or timm's) name.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from wsdet import check
from wsdet.networks.imagenet_classes import IMAGENET_OUTPUTS
from wsdet.networks.timm_networks import TimmHead, TimmTrunk, pooled_head, timm_parts, unreachable
from wsdet.networks.torchvision_import import import_torchvision
from wsdet.networks.weights import load_weights, read_metadata
from wsdet.types import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# the names of the head's modules; every other module of the network belongs to the trunk
_HEADS = {
    "tiny": ("avgpool", "flatten", "fc"),
    "squeezenet1_0": ("classifier", "flatten"),
    "mobilenet_v2": ("avgpool", "flatten", "classifier"),
    "alexnet": ("avgpool", "flatten", "classifier"),
    "vgg16": ("avgpool", "flatten", "classifier"),
    "resnet50": ("avgpool", "flatten", "fc"),
}
_INPUT_SIZES = {"tiny": 128, "squeezenet1_0": 227}  # 224 where not named
ARCHITECTURES = (*_HEADS, "timm")
_TINY_BLOCKS = (
    (24, 5, 2, True),
    (48, 3, 1, True),
    (96, 3, 1, False),
    (128, 3, 1, False),
)  # channels, kernel, stride, pools


class Backbone(nn.Module):
    """A classifier as trunk and head.

    Args:
        trunk: (n, 3, s, s) normalized inputs -> (n, d, rows, columns) last feature map.
        head: feature map -> (n, n_outputs) outputs before softmax or sigmoid.
        input_size: s, the side in pixels that the network was made for.
        architecture: its name, as `build_backbone` takes it.
        n_outputs: outputs of the head.
        mean: color that inputs are normalized by, RGB in [0, 1].
        std: the same for the spread.
        has_imagenet_outputs: whether its 1000 outputs are those of ImageNet; else they are random.
    """

    def __init__(
        self,
        trunk: nn.Module,
        head: nn.Module,
        input_size: int,
        architecture: str,
        n_outputs: int,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        has_imagenet_outputs: bool = True,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.input_size = input_size
        self.architecture = architecture
        self.n_outputs = n_outputs
        self.mean = mean
        self.std = std
        self.has_imagenet_outputs = has_imagenet_outputs
        self.fingerprint = ""  # of its weights before a `Network` cast them; "" until then

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3, s, s) normalized inputs -> (n, n_outputs) outputs."""
        return self.outputs_and_map(inputs)[0]

    def outputs_and_map(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs (n, n_outputs) and the last feature map of inputs, in one pass.

        Outputs are the head's of the map, but for a transformer with a class token: there they are the token's.
        """
        if isinstance(self.trunk, TimmTrunk) and isinstance(self.head, TimmHead) and not self.trunk.is_convolutional:
            features, feature_map = self.trunk.features_and_map(inputs)
            return self.head.of_features(features), feature_map
        feature_map = self.trunk(inputs)
        return self.head(feature_map), feature_map

    @property
    def is_convolutional(self) -> bool:
        """Whether a position of its map sees a part of the input only, the same wherever it is."""
        return not isinstance(self.trunk, TimmTrunk) or self.trunk.is_convolutional

    @property
    def stride(self) -> int | None:
        """Pixels from one position of the map to the next; None: the map covers its input, whatever their sizes."""
        return self.trunk.stride if isinstance(self.trunk, TimmTrunk) else None

    @property
    def takes_any_size(self) -> bool:
        """Whether the trunk takes inputs of any size; if not, it pads smaller ones to its own."""
        return not isinstance(self.trunk, TimmTrunk) or self.trunk.fixed_side is None

    def is_map(self, output: Tensor) -> bool:
        """Whether `as_map` can make a map of what an inner layer makes of inputs of s x s."""
        size_hw = (self.input_size, self.input_size)
        return self.trunk.is_map(output, size_hw) if isinstance(self.trunk, TimmTrunk) else output.ndim == 4

    def as_map(self, output: Tensor) -> Tensor:
        """(n, d, rows, columns) of what an inner layer makes of inputs of s x s, in whatever layout."""
        size_hw = (self.input_size, self.input_size)
        return self.trunk.as_map(output, size_hw) if isinstance(self.trunk, TimmTrunk) else output

    @property
    def last_layer(self) -> nn.Linear | nn.Conv2d:
        """The layer with one row of weights an output."""
        return _last_layer(self.head)[1]

    @property
    def has_hidden_layer(self) -> bool:
        """Whether the head has fully connected layers before that of the outputs (AlexNet, VGG)."""
        return sum(isinstance(layer, nn.Linear) for layer in self.head.modules()) > 1

    def hidden_layer(self, maps: Tensor) -> Tensor:
        """(n, d) what the layer of the outputs is given, for (n, d, rows, columns) maps of the trunk."""
        seen: list[Tensor] = []
        hook = self.last_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.head(maps)
        finally:
            hook.remove()
        return seen[0].flatten(1)

    @property
    def hidden_state(self) -> dict[str, Tensor]:
        """The weights of the head's layers before that of the outputs."""
        last = _last_layer(self.head)[0]
        return {name: value for name, value in self.head.state_dict().items() if not name.startswith(f"{last}.")}


def build_backbone(
    architecture: str,
    n_outputs: int = IMAGENET_OUTPUTS,
    input_size: int | None = None,
    weights: str | Path | None = None,
    model_name: str | None = None,
    seed: int = 0,
) -> Backbone:
    """A network, with random or given weights, in evaluation mode.

    Args:
        architecture: one of `ARCHITECTURES`, or "timm:<name>".
        n_outputs: 1000 gives the network as published; another number a new last layer, see `replace_head`.
        input_size: side of the input in pixels; None takes the size that the network was published with.
        weights: a file for `load_weights`; "imagenet" downloads the publisher's; None leaves them random.
        model_name: timm's name of the network, for architecture "timm".
        seed: of the random weights.

    Raises:
        InputError: the architecture is unknown, timm is missing, or the weights cannot be had or do not fit;
            `n_outputs` or `input_size` is out of range.
    """
    check.at_least(1, n_outputs=n_outputs)
    if input_size is not None:
        check.at_least(32, input_size=input_size)
    from_publisher = str(weights) == "imagenet"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "timm" or architecture.startswith("timm:"):
            backbone = _timm_backbone(model_name or architecture.partition(":")[2], input_size, from_publisher)
        else:
            backbone = _own_backbone(architecture, input_size, from_publisher)
    if n_outputs != backbone.n_outputs:
        backbone = replace_head(backbone, n_outputs, seed)
    if weights is not None and not from_publisher:
        _load(backbone, weights)
    return backbone.eval()


def _load(backbone: Backbone, path: str | Path) -> None:
    """Loads a file; of one with a head that is not ours, as self-supervised networks have, the trunk alone."""
    own = backbone.state_dict()
    if backbone.has_imagenet_outputs or read_metadata(path) is not None:
        backbone.load_state_dict(load_weights(path, backbone.architecture, own))
        return
    of_trunk = {name: value for name, value in own.items() if name.startswith("trunk.")}
    backbone.load_state_dict(own | load_weights(path, backbone.architecture, of_trunk, takes_part=True))


def replace_head(backbone: Backbone, n_classes: int, seed: int = 0) -> Backbone:
    """The network with a new, random last layer of `n_classes` outputs; everything else is shared with `backbone`.

    Two published forms are given up for it, except with 1000 outputs. SqueezeNet clips its outputs at 0, which a
    sigmoid would read as "at least one half": its new last layer is not clipped. A transformer that reads them off a
    class token has none for a region: its new last layer reads the average of all tokens.
    """
    is_as_published = n_classes == IMAGENET_OUTPUTS
    head: nn.Module = copy.deepcopy(backbone.head)
    name, old = _last_layer(head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(head, TimmHead) and head.reads_class_token and not is_as_published:
            head = pooled_head(old.weight.shape[1], n_classes).to(old.weight.device)
        elif isinstance(old, nn.Linear):
            head.set_submodule(name, nn.Linear(old.in_features, n_classes).to(old.weight.device))
        else:
            new = nn.Conv2d(old.in_channels, n_classes, old.kernel_size)  # type: ignore[arg-type]
            head.set_submodule(name, new.to(old.weight.device))
    if backbone.architecture == "squeezenet1_0" and not is_as_published:
        head.set_submodule("classifier.2", nn.Identity())
    return Backbone(
        backbone.trunk,
        head,
        backbone.input_size,
        backbone.architecture,
        n_classes,
        backbone.mean,
        backbone.std,
        backbone.has_imagenet_outputs,
    )


def _own_backbone(architecture: str, input_size: int | None, from_publisher: bool) -> Backbone:
    if architecture not in _HEADS:
        raise InputError(f"network architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if architecture == "tiny" and from_publisher:
        raise InputError("network tiny has no published weights; set network.weights to a file, or null to train it")
    model = _tiny() if architecture == "tiny" else _torchvision(architecture, from_publisher)
    modules = OrderedDict(model.named_children())
    modules.setdefault("avgpool", nn.AdaptiveAvgPool2d(1))  # mobilenet_v2 pools by a function
    modules["flatten"] = nn.Flatten(1)
    head = OrderedDict((name, modules.pop(name)) for name in _HEADS[architecture])
    modules.pop("avgpool", None)
    size = input_size or _INPUT_SIZES.get(architecture, 224)
    return Backbone(nn.Sequential(modules), nn.Sequential(head), size, architecture, IMAGENET_OUTPUTS)


def _tiny() -> nn.Module:
    """Four convolutions to a map of stride 8, small enough to train on a CPU in a minute."""
    features: list[nn.Module] = []
    previous = 3
    for channels, kernel, stride, pools in _TINY_BLOCKS:
        features += [
            nn.Conv2d(previous, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        features += [nn.MaxPool2d(2)] if pools else []
        previous = channels
    model = nn.Module()
    model.features = nn.Sequential(*features)
    model.fc = nn.Linear(previous, IMAGENET_OUTPUTS)
    return model


def _torchvision(architecture: str, from_publisher: bool) -> nn.Module:
    import_torchvision()
    from torchvision import models

    model: nn.Module = models.get_model(architecture, weights=None)
    if from_publisher:
        # version 1: trained by the plain recipe of the papers; version 2's scores are smoothed
        published = models.get_model_weights(architecture)["IMAGENET1K_V1"]
        try:
            model.load_state_dict(published.get_state_dict(progress=True, check_hash=True, weights_only=True))
        except (OSError, RuntimeError) as error:
            raise InputError(unreachable(f"{published.url}", error)) from error
    return model


def _timm_backbone(model_name: str, input_size: int | None, from_publisher: bool) -> Backbone:
    parts = timm_parts(model_name, input_size, from_publisher)
    return Backbone(
        parts.trunk,
        parts.head,
        parts.input_size,
        f"timm:{model_name}",
        IMAGENET_OUTPUTS,
        parts.mean,
        parts.std,
        parts.has_imagenet_outputs,
    )


def n_timm_parameters(model_name: str) -> int:
    """How many parameters a network of timm has, told without making them; 0 where timm does not know it."""
    try:
        import timm

        with torch.device("meta"):
            return sum(parameter.numel() for parameter in timm.create_model(model_name).parameters())
    except (ImportError, RuntimeError, ValueError):  # `build_backbone` says what is wrong
        return 0


def _last_layer(head: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    layers = [(name, layer) for name, layer in head.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    return layers[-1]
