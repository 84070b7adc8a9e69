"""Features of boxes for a linear detector: from one pass over the image (RoI) or one pass a box (warp).

Both have the same dimension, a grid x grid of averages of the trunk's last map, so they can be exchanged.

Sources: RoI pooling of Fast R-CNN (Girshick 2015), the choice of scale of SPPnet (He et al. 2014, section 4.1), the
warped crop of R-CNN (Girshick et al. 2014, appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet.boxes import clip
from wsdet.network import Network
from wsdet.types import Floats, Ints, Sample

_FINEST, _LONGEST = 16, 32.0  # what a saved detector may ask of the memory
_WARP_BATCH = 32  # crops in one forward pass
_SHORTEST_SIDE = 0.25  # of the network's input: a picture is never resized below it, whatever its aspect ratio


@dataclass(frozen=True, eq=False)
class Maps:
    """What is computed once for an image, before its boxes are known; small enough to keep on disk.

    Attributes:
        levels: one tensor a scale: (rows, columns, d) float16 feature maps, or the image itself, (h, w, 3) uint8.
        size_hw: height and width of the original image.
    """

    levels: tuple[Tensor, ...]
    size_hw: tuple[int, int]


class BoxFeatures(Protocol):
    """A way to describe boxes by vectors."""

    network: Network

    @property
    def dim(self) -> int:
        """Length of a box's vector."""

    @property
    def settings(self) -> dict[str, Any]:
        """What `build_features` needs to make this again, as plain JSON values."""

    def maps(self, sample: Sample) -> Maps:
        """The part of the work that depends on the image alone, on the network's device."""

    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) float32 on the network's device for (n, 4) boxes in pixels of the original image."""


class RoiFeatures:
    """Averages of the trunk's map over a grid of cells in each box, at the image scale that fits the box best.

    A network trained on objects that fill its input does not know the same object three times as large or small, so
    the trunk runs over the image at several scales, and a box is looked at where it comes nearest to `target`. (One
    scale costs a third of the mean average precision on VOC 2007.)

    The average over a cell is exact, through an integral image of the map (piecewise constant over its positions):
    RoIAlign without its sampling grid, and three times as fast on a CPU.

    Args:
        network: gives the maps.
        grid: cells along a side of a box.
        scales: short sides that the image is resized to, in network inputs. The defaults are 240, 400 and 700 px for
            an input of 227.
        target: wanted square root of a box's area after resizing, in network inputs (190 px for 227).
        longest: no side of a resized image is above so many network inputs; narrow images are resized less.
    """

    def __init__(
        self,
        network: Network,
        grid: int = 3,
        scales: Sequence[float] = (1.06, 1.76, 3.08),
        target: float = 0.84,
        longest: float = 9.0,
    ) -> None:
        _check_grid(grid)
        if not scales or min(scales) <= 0 or target <= 0:
            raise ValueError(f"scales and target must be > 0, got {list(scales)} and {target}")
        if not 0 < longest <= _LONGEST:
            raise ValueError(f"longest must be in (0, {_LONGEST}] network inputs, got {longest}")
        self.network = network
        self.grid = grid
        self.scales = tuple(float(scale) for scale in scales)
        self.target = target
        self.longest = longest
        self._channels = _channels(network)

    @property
    def dim(self) -> int:
        """d * grid * grid."""
        return self._channels * self.grid**2

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values for `build_features`."""
        return {
            "kind": "roi",
            "grid": self.grid,
            "scales": list(self.scales),
            "target": self.target,
            "longest": self.longest,
        }

    def maps(self, sample: Sample) -> Maps:
        """The trunk's map at every scale."""
        image = self.network.image(sample.pixels)
        levels = []
        for scale in self.scales:
            picture = self.network.resized(image, self._resized_hw(sample.size_hw, scale))
            picture = picture if picture.ndim == 4 else picture[None]
            levels.append(_to_float16(self.network.trunk(picture)[0].permute(1, 2, 0)))
        return Maps(tuple(levels), sample.size_hw)

    @torch.inference_mode()
    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) averages, cell by cell in rows, the channels of a cell side by side."""
        xyxy = clip(np.asarray(xyxy, np.float32).reshape(-1, 4), maps.size_hw)
        features = torch.empty(len(xyxy), self.dim, device=self.network.device)
        best = self._best_level(maps.size_hw, xyxy)
        for level, map_ in enumerate(maps.levels):
            rows = np.flatnonzero(best == level)
            if len(rows):
                h, w = maps.size_hw
                factor = np.array([map_.shape[1] / w, map_.shape[0] / h] * 2, np.float32)
                boxes = torch.from_numpy(xyxy[rows] * factor).to(self.network.device)
                pooled = average_cells(map_.to(self.network.device).float(), boxes, self.grid)
                features[torch.from_numpy(rows).to(self.network.device)] = pooled.flatten(1)
        return features

    def _resized_hw(self, size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
        factor = self._factor(size_hw, scale)
        shortest = max(1, round(_SHORTEST_SIDE * self.network.input_size))
        return max(shortest, round(size_hw[0] * factor)), max(shortest, round(size_hw[1] * factor))

    def _factor(self, size_hw: tuple[int, int], scale: float) -> float:
        return self.network.input_size * min(scale / min(size_hw), self.longest / max(size_hw))

    def _best_level(self, size_hw: tuple[int, int], xyxy: Floats) -> Ints:
        """(n,) the level at which each box's size comes nearest to the target."""
        side = np.sqrt((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))
        factors = np.array([self._factor(size_hw, scale) for scale in self.scales])
        off = np.abs(side[:, None] * factors - self.target * self.network.input_size)
        return np.asarray(off.argmin(axis=1))


class WarpFeatures:
    """R-CNN's features: each box warped to the network's input with some context, one forward pass a box.

    Args:
        network: gives the maps of the crops.
        context: pixels of the image around the box, counted in the warped picture, as R-CNN counts them; what lies
            outside the image has the mean color.
        grid: cells along a side of the crop's map that are averaged.
    """

    def __init__(self, network: Network, context: int = 16, grid: int = 3) -> None:
        _check_grid(grid)
        if not 0 <= 2 * context < network.input_size:
            raise ValueError(f"context must be in [0, {network.input_size / 2}) pixels, got {context}")
        self.network = network
        self.context = context
        self.grid = grid
        self._channels = _channels(network)

    @property
    def dim(self) -> int:
        """d * grid * grid."""
        return self._channels * self.grid**2

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values for `build_features`."""
        return {"kind": "warp", "context": self.context, "grid": self.grid}

    def maps(self, sample: Sample) -> Maps:
        """The image itself: nothing can be computed before the boxes are known."""
        return Maps((torch.from_numpy(sample.pixels),), sample.size_hw)

    @torch.inference_mode()
    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) averages, cell by cell in rows, the channels of a cell side by side."""
        image = maps.levels[0].to(self.network.device).permute(2, 0, 1)
        xyxy = clip(np.asarray(xyxy, np.float32).reshape(-1, 4), maps.size_hw)
        parts = [torch.empty(0, self.dim, device=self.network.device)]
        for start in range(0, len(xyxy), _WARP_BATCH):
            boxes = torch.from_numpy(xyxy[start : start + _WARP_BATCH]).to(self.network.device)
            map_ = self.network.trunk(self.network.crops(image, boxes, self.context))
            cells = F.adaptive_avg_pool2d(map_.float(), self.grid)  # (n, d, grid, grid)
            parts.append(cells.permute(0, 2, 3, 1).flatten(1))
        return torch.cat(parts)


def build_features(network: Network, kind: str, **settings: Any) -> BoxFeatures:
    """The features that `BoxFeatures.settings` describe.

    Raises:
        ValueError: `kind` is neither "roi" nor "warp", or a setting is unknown or out of range.
    """
    kinds: dict[str, type[RoiFeatures] | type[WarpFeatures]] = {"roi": RoiFeatures, "warp": WarpFeatures}
    if kind not in kinds:
        raise ValueError(f"features must be one of {sorted(kinds)}, got {kind!r}")
    try:
        return kinds[kind](network, **settings)
    except TypeError as error:
        raise ValueError(f"features={kind}: {error}") from error


def average_cells(map_: Tensor, xyxy: Tensor, grid: int) -> Tensor:
    """(n, grid * grid, d) averages of a map over the cells of boxes; a box under one position is widened to it.

    Args:
        map_: (rows, columns, d) float32.
        xyxy: (n, 4) boxes in positions of the map: (0, 0, columns, rows) is all of it.
        grid: cells along a side of a box.
    """
    rows, columns, channels = map_.shape
    mean = map_.mean(dim=(0, 1))  # taken out before and put back after: sums stay small, so float32 is exact enough
    integral = map_.new_zeros(rows + 1, columns + 1, channels)
    integral[1:, 1:] = (map_ - mean).cumsum(0).cumsum(1)
    columns_at, x_weights, x_sides = _cell_edges(xyxy[:, 0], xyxy[:, 2], columns, grid)
    rows_at, y_weights, y_sides = _cell_edges(xyxy[:, 1], xyxy[:, 3], rows, grid)
    # a cell's sum is the integral at its four corners, each interpolated from four entries: 16 entries a cell
    entries = rows_at[:, :, None, :, None] * (columns + 1) + columns_at[:, None, :, None, :]
    weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
    weights = weights / (y_sides * x_sides)[:, None, None, None, None]
    sums = F.embedding_bag(
        entries.reshape(-1, 16), integral.view(-1, channels), per_sample_weights=weights.reshape(-1, 16), mode="sum"
    )
    return (sums + mean).view(-1, grid * grid, channels)


def _cell_edges(start: Tensor, stop: Tensor, length: int, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """One axis of `average_cells`: where the integral is read for each cell, with which weights, and cells' sides.

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


def _check_grid(grid: int) -> None:
    if not 1 <= grid <= _FINEST:
        raise ValueError(f"grid must be in 1..{_FINEST}, got {grid}")


def _channels(network: Network) -> int:
    """d, seen by sending a gray picture through."""
    gray = np.full((network.input_size, network.input_size, 3), 128, np.uint8)
    picture = network.resized(network.image(gray), (network.input_size, network.input_size))
    return network.trunk(picture if picture.ndim == 4 else picture[None]).shape[1]


def _to_float16(map_: Tensor) -> Tensor:
    """A map as it is kept; features come from it whether it was kept or not, so they do not depend on that."""
    limit = torch.finfo(torch.float16).max
    return map_.float().clamp(-limit, limit).half().contiguous()
