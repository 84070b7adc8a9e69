"""Exact incremental inference for inputs that show one image inside a box and another outside it.

A masked input is the image outside a box and one color inside it. Both the image and a uniform image of that color have
been through the network before, and their activations at every layer are cached. A cell of a feature map whose
receptive field lies outside the box has the image's activation, one whose receptive field lies inside it has the
uniform image's; only *boundary cells*, whose receptive fields reach over the box's edge, have a value that nobody has
computed yet. They are computed here, layer by layer. (Krypton, Nakandala et al., SIGMOD 2019, recomputes the whole
window of cells that see the box. Caching the inside too makes large boxes as cheap as their edges.)

Why tables and not images: boundary cells lie around the box, of another shape for each box and layer, and a
convolution over tensors would need a rectangle. So the maps of a layer are kept as one table with one row per cell
(its channels): first all cells of all cached maps, then the boundary cells of all inputs of a batch, one after the
other. Each cell of an input's map is then a row number: of the image's map, of the uniform image's, or of a new row. A
convolution gathers the rows under its kernel, wherever they are, and is one matrix product for the boundary cells of
the whole batch; boxes of any size share it, so a batch need not be sorted by size.

From the first layer on that `wsdet.networks.incremental_layers` does not know (global pooling, say), whole maps are
gathered from the tables and go through the network's own modules.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from wsdet.networks.incremental_layers import LOWEST, LayerTracer, Shape, Step, Window, assign_regions, layer_steps
from wsdet.types import Bools, Ints

_FIRST_ROW = 2  # of a table's maps: the rows before, ZEROS and LOWEST, stand for padding
_WORTH = 0.45  # of a full pass's multiply-adds: with more to do than this, gathering takes what is saved
_WORTH_IN_HALF = 0.6  # in half precision; not with depthwise layers, which gain less by it than full passes do
_GATHERED = 2**20  # numbers gathered at once by a thread: few enough to stay in the caches


class CachedActivations:
    """An image whose feature maps an `IncrementalNetwork` holds for as long as this object lives."""

    def __init__(self, slot: int) -> None:
        self.slot = slot


class IncrementalNetwork:
    """A network that computes only what is new in inputs composed of two cached ones.

    Args:
        network: takes (n, 3, s, s) inputs, in evaluation mode and final: its weights are copied.
        like: (3, s, s) any input; gives size, device and working precision.

    Raises:
        ValueError: the network's graph cannot be traced, or overwrites values that several layers read.
    """

    def __init__(self, network: nn.Module, like: Tensor) -> None:
        try:
            graph = fx.GraphModule(network, LayerTracer().trace(network))
        except Exception as error:  # tracing runs the network's own code, which may raise anything
            raise ValueError(f"network must have a graph that torch.fx can trace: {error}") from error
        self._interpreter = fx.Interpreter(graph, garbage_collect_values=False)
        self._steps, self._rest = layer_steps(graph, self._values(like))
        self._origins = assign_regions(self._steps)
        self._tables = {step: _Table(step.shape, like) for step in self._steps if step.is_tabled}
        self._like = like[:0]
        is_depthwise = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())
        self._worth = _WORTH if is_depthwise or like.dtype == torch.float32 else _WORTH_IN_HALF
        self._slots = 0
        self._free: list[int] = []

    @property
    def bytes_per_input(self) -> int:
        """Memory that the activations of one input take."""
        return sum(table.bytes_per_map for table in self._tables.values())

    @torch.inference_mode()
    def cache(self, image: Tensor) -> CachedActivations:
        """Runs a (3, s, s) input through the network and keeps the maps that its compositions will need."""
        if not self._free:
            self._free.extend(range(self._slots, 2 * self._slots + 4))
            self._slots += len(self._free)
            for table in self._tables.values():
                table.hold_maps(self._slots)
        cached = CachedActivations(self._free.pop())
        weakref.finalize(cached, self._free.append, cached.slot)
        values = self._values(image)
        for step, table in self._tables.items():
            table.store(cached.slot, values[step.node][0])
        return cached

    @torch.inference_mode()
    def compose(self, outside: Sequence[CachedActivations], inside: Sequence[CachedActivations], xyxy: Ints) -> Tensor:
        """The network's outputs for inputs composed of two cached ones each.

        Args:
            outside: n cached inputs, shown outside the boxes.
            inside: n cached inputs, shown inside the boxes.
            xyxy: (n, 4) boxes in whole pixels of the input, not beyond its sides.

        Returns:
            (n, ...) outputs, equal to those of a full pass up to rounding.
        """
        regions = self._regions(xyxy, [one.slot for one in outside], [one.slot for one in inside])
        rows: dict[Step, Tensor] = {}
        for step in self._steps:
            n_rows = len(regions[step.region].boundary)
            if step.is_tabled:
                rows[step] = self._tables[step].hold_boundary(n_rows)
            else:  # every reader wants exactly these rows, in this order: no table, no gathering
                rows[step] = self._like.new_empty(n_rows, step.shape[0])
            self._compute(step, regions, rows)
            for read in step.frees:
                del rows[read]
        return self._finish({step.node: self._whole(step, regions) for step in self._steps if step.is_needed_whole})

    def multiply_adds(self, xyxy: Ints) -> tuple[Ints, int]:
        """Multiply-adds of the convolutions done incrementally: (n,) for boxes in the input; of a full pass."""
        any_slot = [0] * len(xyxy)  # nothing is gathered
        regions = self._regions(xyxy, any_slot, any_slot)
        needed = [regions[step.region].boundary_sizes * step.multiply_adds for step in self._steps]
        return np.sum(needed, axis=0), sum(step.multiply_adds * math.prod(step.shape[1:]) for step in self._steps)

    def is_faster(self, xyxy: Ints) -> Bools:
        """(n,) whether composing inputs with these boxes takes less time than full passes (docs/growth.md)."""
        needed, all_of_them = self.multiply_adds(xyxy)
        return needed < self._worth * all_of_them

    def _values(self, image: Tensor) -> dict[fx.Node, Any]:
        """The value of each node of the network's graph for a (3, s, s) input."""
        with torch.inference_mode():
            self._interpreter.run(image[None].clone())
        values, self._interpreter.env = self._interpreter.env, {}
        return values

    def _regions(self, xyxy: Ints, outside: Sequence[int], inside: Sequence[int]) -> list[_Region]:
        """Which cells are new, for each kind of cell that the network's layers have (`assign_regions`)."""
        spans = np.asarray(xyxy, np.int64).reshape(-1, 2, 2)[:, :, ::-1]
        spans = np.where((spans[:, :1] < spans[:, 1:]).all(axis=2, keepdims=True), spans, 0)
        slots = np.array([outside, inside], np.int64)
        regions: list[_Region] = []
        for window, parents in self._origins:
            # of a sum or a concatenation, a cell sees the box if any of its parts does, nothing else if all of them do
            seeing = _hull([regions[parent].seeing for parent in parents] or [spans])
            seeing_only = _common([regions[parent].seeing_only for parent in parents] or [spans])
            region = _Region(window.seeing(seeing), window.seeing_only(seeing_only), window.out_hw, slots, self._slots)
            regions.append(region)
        return regions

    def _compute(self, step: Step, regions: Sequence[_Region], rows: Mapping[Step, Tensor]) -> None:
        """Writes the rows of a step's boundary cells, in chunks whose gathered operands stay in the caches."""
        out, cells = rows[step], regions[step.region].cells
        indices = {
            source: torch.from_numpy(
                regions[source.region].rows_under(step.window, regions[step.region], step.padding_row)
            ).to(out.device)
            for source in step.inputs
            if step.gathers(source)
        }
        n_gathered = sum(step.window.size * source.shape[0] for source in step.inputs)
        n = max(_GATHERED * torch.get_num_threads() // max(n_gathered, 1), 1)
        for start in range(0, len(out), n):
            chunk = slice(start, start + n)
            operands = [
                self._tables[source].gather(indices[source][chunk]) if source in indices else rows[source][chunk, None]
                for source in step.inputs
            ]
            step.operation(out[chunk], operands, cells[chunk])
            for finish in step.finishes:
                finish(out[chunk])

    def _whole(self, step: Step, regions: Sequence[_Region]) -> Tensor:
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


class _Region:
    """Which cells of a map are new, for each input of a batch, and which rows of a table hold the map.

    Boundary cells need no set arithmetic: the cells that see anything of a box are a rectangle, those that see nothing
    else a smaller one inside it, and both follow from the rectangles of the layer before (`Window`).

    Args:
        seeing: (n, 2, 2) first and end of the rows and columns of the cells that see anything of the box.
        seeing_only: the same of those that see nothing else.
        hw: sides of the map.
        slots: (2, n) the cached inputs outside and inside the box.
        n_slots: cached inputs that tables have room for.
    """

    def __init__(self, seeing: Ints, seeing_only: Ints, hw: tuple[int, int], slots: Ints, n_slots: int) -> None:
        self.seeing = seeing
        self.seeing_only = seeing_only
        self._hw = hw
        self._slots = slots
        self._n_slots = n_slots

    @cached_property
    def boundary(self) -> Ints:
        """(m,) boundary cells, as places in (n, h, w)."""
        is_new = np.zeros((len(self.seeing), *self._hw), np.bool_)
        for one, seeing, seeing_only in zip(is_new, _slices(self.seeing), _slices(self.seeing_only), strict=True):
            one[seeing] = True
            one[seeing_only] = False
        return np.flatnonzero(is_new)

    @property
    def boundary_sizes(self) -> Ints:
        """(n,) boundary cells of each input."""
        seeing, seeing_only = (
            np.prod(np.maximum(spans[:, 1] - spans[:, 0], 0), axis=1) for spans in (self.seeing, self.seeing_only)
        )
        return np.asarray(seeing - seeing_only)

    @cached_property
    def inputs(self) -> Ints:
        """(m,) the input of each boundary cell."""
        return self.boundary // math.prod(self._hw)

    @cached_property
    def cells(self) -> Ints:
        """(m,) boundary cells, as places in their map."""
        return self.boundary - self.inputs * math.prod(self._hw)

    @cached_property
    def rows(self) -> npt.NDArray[np.int32]:
        """(n, h, w) rows of a table that hold the maps."""
        size = math.prod(self._hw)
        outside, inside = (_FIRST_ROW + self._slots * size).astype(np.int32)
        rows = outside[:, None, None] + np.arange(size, dtype=np.int32).reshape(self._hw)
        for one, seeing_only, step in zip(rows, _slices(self.seeing_only), inside - outside, strict=True):
            one[seeing_only] += step
        rows.reshape(-1)[self.boundary] = (
            _FIRST_ROW + self._n_slots * size + np.arange(len(self.boundary), dtype=np.int32)
        )
        return rows

    def rows_under(self, window: Window, reader: _Region, padding_row: int) -> npt.NDArray[np.int32]:
        """(m, k) rows of this map's table that lie under a window at each of the m boundary cells of a reader's map."""
        if window.is_pointwise:
            return self.rows.reshape(-1)[reader.boundary, None]
        rows, (padded_h, padded_w) = self.rows, window.padded_hw
        if window.padded_hw != window.in_hw:
            (h, w), (top, left) = window.in_hw, window.padding
            rows = np.full((len(self.rows), padded_h, padded_w), padding_row, np.int32)
            rows[:, top : top + h, left : left + w] = self.rows
        corners = window.corners[reader.cells] + reader.inputs * (padded_h * padded_w)
        return rows.reshape(-1).take(corners[:, None] + window.offsets)


class _Table:
    """A layer's maps, one row per cell: two rows of padding, the cached maps, the boundary cells of a batch."""

    def __init__(self, shape: Shape, like: Tensor) -> None:
        channels, h, w = shape
        self.rows = like.new_zeros(_FIRST_ROW, channels)
        self.rows[LOWEST] = -torch.inf
        self._cells = h * w
        self._first_new = _FIRST_ROW  # the first row of boundary cells

    @property
    def bytes_per_map(self) -> int:
        """Memory that one cached map takes."""
        return self._cells * self.rows.shape[1] * self.rows.element_size()

    def hold_maps(self, n: int) -> None:
        """Makes room for n cached maps."""
        self._first_new = _FIRST_ROW + n * self._cells
        self._reserve(self._first_new)

    def store(self, slot: int, values: Tensor) -> None:
        """Takes the (c, h, w) map of an input."""
        start = _FIRST_ROW + slot * self._cells
        self.rows[start : start + self._cells] = values.flatten(1).T

    def hold_boundary(self, n: int) -> Tensor:
        """(n, channels) rows to write boundary cells into."""
        self._reserve(self._first_new + n)
        return self.rows[self._first_new : self._first_new + n]

    def gather(self, indices: Tensor) -> Tensor:
        """(m, k, channels) rows."""
        return self.rows.index_select(0, indices.flatten()).unflatten(0, indices.shape)

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.rows):
            # a quarter more than asked, so that growing batches do not copy the cached maps each time
            rows = self.rows.new_empty(n_rows + n_rows // 4, self.rows.shape[1])
            rows[: len(self.rows)] = self.rows
            self.rows = rows


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
