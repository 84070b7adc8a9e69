"""Exact incremental inference for pictures that show one known picture inside a box and another outside it.

A masked picture is the image outside a box and one color inside it, and both of these are known pictures. Its feature
maps equal those of the image wherever a cell sees nothing of the box, and those of the colored picture wherever a cell
sees nothing else. Only the ring of cells that see both is computed here, layer by layer. (Krypton, Nakandala et al.,
SIGMOD 2019, recomputes the whole window of cells that see the box; knowing the inside too lets large boxes gain.)

Maps are kept as tables with one row a cell: the maps of all known pictures, then the rings of all pictures of a batch.
A convolution gathers the rows under its kernel, wherever they are, and is one matrix product. Rings of any size share
it, so a batch need not be sorted by size. From the first layer on that `_step` does not know, whole maps go through
the network's own modules.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from wsdet.types import Ints

Shape = tuple[int, int, int]  # channels, rows, columns
# writes (m, channels) rows, made of (m, k, channels) rows under the kernel for each input, for m cells of the map
Operation = Callable[[Tensor, Sequence[Tensor], Ints], object]

_ZEROS, _LOWEST, _MAPS = 0, 1, 2  # rows of a table: padding of convolutions, padding of max pooling, the first map
_GATHERED = 2**19  # numbers gathered at once: few enough to stay in the caches
_ELEMENTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish, nn.GELU, nn.Sigmoid, nn.Tanh)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation mode


class Known:
    """A picture whose feature maps an `IncrementalNetwork` holds for as long as this object lives."""

    def __init__(self, slot: int) -> None:
        self.slot = slot


class IncrementalNetwork:
    """A network that computes only what is new in pictures composed of two known ones.

    Args:
        network: takes (n, 3, s, s) pictures, in evaluation mode and final: its weights are copied.
        picture: (3, s, s) any picture; gives size, device and working precision.

    Raises:
        ValueError: the network's graph cannot be traced, or overwrites values that several layers read.
    """

    def __init__(self, network: nn.Module, picture: Tensor) -> None:
        try:
            graph = fx.GraphModule(network, fx.Tracer().trace(network))
        except Exception as error:  # tracing runs the network's own code, which may raise anything
            raise ValueError(f"network must have a graph that torch.fx can trace: {error}") from error
        self._interpreter = fx.Interpreter(graph, garbage_collect_values=False)
        self._steps, self._rest = _steps(graph, self._values(picture))
        self._origins = _assign_regions(self._steps)
        self._tables = {step: _Table(step.shape, picture) for step in self._steps if step.is_tabled}
        self._like = picture[:0]
        self._slots = 0
        self._free: list[int] = []

    @property
    def bytes_a_picture(self) -> int:
        """Memory that a known picture takes."""
        return sum(table.bytes_a_map for table in self._tables.values())

    @torch.inference_mode()
    def know(self, picture: Tensor) -> Known:
        """Runs a (3, s, s) picture through the network and keeps the maps that its compositions will need."""
        if not self._free:
            self._free.extend(range(self._slots, 2 * self._slots + 4))
            self._slots += len(self._free)
            for table in self._tables.values():
                table.hold_maps(self._slots)
        known = Known(self._free.pop())
        weakref.finalize(known, self._free.append, known.slot)
        values = self._values(picture)
        for step, table in self._tables.items():
            table.store(known.slot, values[step.node][0])
        return known

    @torch.inference_mode()
    def compose(self, outside: Sequence[Known], inside: Sequence[Known], xyxy: Ints) -> Tensor:
        """The network's outputs for pictures composed of two known ones each.

        Args:
            outside: n pictures, shown outside the boxes.
            inside: n pictures, shown inside the boxes.
            xyxy: (n, 4) boxes in whole pixels of the picture, not beyond its sides.

        Returns:
            (n, ...) outputs, equal to those of a full pass up to rounding.
        """
        regions = self._regions(xyxy, [known.slot for known in outside], [known.slot for known in inside])
        rows: dict[_Step, Tensor] = {}
        for step in self._steps:
            n_rows = len(regions[step.region].ring)
            if step.is_tabled:
                rows[step] = self._tables[step].hold_rings(n_rows)
            else:
                rows[step] = self._like.new_empty(n_rows, step.shape[0])
            self._compute(step, regions, rows)
            for spent in step.spends:
                del rows[spent]
        return self._finish({step.node: self._whole(step, regions) for step in self._steps if step.is_needed_whole})

    def multiply_adds(self, xyxy: Ints) -> tuple[Ints, int]:
        """Multiply-adds of the convolutions done incrementally: (n,) for boxes in the picture; of a full pass."""
        nobody = [0] * len(xyxy)
        regions = self._regions(xyxy, nobody, nobody)
        needed = [regions[step.region].ring_sizes * step.multiply_adds for step in self._steps]
        return np.sum(needed, axis=0), sum(step.multiply_adds * math.prod(step.shape[1:]) for step in self._steps)

    def _values(self, picture: Tensor) -> dict[fx.Node, Any]:
        """The value of each node of the network's graph for a (3, s, s) picture."""
        with torch.inference_mode():
            self._interpreter.run(picture[None].clone())
        values, self._interpreter.env = self._interpreter.env, {}
        return values

    def _regions(self, xyxy: Ints, outside: Sequence[int], inside: Sequence[int]) -> list[_Region]:
        spans = np.asarray(xyxy, np.int64).reshape(-1, 2, 2)[:, :, ::-1]
        spans = np.where((spans[:, :1] < spans[:, 1:]).all(axis=2, keepdims=True), spans, 0)
        slots = np.array([outside, inside], np.int64)
        regions: list[_Region] = []
        for window, parents in self._origins:
            seeing = _hull([regions[parent].seeing for parent in parents] or [spans])
            seeing_only = _common([regions[parent].seeing_only for parent in parents] or [spans])
            region = _Region(window.seeing(seeing), window.seeing_only(seeing_only), window.out_hw, slots, self._slots)
            regions.append(region)
        return regions

    def _compute(self, step: _Step, regions: Sequence[_Region], rows: Mapping[_Step, Tensor]) -> None:
        """Writes the rows of a step's ring."""
        out, cells = rows[step], regions[step.region].cells
        indices = {
            source: torch.from_numpy(
                step.window.rows_under(regions[source.region], regions[step.region], step.padding_row)
            ).to(out.device)
            for source in step.inputs
            if step.gathers(source)
        }
        n_gathered = sum(step.window.size * source.shape[0] for source in step.inputs)
        n = max(_GATHERED // max(n_gathered, 1), 1)
        for start in range(0, len(out), n):
            chunk = slice(start, start + n)
            operands = [
                self._tables[source].gather(indices[source][chunk]) if source in indices else rows[source][chunk, None]
                for source in step.inputs
            ]
            step.operation(out[chunk], operands, cells[chunk])
            for finish in step.finishes:
                finish(out[chunk])

    def _whole(self, step: _Step, regions: Sequence[_Region]) -> Tensor:
        """(n, d, rows, columns) maps of a step."""
        rows = torch.from_numpy(regions[step.region].rows).to(self._tables[step].rows.device)
        return self._tables[step].gather(rows.flatten(1)).unflatten(1, step.shape[1:]).permute(0, 3, 1, 2)

    def _finish(self, maps: Mapping[fx.Node, Tensor]) -> Tensor:
        """The network's output from the maps that its other layers need."""
        self._interpreter.env = dict(maps)
        for node in self._rest:
            output = self._interpreter.env[node] = self._interpreter.run_node(node)
        self._interpreter.env = {}
        return output


@dataclass(frozen=True)
class _Window:
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

    def rows_under(self, source: _Region, target: _Region, padding_row: int) -> npt.NDArray[np.int32]:
        """(m, k) rows of the source's table under the kernel at each of the m cells of the target's ring."""
        if self.is_pointwise:
            return source.rows.reshape(-1)[target.ring, None]
        rows, (padded_h, padded_w) = source.rows, self._padded_hw
        if self._padded_hw != self.in_hw:
            (h, w), (top, left) = self.in_hw, self.padding
            rows = np.full((len(source.rows), padded_h, padded_w), padding_row, np.int32)
            rows[:, top : top + h, left : left + w] = source.rows
        corners = self._corners[target.cells] + target.pictures * (padded_h * padded_w)
        return rows.reshape(-1).take(corners[:, None] + self._offsets)

    @cached_property
    def _padded_hw(self) -> tuple[int, int]:
        """Sides of the map before, padded as far as the last cells see (with ceil_mode, beyond the padding)."""
        ends = (np.array(self.out_hw) - 1) * self.stride + self._reach + 1
        h, w = np.maximum(ends, np.array(self.in_hw) + self.padding).tolist()
        return h, w

    @cached_property
    def _corners(self) -> Ints:
        """(cells,) places in the padded map of the kernel's first cell."""
        ys, xs = (np.arange(n) * stride for n, stride in zip(self.out_hw, self.stride, strict=True))
        return (ys[:, None] * self._padded_hw[1] + xs).reshape(-1)

    @cached_property
    def _offsets(self) -> Ints:
        """(k,) places in the padded map of the kernel's cells, from its first."""
        ys, xs = (np.arange(n) * dilation for n, dilation in zip(self.kernel, self.dilation, strict=True))
        return (ys[:, None] * self._padded_hw[1] + xs).reshape(-1)


class _Region:
    """Which cells of a map are new, for each picture of a batch, and which rows of a table hold the map.

    Args:
        seeing: (n, 2, 2) first and end of the rows and columns of the cells that see anything of the box.
        seeing_only: the same of those that see nothing else.
        hw: sides of the map.
        slots: (2, n) the known pictures outside and inside the box.
        n_slots: known pictures that tables have room for.
    """

    def __init__(self, seeing: Ints, seeing_only: Ints, hw: tuple[int, int], slots: Ints, n_slots: int) -> None:
        self.seeing = seeing
        self.seeing_only = seeing_only
        self._hw = hw
        self._slots = slots
        self._n_slots = n_slots

    @cached_property
    def ring(self) -> Ints:
        """(m,) new cells, as places in (n, h, w)."""
        is_new = np.zeros((len(self.seeing), *self._hw), np.bool_)
        for one, seeing, seeing_only in zip(is_new, _slices(self.seeing), _slices(self.seeing_only), strict=True):
            one[seeing] = True
            one[seeing_only] = False
        return np.flatnonzero(is_new)

    @property
    def ring_sizes(self) -> Ints:
        """(n,) new cells of each picture."""
        return np.bincount(self.pictures, minlength=len(self.seeing))

    @cached_property
    def pictures(self) -> Ints:
        """(m,) the picture of each new cell."""
        return self.ring // math.prod(self._hw)

    @cached_property
    def cells(self) -> Ints:
        """(m,) new cells, as places in their map."""
        return self.ring - self.pictures * math.prod(self._hw)

    @cached_property
    def rows(self) -> npt.NDArray[np.int32]:
        """(n, h, w) rows of a table that hold the maps."""
        size = math.prod(self._hw)
        outside, inside = (_MAPS + self._slots * size).astype(np.int32)
        rows = outside[:, None, None] + np.arange(size, dtype=np.int32).reshape(self._hw)
        for one, seeing_only, step in zip(rows, _slices(self.seeing_only), inside - outside, strict=True):
            one[seeing_only] += step
        rows.reshape(-1)[self.ring] = _MAPS + self._n_slots * size + np.arange(len(self.ring), dtype=np.int32)
        return rows


class _Table:
    """A layer's maps, one row a cell: two rows of padding, the maps of known pictures, the new cells of a batch."""

    def __init__(self, shape: Shape, like: Tensor) -> None:
        channels, h, w = shape
        self.rows = like.new_zeros(_MAPS, channels)
        self.rows[_LOWEST] = -torch.inf
        self._cells = h * w
        self._rings = _MAPS  # the first row of the rings

    @property
    def bytes_a_map(self) -> int:
        """Memory that one known map takes."""
        return self._cells * self.rows.shape[1] * self.rows.element_size()

    def hold_maps(self, n: int) -> None:
        """Makes room for n known maps."""
        self._rings = _MAPS + n * self._cells
        self._reserve(self._rings)

    def store(self, slot: int, values: Tensor) -> None:
        """Takes the (c, h, w) map of a known picture."""
        start = _MAPS + slot * self._cells
        self.rows[start : start + self._cells] = values.flatten(1).T

    def hold_rings(self, n: int) -> Tensor:
        """(n, channels) rows to write new cells into."""
        self._reserve(self._rings + n)
        return self.rows[self._rings : self._rings + n]

    def gather(self, indices: Tensor) -> Tensor:
        """(m, k, channels) rows."""
        return self.rows.index_select(0, indices.flatten()).unflatten(0, indices.shape)

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.rows):
            rows = self.rows.new_empty(n_rows + n_rows // 4, self.rows.shape[1])
            rows[: len(self.rows)] = self.rows
            self.rows = rows


@dataclass(eq=False)
class _Step:
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
        region: index of the region of its new cells; at times larger than need be, to be that of its reader.
        is_needed_whole: whether its maps go on to a layer that is not done incrementally.
        is_tabled: whether there is a table of its maps.
        spends: steps whose rows nobody reads afterwards.
    """

    node: fx.Node
    shape: Shape
    inputs: tuple[_Step, ...]
    window: _Window
    operation: Operation
    padding_row: int = _ZEROS
    multiply_adds: int = 0
    finishes: list[Callable[[Tensor], object]] = field(default_factory=list)
    region: int = 0
    is_needed_whole: bool = False
    is_tabled: bool = False
    spends: list[_Step] = field(default_factory=list)

    def gathers(self, source: _Step) -> bool:
        """Whether it reads other cells of an input than its own new ones."""
        return not self.window.is_pointwise or self.region != source.region


def _steps(network: fx.GraphModule, values: Mapping[fx.Node, Any]) -> tuple[list[_Step], list[fx.Node]]:
    """The layers done incrementally, and the nodes of all others, in the order of computation."""
    step_of: dict[fx.Node, _Step] = {}
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


def _step(node: fx.Node, module: nn.Module | None, inputs: list[_Step], values: Mapping[fx.Node, Any]) -> _Step | None:
    """The step that does a node; None if it must be left to the network's own modules."""
    if not isinstance(values[node], Tensor) or values[node].ndim != 4:
        return None
    channels, h, w = values[node].shape[1:]
    shape = (channels, h, w)
    here = _Window((h, w), (h, w))
    if node.op == "placeholder":
        return _Step(node, shape, (), here, _concatenate)
    if not inputs or any(needed.shape[1:] != inputs[0].shape[1:] for needed in inputs):
        return None
    finish = _finish(module)
    if finish is not None:
        step = inputs[0]
        if len(step.node.users) > 1 or not step.inputs:
            step = _Step(node, shape, (step,), here, _concatenate)
        step.node = node
        step.finishes.append(finish)
        return step
    in_hw = inputs[0].shape[1:]
    match module:
        case nn.Conv2d() if module.padding_mode == "zeros" and not isinstance(module.padding, str):
            window = _window(module, in_hw, (h, w))
            return _Step(node, shape, tuple(inputs), window, _convolution(module), _ZEROS, module.weight.numel())
        case nn.MaxPool2d() if not module.return_indices:
            return _Step(node, shape, tuple(inputs), _window(module, in_hw, (h, w)), _maximum, _LOWEST)
        case nn.AvgPool2d():
            return _Step(node, shape, tuple(inputs), _window(module, in_hw, (h, w)), _average(module, in_hw))
    is_sum = node.target in (operator.add, operator.iadd, torch.add) and len(node.args) == 2 and not node.kwargs
    if is_sum and len(inputs) == 2 and inputs[0].shape == inputs[1].shape:
        return _Step(node, shape, tuple(inputs), here, _add)
    is_concatenation = node.target is torch.cat and (node.args[1:] == (1,) or node.kwargs == {"dim": 1})
    if is_concatenation and sum(needed.shape[0] for needed in inputs) == shape[0]:
        return _Step(node, shape, tuple(inputs), here, _concatenate)
    return None


def _window(layer: Any, in_hw: tuple[int, int], out_hw: tuple[int, int]) -> _Window:
    settings = (getattr(layer, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))  # AvgPool2d: none
    return _Window(in_hw, out_hw, *((value, value) if isinstance(value, int) else value for value in settings))


def _finish(module: nn.Module | None) -> Callable[[Tensor], object] | None:
    """What changes (m, channels) rows in place as an elementwise layer does."""
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        scale = (module.running_var.float() + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.float()
        shift = -module.running_mean.float() * scale
        if module.bias is not None:
            shift = shift + module.bias.float()
        scale, shift = scale.to(module.running_mean.dtype), shift.to(module.running_mean.dtype)
        return lambda rows: torch.addcmul(shift, rows, scale, out=rows)
    if isinstance(module, nn.ReLU):
        return torch.relu_
    if isinstance(module, _ELEMENTWISE):
        return lambda rows: rows.copy_(module(rows))
    if isinstance(module, _NOTHING):
        return lambda rows: rows
    return None


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


def _hull(spans: Sequence[Ints]) -> Ints:
    """(n, 2, 2) smallest spans that hold all the given."""
    if len(spans) == 1:
        return spans[0]
    return np.stack([np.min([s[:, 0] for s in spans], axis=0), np.max([s[:, 1] for s in spans], axis=0)], axis=1)


def _common(spans: Sequence[Ints]) -> Ints:
    """(n, 2, 2) largest spans that all the given hold; the end may precede the first."""
    if len(spans) == 1:
        return spans[0]
    return np.stack([np.max([s[:, 0] for s in spans], axis=0), np.min([s[:, 1] for s in spans], axis=0)], axis=1)


def _slices(spans: Ints) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of each of (n, 2, 2) spans; none where an end lies before the first."""
    for (top, left), (bottom, right) in np.maximum(spans, 0).tolist():
        yield slice(top, bottom), slice(left, right)


def _assign_regions(steps: Sequence[_Step]) -> list[tuple[_Window, tuple[int, ...]]]:
    """Gives each step its region, its table and what it spends; returns how each region comes from those before.

    Steps that see through the same windows share a region. A step whose every reader wants the rows of one larger
    region computes that region itself: its readers then need no gathering.
    """
    origins: dict[tuple[_Window, tuple[int, ...]], int] = {}
    readers: dict[_Step, list[_Step]] = {step: [] for step in steps}
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
            readers[step][-1].spends.append(step)
    return list(origins)
