"""Features of boxes for a linear detector: from one pass over the image (RoI) or one pass per box (warp).

Both are a grid x grid of averages of the trunk's last map; only the crops of networks with fully connected layers
(AlexNet, VGG) are described by the last of these before the outputs, 4,096 numbers, as R-CNN has it.

Sources: RoI pooling of Fast R-CNN (Girshick 2015), the warped crop of R-CNN (Girshick et al. 2014, appendix A).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet import check
from wsdet.boxes import clip
from wsdet.networks.classifier import Network
from wsdet.networks.pyramid import Pyramid, SummedMap
from wsdet.tiles import Tiling
from wsdet.types import Floats, InputError, Sample

log = logging.getLogger(__name__)

_FINEST = 16  # what a saved detector may ask of the memory
_WARP_BATCH = 32  # crops in one forward pass


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
    """A way to describe boxes by vectors.

    Attributes:
        network: makes the maps.
        dim: length of a box's vector.
    """

    network: Network
    dim: int

    @property
    def settings(self) -> dict[str, Any]:
        """What `build_features` needs to make this again, as plain JSON values."""

    def maps(self, sample: Sample) -> Maps:
        """The part of the work that depends on the image alone, on the network's device."""

    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) float32 on the network's device for (n, 4) boxes in pixels of the original image."""


class RoiFeatures:
    """Averages of the trunk's map over a grid of cells in each box, at the image scale that fits the box best.

    (One scale costs a third of the mean average precision on VOC 2007.)

    Args:
        network: gives the maps.
        grid: cells along a side of a box.
        scales: see `wsdet.networks.pyramid.Pyramid`, as for the next two.
        target: wanted square root of a box's area after resizing.
        longest: greatest side of a resized image.
        tile: side of the tiles that are looked at like images, see `wsdet.tiles.Tiling`; None: there are none.
        tile_overlap: see there.
    """

    def __init__(
        self,
        network: Network,
        grid: int = 3,
        scales: Sequence[float] = Pyramid.scales,
        target: float = Pyramid.target,
        longest: float = Pyramid.longest,
        tile: float | None = None,
        tile_overlap: float = Tiling.overlap,
    ) -> None:
        _check_grid(grid)
        self.network = network
        self.grid = grid
        self.pyramid = Pyramid.of(network.backbone, scales, target, longest, Tiling.of(tile, tile_overlap))
        self.dim = _channels(network) * grid**2

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values for `build_features`."""
        return {
            "kind": "roi",
            "grid": self.grid,
            "scales": list(self.pyramid.scales),
            "target": self.pyramid.target,
            "longest": self.pyramid.longest,
        } | ({"tile": tiling.side, "tile_overlap": tiling.overlap} if (tiling := self.pyramid.tiling) else {})

    def maps(self, sample: Sample) -> Maps:
        """The trunk's map at every scale, of the image and of every tile."""
        image = self.network.preprocessor.image(sample.pixels)[None]
        levels = [
            _to_float16(level)
            for x1, y1, x2, y2 in self.pyramid.windows(sample.size_hw).tolist()
            for level in self.network.levels(
                image[..., y1:y2, x1:x2].float(), self.pyramid.sizes_hw((y2 - y1, x2 - x1))
            )
        ]
        return Maps(tuple(levels), sample.size_hw)

    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) averages, cell by cell in rows, the channels of a cell side by side."""
        levels = [SummedMap.of(level.to(self.network.device)) for level in maps.levels]
        return self.pyramid.averages(levels, maps.size_hw, xyxy, self.grid).flatten(1)


class WarpFeatures:
    """R-CNN's features: each box warped to the network's input with some context, one forward pass per box.

    Args:
        network: gives the maps of the crops.
        context: pixels of the image around the box, counted in the warped crop, as R-CNN counts them; what lies
            outside the image has the mean color.
        grid: cells along a side of the crop's map that are averaged.
        layer: "hidden": the last hidden layer, after its ReLU, R-CNN's fc7; "map": the averages of the trunk's map;
            "auto": "hidden" where the network has fully connected layers before its outputs, else "map".

    Raises:
        InputError: an argument is out of its range, or the network has no hidden layer.
    """

    def __init__(
        self, network: Network, context: int = 16, grid: int = 3, layer: Literal["auto", "hidden", "map"] = "auto"
    ) -> None:
        _check_grid(grid)
        check.one_of(("auto", "hidden", "map"), layer=layer)
        backbone = network.backbone
        if layer == "hidden" and not backbone.has_hidden_layer:
            raise InputError(
                f"layer=hidden needs fully connected layers, and {backbone.architecture} has none; take map"
            )
        check.within(f"[0, {network.input_size / 2:g})", context=context)
        self.network = network
        self.context = context
        self.grid = grid
        self.hidden = layer == "hidden" or (layer == "auto" and backbone.has_hidden_layer)
        self.dim = backbone.last_layer.weight.shape[1] if self.hidden else _channels(network) * grid**2
        described = "its last hidden layer" if self.hidden else f"{grid} x {grid} averages of its last map"
        log.info("a warped box is %d numbers of %s: %s", self.dim, backbone.architecture, described)

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values for `build_features`."""
        layer = "hidden" if self.hidden else "map"
        return {"kind": "warp", "context": self.context, "grid": self.grid, "layer": layer}

    def maps(self, sample: Sample) -> Maps:
        """The image itself: nothing can be computed before the boxes are known."""
        return Maps((torch.from_numpy(sample.pixels),), sample.size_hw)

    @torch.inference_mode()
    def features(self, maps: Maps, xyxy: Floats) -> Tensor:
        """(n, dim) the hidden layer, or averages, cell by cell in rows, the channels of a cell side by side."""
        image = maps.levels[0].to(self.network.device).permute(2, 0, 1)
        xyxy = clip(np.asarray(xyxy, np.float32).reshape(-1, 4), maps.size_hw)
        parts = [torch.empty(0, self.dim, device=self.network.device)]
        for start in range(0, len(xyxy), _WARP_BATCH):
            boxes = torch.from_numpy(xyxy[start : start + _WARP_BATCH]).to(self.network.device)
            map_ = self.network.trunk(self.network.preprocessor.crops(image, boxes, self.context))
            if self.hidden:
                parts.append(self.network.backbone.hidden_layer(map_).float())
                continue
            cells = F.adaptive_avg_pool2d(map_.float(), self.grid)  # (n, d, grid, grid)
            parts.append(cells.permute(0, 2, 3, 1).flatten(1))
        return torch.cat(parts)


def build_features(network: Network, kind: str, **settings: Any) -> BoxFeatures:
    """The features that `BoxFeatures.settings` describe.

    Raises:
        InputError: `kind` is neither "roi" nor "warp", or a setting is unknown or out of range.
    """
    kinds: dict[str, type[RoiFeatures] | type[WarpFeatures]] = {"roi": RoiFeatures, "warp": WarpFeatures}
    check.one_of(kinds, features=kind)
    try:
        return kinds[kind](network, **settings)
    except TypeError as error:
        raise InputError(f"features={kind}: {error}") from error


def _check_grid(grid: int) -> None:
    check.at_least(1, grid=grid)
    check.within(f"[1, {_FINEST}]", grid=grid)


def _channels(network: Network) -> int:
    """d, seen by sending a gray image through."""
    prepare = network.preprocessor
    gray = np.full((network.input_size, network.input_size, 3), 128, np.uint8)
    size_hw = (network.input_size, network.input_size)
    return network.trunk(prepare.resized(prepare.image(gray)[None].float(), size_hw)).shape[1]


def _to_float16(map_: Tensor) -> Tensor:
    """A map as it is kept; features come from it whether it was kept or not, so they do not depend on that."""
    limit = torch.finfo(torch.float16).max
    return map_.float().clamp(-limit, limit).half().contiguous()
