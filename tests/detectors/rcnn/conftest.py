"""A network small enough to know what its maps are, and images on which detectors can be trained in a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsdet.networks.backbones import Backbone
from wsdet.types import Boxes, Pixels, Sample, Split


class BlockColors:
    """Stands for `Network`: its map is the mean color of each block of 8 x 8 pixels, three channels."""

    device = torch.device("cpu")
    dtype = torch.float32
    input_size = 32
    fingerprint = "block colors"

    def __init__(self) -> None:
        self.n_forward_passes = 0
        self.preprocessor = self  # it prepares its own inputs
        self.backbone = Backbone(nn.AvgPool2d(8), nn.Identity(), self.input_size, "block colors", 0)

    def image(self, pixels: Pixels) -> Tensor:
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)

    def resized(self, image: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return F.interpolate(image, size_hw, mode="bilinear", antialias=True) / 255

    def levels(self, image: Tensor, sizes_hw: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        return tuple(self.trunk(self.resized(image, size_hw))[0].permute(1, 2, 0) for size_hw in sizes_hw)

    def trunk(self, images: Tensor) -> Tensor:
        self.n_forward_passes += len(images)
        return F.avg_pool2d(images, 8, ceil_mode=True)

    def crops(self, image: Tensor, xyxy: Tensor, context: int = 0) -> Tensor:
        crops = []
        for x1, y1, x2, y2 in xyxy.round().int().tolist():
            cut = image[None, :, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].float()
            crops.append(self.resized(cut, (32, 32))[0])
        return torch.stack(crops)


class ColoredSquares:
    """Each image has one square of its class's color with a white middle, so that no part looks like the whole."""

    classes = ("red", "green", "blue")

    def __init__(self, n_images: int = 12, side: int = 64) -> None:
        self.samples: dict[str, Sample] = {}
        self.truth: dict[str, Boxes] = {}
        self.proposals: dict[str, Boxes] = {}
        for index in range(n_images):
            rng = np.random.default_rng(index)
            label, image_id = index % 3, f"train{index:02d}"
            pixels = rng.integers(90, 160, (side, side, 3)).astype(np.uint8)
            x, y = rng.integers(0, side - 28, 2).tolist()
            pixels[y : y + 28, x : x + 28] = 60
            pixels[y : y + 28, x : x + 28, label] = 230
            pixels[y + 8 : y + 20, x + 8 : x + 20] = 255
            corner = rng.uniform(0, side - 16, (40, 2))
            xyxy = np.concatenate([corner, corner + rng.uniform(12, 16, (40, 2))], axis=1)
            xyxy = np.concatenate([[[x + 1, y, x + 29, y + 28]], xyxy]).clip(0, side)
            self.samples[image_id] = Sample(image_id, pixels, (label,))
            self.truth[image_id] = Boxes(np.array([[x, y, x + 28, y + 28]]), np.ones(1, np.float32), np.array([label]))
            self.proposals[image_id] = Boxes(xyxy.astype(np.float32))

    def ids(self, split: Split) -> tuple[str, ...]:
        return tuple(self.samples) if split == "train" else ()

    def labels(self, image_id: str) -> tuple[int, ...]:
        return self.samples[image_id].labels

    def load(self, image_id: str) -> Sample:
        return self.samples[image_id]


@pytest.fixture
def network() -> BlockColors:
    return BlockColors()


@pytest.fixture(scope="session")
def squares() -> ColoredSquares:
    return ColoredSquares()
