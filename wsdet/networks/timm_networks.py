"""Any network of timm cut into trunk and head: convolutional ones, and transformers whose tokens stand on a grid.

What differs from network to network, and what this module makes alike:

- A convolutional network's features are a map (n, d, rows, columns) already. A transformer's are tokens (n, tokens, d),
  perhaps with a class token and registers before them, or a map with the channels last (Swin). Trunks here make a map
  of all of them, timm's own `forward_intermediates(..., output_fmt="NCHW", norm=True)`.
- A transformer cuts its input into patches. An input whose sides are no multiples of them is padded to the right and
  below, as timm's `dynamic_img_pad` does, so position i of a map begins at pixel i * stride of the input, and a box is
  scaled by the stride and not by what share of the padded map it covers.
- Some take inputs of one size only. What is smaller is padded to that size (letterbox).
- Some have no outputs for the 1000 classes of ImageNet (self-supervised ones, image towers of CLIP, those trained on
  ImageNet-21k). Their head is a linear layer on the average of all tokens, to be trained.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsdet.networks.imagenet_classes import IMAGENET_OUTPUTS
from wsdet.networks.torchvision_import import import_torchvision
from wsdet.types import InputError

# what makes a network take inputs of any size: vision transformers, Swin, Swin in older versions, convolutional ones
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)
_OTHER_HW = (224, 336)  # a multiple of every patch size in use, and no network's own size
_LAST_MAP: dict[str, Any] = {"indices": 1, "output_fmt": "NCHW", "norm": True}


@dataclass(frozen=True)
class TimmParts:
    """A network of timm in two halves.

    Attributes:
        trunk: (n, 3, h, w) normalized inputs -> (n, d, rows, columns) last feature map.
        head: feature map -> outputs.
        input_size: side of its input in pixels.
        mean: color that inputs are normalized by.
        std: the same for the spread.
        has_imagenet_outputs: whether its outputs are the 1000 classes of ImageNet.
    """

    trunk: TimmTrunk
    head: nn.Module
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    has_imagenet_outputs: bool


class TimmTrunk(nn.Module):
    """The part of a timm network before pooling.

    Args:
        timm: the network, of which only the modules before pooling are used.
        is_convolutional: whether its features are a map (n, d, rows, columns).
        stride: pixels from one position of the map to the next; None: the map covers its input, whatever their sizes.
        fixed_side: side of the only input that it takes; None: it takes any.
    """

    def __init__(self, timm: nn.Module, is_convolutional: bool, stride: int | None, fixed_side: int | None) -> None:
        super().__init__()
        self.timm = timm
        self.is_convolutional = is_convolutional
        self.stride = stride
        self.fixed_side = fixed_side

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, d, rows, columns)."""
        if self.is_convolutional:
            return self.timm.forward_features(self._padded(inputs))  # type: ignore[operator]
        return self.timm.forward_intermediates(self._padded(inputs), intermediates_only=True, **_LAST_MAP)[-1]  # type: ignore[operator]

    def features_and_map(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """A transformer's features in timm's own layout, which timm's head takes, and their map, in one pass."""
        features, maps = self.timm.forward_intermediates(self._padded(inputs), **_LAST_MAP)  # type: ignore[operator]
        return features, maps[-1]

    def is_map(self, output: Tensor, size_hw: tuple[int, int]) -> bool:
        """Whether `as_map` can make a map of what an inner layer makes."""
        if self.is_convolutional or output.ndim != 3:
            return output.ndim == 4
        return output.shape[1] >= math.prod(self._grid(size_hw))

    def as_map(self, output: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(n, d, rows, columns) of what an inner layer makes of inputs of `size_hw`, be it tokens or channels last."""
        if self.is_convolutional:
            return output
        if output.ndim == 4:
            return output.permute(0, 3, 1, 2)
        rows, columns = self._grid(size_hw)
        return output[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))

    def _grid(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        rows, columns = (side // (self.stride or 1) for side in self._padded_hw(size_hw))
        return rows, columns

    def _padded(self, inputs: Tensor) -> Tensor:
        if (
            self.fixed_side is None and self.is_convolutional
        ):  # without a look at the shape, which torch.fx cannot trace
            return inputs
        h, w = inputs.shape[2:]
        padded_h, padded_w = self._padded_hw((h, w))
        return F.pad(inputs, (0, padded_w - w, 0, padded_h - h))

    def _padded_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        if self.fixed_side is not None:
            return self.fixed_side, self.fixed_side
        h, w = (-(-side // (self.stride or 1)) * (self.stride or 1) for side in size_hw)
        return h, w


class TimmHead(nn.Module):
    """The rest of a timm network: pooling, normalization, outputs.

    A network that reads its outputs off a class token has none for a part of a map. There the average of the part's
    patch tokens takes the class token's place. Its head was not trained on that, so the scores of regions are much
    rougher than those of crops (docs/networks.md); a head that is trained anew is a `pooled_head` instead.

    Args:
        timm: the network, of which only the modules from pooling on are used.
        n_prefix: tokens that come before those of the patches; None: its features are a map with the channels last;
            -1: with the channels first.
    """

    def __init__(self, timm: nn.Module, n_prefix: int | None) -> None:
        super().__init__()
        self.timm = timm
        self.n_prefix = n_prefix

    def forward(self, feature_map: Tensor) -> Tensor:
        """(n, d, rows, columns) -> (n, c)."""
        return self.of_features(self._features(feature_map))

    @property
    def reads_class_token(self) -> bool:
        """Whether its outputs are those of a class token, which a part of a map does not have."""
        return bool(self.n_prefix) and getattr(self.timm, "global_pool", None) == "token"

    def of_features(self, features: Tensor) -> Tensor:
        """Outputs (n, c) of what timm's own trunk makes."""
        return self.timm.forward_head(features)  # type: ignore[operator]

    def _features(self, feature_map: Tensor) -> Tensor:
        if self.n_prefix is None:
            return feature_map.permute(0, 2, 3, 1)
        if self.n_prefix < 0:
            return feature_map
        tokens = feature_map.flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(dim=1, keepdim=True).expand(-1, self.n_prefix, -1), tokens], dim=1)


def timm_parts(model_name: str, input_size: int | None, from_publisher: bool) -> TimmParts:
    """A network of timm in two halves, with random or its publisher's weights.

    Args:
        model_name: one of `timm.list_models()`, with or without a tag.
        input_size: side of its input in pixels; None takes the size that it was published with.
        from_publisher: whether the publisher's weights are downloaded.

    Raises:
        InputError: timm is missing, or has no such network, or it makes no map, or not at this size; or the weights
            cannot be had.
    """
    model = _created(model_name, from_publisher)
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(model)
    native = int(data["input_size"][-1])
    size_hw = _OTHER_HW if _takes(model, _OTHER_HW) else (native, native)
    is_fixed = size_hw != _OTHER_HW
    if is_fixed and input_size not in (None, native):
        raise InputError(
            f"timm network {model_name} takes inputs of {native} x {native} pixels only, got {input_size}; "
            "set network.input_size=null"
        )
    features, of_head = _features(model, size_hw)
    n_channels = int(model.num_features)
    is_convolutional = features.ndim == 4 and features.shape[1] == n_channels
    covers_input = is_convolutional and not is_fixed and not _is_patchified(model)
    stride = None if covers_input else _stride(model, model_name, size_hw)
    trunk = TimmTrunk(_part(model, without=of_head), is_convolutional, stride, native if is_fixed else None)
    has_outputs = int(model.num_classes) == IMAGENET_OUTPUTS
    head: nn.Module
    if has_outputs:
        n_prefix = -1 if is_convolutional else getattr(model, "num_prefix_tokens", 0) if features.ndim == 3 else None
        head = TimmHead(_part(model, only=of_head), n_prefix)
    else:
        head = pooled_head(n_channels, IMAGENET_OUTPUTS)
    return TimmParts(trunk, head, input_size or native, data["mean"], data["std"], has_outputs)


def pooled_head(n_channels: int, n_outputs: int) -> nn.Sequential:
    """A linear layer on the average of a map's positions: the same for the whole image and for a part of it."""
    pool = {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(1)}
    return nn.Sequential(OrderedDict(**pool, fc=nn.Linear(n_channels, n_outputs)))


def _created(model_name: str, from_publisher: bool) -> Any:
    import_torchvision()  # timm imports it
    try:
        import timm
    except ImportError as error:
        raise InputError("network=timm needs the package timm: pip install 'wsdet[timm]'") from error
    if not timm.is_model(model_name):
        near = ", ".join(timm.list_models(f"*{model_name[:6]}*")[:5]) or "timm.list_models() lists them"
        raise InputError(f"network.model_name must be the name of a timm network ({near}), got {model_name!r}")
    for options in _ANY_SIZE:
        try:
            return timm.create_model(model_name, pretrained=from_publisher, **options).eval()
        except TypeError:  # a network refuses options that it does not know
            if not options:
                raise
        except (OSError, RuntimeError) as error:
            raise InputError(unreachable(f"timm's weights of {model_name}", error)) from error
    raise AssertionError  # not reached: the last options return or raise


def unreachable(what: str, error: Exception) -> str:
    """What to do when weights cannot be downloaded."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{what} could not be downloaded ({reason}); fetch the file by other means and give network.weights=PATH"


@torch.no_grad()
def _takes(model: Any, size_hw: tuple[int, int]) -> bool:
    """Whether a network takes inputs that are not its own size."""
    try:
        model.forward_features(torch.zeros(1, 3, *size_hw))
    except (AssertionError, RuntimeError, ValueError, IndexError):
        return False
    return True


@torch.no_grad()
def _features(model: Any, size_hw: tuple[int, int]) -> tuple[Tensor, set[str]]:
    """The features of an input, and the names of the modules that only what comes after them calls."""
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name.split(".")[0]))
        for name, module in model.named_modules()
        if name
    ]
    features = model.forward_features(torch.zeros(1, 3, *size_hw))
    of_features = set(called)
    model.forward_head(features)
    for hook in hooks:
        hook.remove()
    return features, called - of_features


@torch.no_grad()
def _stride(model: Any, model_name: str, size_hw: tuple[int, int]) -> int:
    try:
        maps = model.forward_intermediates(torch.zeros(1, 3, *size_hw), intermediates_only=True, **_LAST_MAP)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        raise InputError(
            f"timm network {model_name} makes no map (n, channels, rows, columns) of its features; "
            "choose another, such as resnet18 or vit_small_patch16_224"
        ) from error
    return round(size_hw[0] / maps[-1].shape[2])


def _is_patchified(model: nn.Module) -> bool:
    """Whether the first convolution cuts the input into patches that do not overlap, as ConvNeXt's does."""
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return first is not None and first.stride == first.kernel_size != (1, 1) and first.padding in ((0, 0), 0)


def _part(model: nn.Module, only: Set[str] = frozenset(), without: Set[str] = frozenset()) -> nn.Module:
    """The network with only some of its modules and no weights of its own, or with all the others."""
    part = copy.copy(model)
    part._modules = {name: of for name, of in model._modules.items() if (name in only if only else name not in without)}
    part._parameters = {} if only else dict(model._parameters)
    part._buffers = {} if only else dict(model._buffers)
    return part
