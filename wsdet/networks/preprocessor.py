"""Images on their way into a network: resized, normalized, painted over, cut into crops, on one device.

An image goes to the device once, as it is, and everything that a network is shown of it is made there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsdet.networks.crops import rescaled_crops
from wsdet.questions import Fill
from wsdet.types import Floats, Ints, Pixels, Sample

_COPY_SIDES = 4  # greatest side of the copy of an image on the device, in sides of the network's input


@dataclass(frozen=True, eq=False)
class View:
    """An image on the device.

    Attributes:
        image: (1, 3, h, w) uint8 the original.
        copy: (1, 3, h', w') float32 in [0, 255]: what crops are cut from; no side above 4 network inputs.
        input: (3, s, s) the network's normalized input.
        size_hw: height and width of the original image.
    """

    image: Tensor
    copy: Tensor
    input: Tensor
    size_hw: tuple[int, int]


class Preprocessor:
    """Makes a network's inputs.

    Args:
        input_size: s, the side of the inputs in pixels.
        mean: color that inputs are normalized by, RGB in [0, 1].
        std: the same for the spread.
        device: where everything is made.
        dtype: the working precision of normalized inputs.
    """

    def __init__(
        self, input_size: int, mean: Sequence[float], std: Sequence[float], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.input_size = input_size
        self.device = device
        self.dtype = dtype
        self._mean = 255 * torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(1, 3, 1, 1)

    def prepare(self, sample: Sample) -> View:
        """The image on the device."""
        original = self.image(sample.pixels)[None]
        image = original.float()
        h, w = sample.size_hw
        shrink = min(1.0, _COPY_SIDES * self.input_size / max(h, w))
        copy = image if shrink == 1 else _resize(image, (max(1, round(h * shrink)), max(1, round(w * shrink))))
        return View(original, copy, self.resized(image, (self.input_size, self.input_size))[0], sample.size_hw)

    def image(self, pixels: Pixels) -> Tensor:
        """(3, h, w) uint8 on the device of (h, w, 3) pixels."""
        return torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)

    def resized(self, image: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(1, 3, h', w') normalized, in the working precision, of (1, 3, h, w) values in [0, 255]; antialiased."""
        return self.normalized(_resize(image, size_hw))

    def normalized(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) of values in [0, 255], normalized, in the working precision; the mean color becomes 0."""
        images = (images - self._mean) / self._std
        return images.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def color(self, fill: Fill) -> Tensor:
        """(3, 1, 1) normalized color that boxes are painted with."""
        black = (-self._mean / self._std).to(self.dtype)[0]
        return black if fill == "black" else torch.zeros_like(black)

    def masked(self, views: Sequence[View], xyxy: Ints, fills: Sequence[Fill]) -> Tensor:
        """(n, 3, s, s) the network's input of each image with a box, (n, 4) of `in_input`, painted over."""
        place = {view: i for i, view in enumerate(dict.fromkeys(views))}
        originals = torch.stack([view.input for view in place])
        rows = torch.tensor([place[view] for view in views], device=self.device)
        colors = torch.stack([self.color(fill) for fill in fills]) if len(set(fills)) > 1 else self.color(fills[0])
        steps = torch.arange(self.input_size, device=self.device)
        x1, y1, x2, y2 = torch.from_numpy(xyxy).to(self.device).T[..., None]  # (n, 1) each
        in_columns, in_rows = (steps >= x1) & (steps < x2), (steps >= y1) & (steps < y2)  # (n, s)
        # one kernel paints the whole batch: on a GPU a launch for each box would take longer than the network
        inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        return torch.where(inside, colors, originals[rows]).contiguous(memory_format=torch.channels_last)

    def in_input(self, xyxy: Floats, sizes_hw: Sequence[tuple[int, int]]) -> Ints:
        """(n, 4) boxes of images of `sizes_hw` pixels, one for each box, in whole pixels of the network's input."""
        sizes = np.array(sizes_hw)[:, [1, 0, 1, 0]]
        return np.clip(np.rint(np.asarray(xyxy) * self.input_size / sizes).astype(np.int64), 0, self.input_size)

    def crops_of(self, view: View, xyxy: Floats) -> Tensor:
        """(n, 3, s, s) normalized: each of (n, 4) boxes in pixels of the original image, warped to the input."""
        factor = np.array(view.copy.shape[:1:-1]) / view.size_hw[::-1]  # width, height
        return self.crops(view.copy[0], torch.from_numpy((xyxy * np.tile(factor, 2)).astype(np.float32)))

    def crops(self, image: Tensor, xyxy: Tensor, context: int = 0) -> Tensor:
        """(n, 3, s, s) normalized: each box of an image warped to the network's input.

        Args:
            image: (3, h, w) values in [0, 255].
            xyxy: (n, 4) boxes in its pixels.
            context: pixels of the image to show around the box, counted in the warped crop (R-CNN: 16); what lies
                outside the image has the mean color.
        """
        image = image.float()
        xyxy = xyxy.to(image)
        if context:
            margin = (xyxy[:, 2:] - xyxy[:, :2]) * (context / (self.input_size - 2 * context))
            xyxy = torch.cat([xyxy[:, :2] - margin, xyxy[:, 2:] + margin], dim=1)
        crops = self.normalized(rescaled_crops(image, xyxy, self.input_size))
        if context:
            crops *= self._inside(xyxy, image.shape[-2], image.shape[-1])
        return crops

    def _inside(self, xyxy: Tensor, h: int, w: int) -> Tensor:
        """(n, 1, s, s) whether a pixel of the warped boxes lies inside the image."""
        steps = (torch.arange(self.input_size, device=self.device) + 0.5) / self.input_size
        xs = xyxy[:, :1] + steps * (xyxy[:, 2:3] - xyxy[:, :1])  # (n, s)
        ys = xyxy[:, 1:2] + steps * (xyxy[:, 3:] - xyxy[:, 1:2])
        return (((ys >= 0) & (ys < h))[:, None, :, None] & ((xs >= 0) & (xs < w))[:, None, None, :]).to(self.dtype)


def _resize(images: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size_hw, mode="bilinear", antialias=True, align_corners=False)
