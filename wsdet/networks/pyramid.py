"""An image pyramid: the network's maps of one image at several scales, and averages over boxes read off them.

A network trained on objects that fill its input does not know the same object three times as large or small, so the
trunk runs over the image at several scales, and a box is looked at where it comes nearest to the size that the network
knows best (SPPnet, He et al. 2014, section 4.1). An image that is cut into tiles has such a pyramid of its own in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet import check
from wsdet.boxes import clip
from wsdet.networks.backbones import Backbone
from wsdet.tiles import Tiling, window_of
from wsdet.types import Floats, Ints

_LONGEST = 32.0  # network inputs: what a saved detector may ask of the memory
SHORTEST_SIDE = 0.25  # of the network's input: an image is never resized below it, whatever its aspect ratio


@dataclass(frozen=True)
class Pyramid:
    """The scales at which a network looks at images, and which box it looks at where.

    Attributes:
        input_size: side of the network's input in pixels.
        scales: short sides that the image is resized to, in network inputs. The defaults are 240, 400 and 700 px for
            an input of 227.
        target: wanted square root of a box's area after resizing, in network inputs (190 px for 227).
        longest: greatest side of a resized image, in sides of the network's input; narrow images are resized less.
        stride: pixels of a resized image from one position of its map to the next; None: the map covers the image,
            whatever their sizes.
        tiling: the tiles that have pyramids of their own, beside the image's; None: there are none.

    Raises:
        InputError: a scale, the target or the longest side is outside its range.
    """

    input_size: int
    scales: tuple[float, ...] = (1.06, 1.76, 3.08)
    target: float = 0.84
    longest: float = 9.0
    stride: int | None = None
    tiling: Tiling | None = None

    def __post_init__(self) -> None:
        check.each(check.positive, scales=self.scales)
        check.positive(target=self.target)
        check.within(f"(0, {_LONGEST}]", longest=self.longest)

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        scales: Sequence[float] = scales,
        target: float = target,
        longest: float = longest,
        tiling: Tiling | None = None,
    ) -> Pyramid:
        """The scales for a network; for one that takes a single size, the image as large as fits into its input."""
        if not backbone.takes_any_size:
            scales, longest = (1.0,), 1.0
        return cls(
            backbone.input_size, tuple(float(scale) for scale in scales), target, longest, backbone.stride, tiling
        )

    def windows(self, size_hw: tuple[int, int]) -> Ints:
        """(t, 4) corners xyxy of what has a pyramid in an image of `size_hw` pixels: itself, then its tiles."""
        return (self.tiling or Tiling(1)).windows(size_hw)

    def sizes_hw(self, size_hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of an image of `size_hw` pixels at each scale."""
        shortest = max(1, round(SHORTEST_SIDE * self.input_size))
        h, w = size_hw
        return [(max(shortest, round(h * f)), max(shortest, round(w * f))) for f in self._factors(size_hw)]

    def level_of(self, size_hw: tuple[int, int], xyxy: Floats) -> Ints:
        """(n,) the scale at which the size of each of (n, 4) boxes comes nearest to the target."""
        side = np.sqrt((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))
        off = np.abs(side[:, None] * self._factors(size_hw) - self.target * self.input_size)
        return np.asarray(off.argmin(axis=1))

    @torch.inference_mode()
    def averages(self, levels: Sequence[SummedMap], size_hw: tuple[int, int], xyxy: Floats, grid: int) -> Tensor:
        """(n, grid * grid, d) float32 averages over the cells of boxes, each read off the map that fits it best.

        Args:
            levels: the trunk's map at each scale, of each of `windows`.
            size_hw: height and width of the image.
            xyxy: (n, 4) boxes in pixels of the image; what lies outside it is cut off.
            grid: cells along a side of a box.
        """
        xyxy = clip(np.asarray(xyxy, np.float32).reshape(-1, 4), size_hw)
        windows, n_scales = self.windows(size_hw), len(self.scales)
        averages = torch.empty(len(xyxy), grid * grid, len(levels[0].mean), device=levels[0].mean.device)
        of = window_of(xyxy, windows)
        for number, (x1, y1, x2, y2) in enumerate(windows.tolist()):
            rows = np.flatnonzero(of == number)
            if len(rows):
                own = levels[number * n_scales : (number + 1) * n_scales]
                in_window = xyxy[rows] - np.array([x1, y1, x1, y1], np.float32)
                averages[torch.from_numpy(rows).to(averages.device)] = self._in_window(
                    own, (y2 - y1, x2 - x1), in_window, grid
                )
        return averages

    def _in_window(self, levels: Sequence[SummedMap], size_hw: tuple[int, int], xyxy: Floats, grid: int) -> Tensor:
        device, (h, w), sizes_hw = levels[0].mean.device, size_hw, self.sizes_hw(size_hw)
        averages = torch.empty(len(xyxy), grid * grid, len(levels[0].mean), device=device)
        best = self.level_of(size_hw, xyxy)
        for i, level in enumerate(levels):
            rows = np.flatnonzero(best == i)
            if len(rows):
                rows_of_it, columns_of_it = (
                    (side / self.stride for side in sizes_hw[i]) if self.stride else (level.rows, level.columns)
                )
                factor = np.array([columns_of_it / w, rows_of_it / h] * 2, np.float32)
                boxes = torch.from_numpy(xyxy[rows] * factor).to(device)
                averages[torch.from_numpy(rows).to(device)] = level.average_cells(boxes, grid)
        return averages

    def _factors(self, size_hw: tuple[int, int]) -> Floats:
        """What the sides of an image are multiplied by at each scale."""
        return np.array(
            [self.input_size * min(scale / min(size_hw), self.longest / max(size_hw)) for scale in self.scales]
        )


@dataclass(frozen=True, eq=False)
class SummedMap:
    """A map that gives its average over any cell from sixteen numbers, through its integral image.

    The average is exact for a map that is constant over each position: RoIAlign without its sampling grid, and three
    times as fast on a CPU.

    Attributes:
        integral: (rows + 1, columns + 1, d) float32 sums of what lies above and to the left, less the mean: so sums
            stay small, and float32 is exact enough.
        mean: (d,) of the map.
    """

    integral: Tensor
    mean: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, map_: Tensor) -> SummedMap:
        """Sums a (rows, columns, d) map."""
        map_ = map_.float()
        mean = map_.mean(dim=(0, 1))
        return cls(F.pad((map_ - mean).cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0)), mean)

    @property
    def rows(self) -> int:
        """Of the map."""
        return self.integral.shape[0] - 1

    @property
    def columns(self) -> int:
        """Of the map."""
        return self.integral.shape[1] - 1

    def average_cells(self, xyxy: Tensor, grid: int) -> Tensor:
        """(n, grid * grid, d) averages over the cells of boxes; a box under one position is widened to it.

        Args:
            xyxy: (n, 4) boxes in positions of the map: (0, 0, columns, rows) is all of it.
            grid: cells along a side of a box.
        """
        columns_at, x_weights, x_sides = cell_edges(xyxy[:, 0], xyxy[:, 2], self.columns, grid)
        rows_at, y_weights, y_sides = cell_edges(xyxy[:, 1], xyxy[:, 3], self.rows, grid)
        # a cell's sum is the integral at its four corners, each interpolated from four entries: 16 entries a cell
        entries = rows_at[:, :, None, :, None] * (self.columns + 1) + columns_at[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        weights = weights / (y_sides * x_sides)[:, None, None, None, None]
        sums = F.embedding_bag(
            entries.reshape(-1, 16),
            self.integral.flatten(0, 1),
            per_sample_weights=weights.reshape(-1, 16),
            mode="sum",
        )
        return (sums + self.mean).view(-1, grid * grid, len(self.mean))


def cell_edges(start: Tensor, stop: Tensor, length: Any, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """One axis of cells: where the integral is read for each, with which weights, and the cells' sides.

    Returns:
        (n, grid, 4) entries and weights: two around the cell's start, with negative weights, two around its stop;
        (n,) sides of the cells.
    """
    side = (stop - start).clamp(min=1)
    start = ((start + stop - side) / 2).clamp(min=0).minimum(length - side)
    edges = start[:, None] + side[:, None] * torch.linspace(0, 1, grid + 1, device=start.device)
    below = edges.floor().clamp(0, length - 1)
    fraction = edges - below
    at = torch.stack([below, below + 1], dim=-1).long()  # (n, grid + 1, 2)
    weights = torch.stack([1 - fraction, fraction], dim=-1)
    return (
        torch.cat([at[:, :-1], at[:, 1:]], dim=-1),
        torch.cat([-weights[:, :-1], weights[:, 1:]], dim=-1),
        side / grid,
    )
