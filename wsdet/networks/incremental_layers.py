"""The layers that `wsdet.networks.incremental` does cell by cell: what their cells see, and what they make of it."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from wsdet.types import Ints

Shape = tuple[int, int, int]  # channels, rows, columns
# writes (m, channels) rows, made of (m, k, channels) rows under the kernel for each input, for m cells of the map
Operation = Callable[[Tensor, Sequence[Tensor], Ints], object]

ZEROS, LOWEST = 0, 1  # rows of tables that pad maps: for convolutions, for max pooling
_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.Tanh)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation mode


@dataclass(frozen=True)
class Window:
    """How a layer's cells see the cells of the layer before; pairs are (rows, columns)."""

    in_hw: tuple[int, int]
    out_hw: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def is_pointwise(self) -> bool:
        """Whether a cell sees its own place only."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    @property
    def size(self) -> int:
        """Cells under the kernel."""
        return math.prod(self.kernel)

    def seeing(self, spans: Ints) -> Ints:
        """The cells that see any of the given; spans are (n, 2, 2): first and end, of rows and columns."""
        return np.clip((spans + self._shifts[0]) // self.stride, 0, self.out_hw)

    def seeing_only(self, spans: Ints) -> Ints:
        """The cells that see only the given and what lies outside the map; none where the end precedes the first."""
        inner = (spans + self._shifts[1]) // self.stride
        return np.where(spans == self._borders[0], self._borders[1], inner)

    @cached_property
    def _reach(self) -> Ints:
        return np.array(self.dilation) * (np.array(self.kernel) - 1)

    @cached_property
    def _shifts(self) -> tuple[Ints, Ints]:
        """What turns divisions that round down into those that find the first and the end; each (2, 2)."""
        shift = np.add(self.padding, self.stride) - 1
        return np.stack([shift - self._reach, shift]), np.stack([shift, shift - self._reach])

    @cached_property
    def _borders(self) -> Ints:
        """(2, 2, 2) first and end of the rows and columns of the map before and of this one."""
        return np.array([[(0, 0), self.in_hw], [(0, 0), self.out_hw]])

    @cached_property
    def padded_hw(self) -> tuple[int, int]:
        """Sides of the map before, padded as far as the last cells see (with ceil_mode, beyond the padding)."""
        ends = (np.array(self.out_hw) - 1) * self.stride + self._reach + 1
        h, w = np.maximum(ends, np.array(self.in_hw) + self.padding).tolist()
        return h, w

    @cached_property
    def corners(self) -> Ints:
        """(cells,) places in the padded map of the kernel's first cell."""
        ys, xs = (np.arange(n) * stride for n, stride in zip(self.out_hw, self.stride, strict=True))
        return (ys[:, None] * self.padded_hw[1] + xs).reshape(-1)

    @cached_property
    def offsets(self) -> Ints:
        """(k,) places in the padded map of the kernel's cells, from its first."""
        ys, xs = (np.arange(n) * dilation for n, dilation in zip(self.kernel, self.dilation, strict=True))
        return (ys[:, None] * self.padded_hw[1] + xs).reshape(-1)


@dataclass(eq=False)
class Step:
    """A layer, with the elementwise layers that follow it.

    Attributes:
        node: whose value the rows are, in the network's graph.
        shape: of its maps.
        inputs: the steps it reads.
        window: how its cells see theirs.
        operation: computes rows.
        padding_row: of tables, what lies outside the maps.
        multiply_adds: of one cell.
        finishes: change the (m, channels) rows in place.
        region: index of the region of its boundary cells; at times larger than need be, to be that of its reader.
        is_needed_whole: whether its maps go on to a layer that is not done incrementally.
        is_tabled: whether there is a table of its maps.
        frees: steps whose rows nobody reads afterwards.
    """

    node: fx.Node
    shape: Shape
    inputs: tuple[Step, ...]
    window: Window
    operation: Operation
    padding_row: int = ZEROS
    multiply_adds: int = 0
    finishes: list[Callable[[Tensor], object]] = field(default_factory=list)
    region: int = 0
    is_needed_whole: bool = False
    is_tabled: bool = False
    frees: list[Step] = field(default_factory=list)

    def gathers(self, source: Step) -> bool:
        """Whether it reads other cells of an input than its own boundary cells."""
        return not self.window.is_pointwise or self.region != source.region


class LayerTracer(fx.Tracer):
    """Takes convolutions and normalizations of other libraries as they are, instead of what they are made of."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node of the graph."""
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def layer_steps(network: fx.GraphModule, values: Mapping[fx.Node, Any]) -> tuple[list[Step], list[fx.Node]]:
    """The layers done incrementally, and the nodes of all others, in the order of computation."""
    step_of: dict[fx.Node, Step] = {}
    rest: list[fx.Node] = []
    for node in network.graph.nodes:
        inputs = [step_of[needed] for needed in node.all_input_nodes if needed in step_of]
        _refuse_shared_in_place(node, network)
        step = None
        if len(inputs) == len(node.all_input_nodes) and node.op != "output":
            step = _step(node, _module(node, network), inputs, values)
        if step is not None:
            step_of[node] = step
            continue
        rest.append(node)
        for needed in inputs:
            needed.is_needed_whole = True
    return list(dict.fromkeys(step_of.values())), rest


def _module(node: fx.Node, network: fx.GraphModule) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _refuse_shared_in_place(node: fx.Node, network: fx.GraphModule) -> None:
    """Raises ValueError for a layer that overwrites a value that another layer reads, too."""
    if not getattr(_module(node, network), "inplace", False) and node.target is not operator.iadd:
        return
    overwritten: Any = node.args[0]
    while len(overwritten.users) == 1 and isinstance(_module(overwritten, network), _NOTHING):
        overwritten = overwritten.args[0]
    if len(overwritten.users) > 1:
        raise ValueError(f"network must not overwrite values that several layers read; {node.name} does")


def _step(node: fx.Node, module: nn.Module | None, inputs: list[Step], values: Mapping[fx.Node, Any]) -> Step | None:
    """The step that does a node; None if it must be left to the network's own modules."""
    if not isinstance(values[node], Tensor) or values[node].ndim != 4:
        return None
    channels, h, w = values[node].shape[1:]
    shape = (channels, h, w)
    here = Window((h, w), (h, w))
    if node.op == "placeholder":
        return Step(node, shape, (), here, _concatenate)
    if not inputs or any(needed.shape[1:] != inputs[0].shape[1:] for needed in inputs):
        return None
    finish = _finish(module)
    if finish is not None:
        step = inputs[0]
        if len(step.node.users) > 1 or not step.inputs:
            step = Step(node, shape, (step,), here, _concatenate)
        step.node = node
        step.finishes.append(finish)
        return step
    in_hw = inputs[0].shape[1:]
    match module:
        case nn.Conv2d() if _is_plain(module):
            window = _window(module, in_hw, (h, w))
            return Step(node, shape, tuple(inputs), window, _convolution(module), ZEROS, module.weight.numel())
        case nn.MaxPool2d() if not module.return_indices:
            return Step(node, shape, tuple(inputs), _window(module, in_hw, (h, w)), _maximum, LOWEST)
        case nn.AvgPool2d():
            return Step(node, shape, tuple(inputs), _window(module, in_hw, (h, w)), _average(module, in_hw))
    is_sum = node.target in (operator.add, operator.iadd, torch.add) and len(node.args) == 2 and not node.kwargs
    if is_sum and len(inputs) == 2 and inputs[0].shape == inputs[1].shape:
        return Step(node, shape, tuple(inputs), here, _add)
    is_concatenation = node.target is torch.cat and (node.args[1:] == (1,) or node.kwargs == {"dim": 1})
    if is_concatenation and sum(needed.shape[0] for needed in inputs) == shape[0]:
        return Step(node, shape, tuple(inputs), here, _concatenate)
    return None


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution does nothing but convolve; subclasses may do something to their weights first."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    return type(layer) is nn.Conv2d or _pads_as_tensorflow(layer)


def _pads_as_tensorflow(layer: nn.Module) -> bool:
    """Whether it pads as much as its input needs, and where that is odd, more behind (TensorFlow's "SAME")."""
    timm = sys.modules.get("timm.layers")
    return timm is not None and isinstance(layer, timm.Conv2dSame)


def _window(layer: Any, in_hw: tuple[int, int], out_hw: tuple[int, int]) -> Window:
    settings = (getattr(layer, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))  # AvgPool2d: none
    kernel, stride, padding, dilation = ((value, value) if isinstance(value, int) else value for value in settings)
    if _pads_as_tensorflow(layer):
        reach = (np.array(out_hw) - 1) * stride + np.array(dilation) * (np.array(kernel) - 1) + 1
        top, left = (np.maximum(reach - in_hw, 0) // 2).tolist()
        padding = (top, left)
    return Window(in_hw, out_hw, kernel, stride, padding, dilation)


def _finish(module: nn.Module | None) -> Callable[[Tensor], object] | None:
    """What changes (m, channels) rows in place as an elementwise layer does."""
    if type(module) is nn.BatchNorm2d and module.running_mean is not None and module.running_var is not None:
        scale = (module.running_var.float() + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.float()
        shift = -module.running_mean.float() * scale
        if module.bias is not None:
            shift = shift + module.bias.float()
        scale, shift = scale.to(module.running_mean.dtype), shift.to(module.running_mean.dtype)
        return lambda rows: torch.addcmul(shift, rows, scale, out=rows)
    if isinstance(module, nn.BatchNorm2d) and {"drop", "act"} <= dict(module.named_children()).keys():
        return _normalization_and_activation(module)
    if isinstance(module, nn.ReLU):
        return torch.relu_
    if isinstance(module, _ELEMENTWISE):
        return lambda rows: rows.copy_(module(rows))
    if isinstance(module, _NOTHING):
        return lambda rows: rows
    return None


def _normalization_and_activation(layer: nn.BatchNorm2d) -> Callable[[Tensor], object] | None:
    """The finish of a normalization that holds the activation after it, as timm's do."""
    plain = nn.BatchNorm2d(layer.num_features, layer.eps, affine=layer.affine)
    plain.load_state_dict(layer.state_dict(), strict=False)  # the activation may have weights, too
    plain.to(layer.running_mean)
    finishes = [_finish(part) for part in (plain, layer.drop, layer.act)]  # type: ignore[arg-type]
    if any(finish is None for finish in finishes):
        return None

    def normalize_and_activate(rows: Tensor) -> None:
        for finish in finishes:
            finish(rows)  # type: ignore[misc]

    return normalize_and_activate


def _convolution(layer: nn.Conv2d) -> Operation:
    groups, bias = layer.groups, layer.bias
    weight = layer.weight.detach().unflatten(0, (groups, -1)).flatten(3)  # (groups, d, c, k)
    if groups == 1:
        matrix = weight[0].permute(2, 1, 0).flatten(0, 1).contiguous()  # (k c, d)
        if bias is None:
            return lambda out, under, _: torch.mm(under[0].flatten(1), matrix, out=out)
        return lambda out, under, _: torch.addmm(bias, under[0].flatten(1), matrix, out=out)
    if weight.shape[1:3] == (1, 1):
        factors = weight[:, 0, 0].T.contiguous()  # (k, groups)

        def depthwise(out: Tensor, under: Sequence[Tensor], _: Ints) -> None:
            torch.sum(under[0] * factors, dim=1, out=out)
            if bias is not None:
                out += bias

        return depthwise
    matrices = weight.permute(0, 3, 2, 1).flatten(1, 2).contiguous()  # (groups, k c, d)

    def grouped(out: Tensor, under: Sequence[Tensor], _: Ints) -> None:
        by_group = under[0].unflatten(2, (groups, -1)).permute(2, 0, 1, 3).flatten(2)  # (groups, m, k c)
        out.unflatten(1, (groups, -1)).copy_((by_group @ matrices).permute(1, 0, 2))
        if bias is not None:
            out += bias

    return grouped


def _maximum(out: Tensor, under: Sequence[Tensor], _: Ints) -> None:
    torch.amax(under[0], dim=1, out=out)


def _average(layer: nn.AvgPool2d, in_hw: tuple[int, int]) -> Operation:
    """Sums what lies in the map, and divides as the layer does, which may count padding."""
    ones = torch.ones(1, 1, *in_hw)
    counts = F.avg_pool2d(ones, layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, divisor_override=1)
    factors = (layer(ones) / counts).flatten()[:, None]

    def average(out: Tensor, under: Sequence[Tensor], cells: Ints) -> None:
        torch.mul(under[0].sum(dim=1), factors[cells].to(out), out=out)

    return average


def _add(out: Tensor, under: Sequence[Tensor], _: Ints) -> None:
    torch.add(under[0][:, 0], under[1][:, 0], out=out)


def _concatenate(out: Tensor, under: Sequence[Tensor], _: Ints) -> None:
    torch.cat([rows[:, 0] for rows in under], dim=1, out=out)


def assign_regions(steps: Sequence[Step]) -> list[tuple[Window, tuple[int, ...]]]:
    """Gives each step its region, its table and what it frees; returns how each region comes from those before.

    Steps that see through the same windows share a region. A step whose every reader wants the rows of one larger
    region computes that region itself: its readers then need no gathering.
    """
    origins: dict[tuple[Window, tuple[int, ...]], int] = {}
    readers: dict[Step, list[Step]] = {step: [] for step in steps}
    for step in steps:
        parents = tuple(sorted({source.region for source in step.inputs}))
        if step.window.is_pointwise and len(parents) == 1:
            step.region = parents[0]
        else:
            step.region = origins.setdefault((step.window, parents), len(origins))
        for source in step.inputs:
            readers[source].append(step)
    for step in reversed(steps):
        regions = {reader.region for reader in readers[step] if reader.window.is_pointwise}
        is_read_elsewhere = step.is_needed_whole or not all(reader.window.is_pointwise for reader in readers[step])
        if step.inputs and len(regions) == 1 and not is_read_elsewhere:
            (step.region,) = regions
    for step in steps:
        step.is_tabled = step.is_needed_whole or any(reader.gathers(step) for reader in readers[step])
        if readers[step]:
            readers[step][-1].frees.append(step)
    return list(origins)
