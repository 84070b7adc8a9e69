"""A classifier's trunk as a feature pyramid: maps of fixed strides, all with the same few channels.

A stage of the trunk ends at the last operation of its stride that everything later passes through: in a ResNet the end
of a block, in MobileNetV2 the expansion of the next one, as in SSDLite (Sandler et al., CVPR 2018).
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from wsdet.networks.backbones import Backbone
from wsdet.types import InputError

_PROBE = 256  # pixels: the side of the image that stages are found with


class Pyramid(nn.Module):
    """(n, 3, h, w) normalized images -> `strides` maps of `channels` channels, by level name ("0" is the finest).

    Strides below the trunk's last are its own maps, joined from coarse to fine (Lin et al., CVPR 2017); higher ones are
    further convolutions. The trunk's batch norms are frozen: detection batches are too small for statistics.

    Args:
        backbone: a classifier, whose trunk is copied.
        strides: of the maps, ascending, each twice the one before.
        channels: of every map.
        trainable_layers: stages of the trunk that are trained, from the last; 0 trains none.

    Raises:
        InputError: the trunk cannot be taken apart, or all its maps are coarser than the first stride.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        backbone: Backbone,
        strides: Sequence[int] = (8, 16, 32, 64),
        channels: int = 128,
        trainable_layers: int = 3,
    ) -> None:
        super().__init__()
        if not strides or strides[0] < 1 or any(b != 2 * a for a, b in pairwise(strides)):
            raise ValueError(f"strides must double from one to the next, got {list(strides)}")
        if channels < 1 or trainable_layers < 0:
            raise ValueError(f"channels and trainable_layers must be >= 1 and >= 0, got {channels}, {trainable_layers}")
        body, stages = _stages(backbone)
        # a trunk that ends below the first stride goes on from its last map
        own = [stage for stage in stages if stage.stride in strides] or stages[-1:]
        if own[0].stride > strides[0]:
            raise InputError(
                f"network {backbone.architecture} has feature maps of strides {[stage.stride for stage in stages]}, "
                f"the detector needs one of {strides[0]}; choose another network or detector.model.strides"
            )
        _cut(body, [stage.node for stage in own])
        _freeze(body, stages, trainable_layers)
        self.body = body
        self.strides = tuple(strides)
        self.out_channels = channels
        self._own_strides = tuple(stage.stride for stage in own)
        self._is_exact = all(stage.is_exact for stage in own)
        n_more = round(math.log2(strides[-1] / own[-1].stride))
        self._first = len(own) + n_more - len(strides)  # level of the first stride
        self.fpn = FeaturePyramidNetwork(
            [stage.channels for stage in own], channels, _MoreLevels(channels, n_more) if n_more > 0 else None
        )
        self.train()

    def train(self, mode: bool = True) -> Pyramid:
        """Sets the mode; the trunk stays in evaluation mode."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The maps, from fine to coarse."""
        maps = self.body(images)
        if not self._is_exact:  # SqueezeNet's and AlexNet's convolutions do not pad
            h, w = images.shape[-2:]
            sizes = [((h + s - 1) // s, (w + s - 1) // s) for s in self._own_strides]
            maps = [F.interpolate(x, size, mode="bilinear") for x, size in zip(maps, sizes, strict=True)]
        named = OrderedDict((str(level), x) for level, x in enumerate(maps))
        levels = list(self.fpn(named).values())[self._first :]
        return OrderedDict((str(level), x) for level, x in enumerate(levels))


class _MoreLevels(ExtraFPNBlock):
    """Levels above the trunk's, each a convolution of stride 2 over the one below it."""

    def __init__(self, channels: int, n_levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(n_levels))
        for convolution in self.convolutions:
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The levels of the pyramid with the further ones behind them."""
        for convolution in self.convolutions:
            results = [*results, convolution(F.relu(results[-1]))]
            names = [*names, str(len(names))]
        return results, names


@dataclass(frozen=True, eq=False)
class _Stage:
    node: fx.Node
    stride: int
    channels: int
    is_exact: bool  # whether a map has exactly input / stride rows
    modules: tuple[str, ...]  # that compute it from the stage before it


def _stages(backbone: Backbone) -> tuple[fx.GraphModule, list[_Stage]]:
    """A copy of the trunk as a graph, and its stages from first to last."""
    trunk = copy.deepcopy(backbone.trunk).float().cpu().eval()
    try:
        body = fx.symbolic_trace(trunk)
        with torch.no_grad():
            ShapeProp(body).propagate(torch.zeros(1, 3, _PROBE, _PROBE))
    except Exception as error:  # tracing runs a forward of somebody else's, which may do anything
        raise InputError(
            f"network {backbone.architecture} cannot be taken apart into stages: {error}; choose another network"
        ) from error
    nodes = [node for node in body.graph.nodes if node.op not in ("placeholder", "output")]
    ends: dict[int, fx.Node] = {}
    for node in _bottlenecks(nodes):
        shape = tuple(node.meta["tensor_meta"].shape) if "tensor_meta" in node.meta else ()
        if len(shape) == 4:
            ends[2 ** round(math.log2(_PROBE / shape[-1]))] = node
    stages, start = [], 0
    for stride, end in sorted(ends.items()):
        stop = nodes.index(end) + 1
        modules = tuple(str(node.target) for node in nodes[start:stop] if node.op == "call_module")
        shape = end.meta["tensor_meta"].shape
        stages.append(_Stage(end, stride, shape[1], shape[-1] * stride == _PROBE, modules))
        start = stop
    return body, [stage for stage in stages if stage.stride > 1]


def _bottlenecks(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """Nodes, in order, that no edge passes by: everything after them depends on them alone."""
    place = {node: index for index, node in enumerate(nodes)}
    found, furthest = [], 0
    for index, node in enumerate(nodes):
        if furthest <= index:
            found.append(node)
        furthest = max([furthest, *(place.get(user, 0) for user in node.users)])
    return found


def _cut(body: fx.GraphModule, outputs: Sequence[fx.Node]) -> None:
    """Makes a graph give these nodes, and drops what none of them needs."""
    for node in body.graph.nodes:
        if node.op == "output":
            node.args = (list(outputs),)
    body.graph.eliminate_dead_code()
    body.delete_all_unused_submodules()
    body.recompile()


def _freeze(body: fx.GraphModule, stages: Sequence[_Stage], trainable_layers: int) -> None:
    body.requires_grad_(False)
    trained = {name for stage in stages[max(0, len(stages) - trainable_layers) :] for name in stage.modules}
    for name, module in body.named_modules():
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if not is_norm and any(name == one or name.startswith(f"{one}.") for one in trained):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(True)
