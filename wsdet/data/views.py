"""Views of a dataset's images: mirrored, or a corner of each. What finds an object finds it in both, where it is then.

Places are in coordinates relative to an image: (x1, y1, x2, y2) as shares of its width and height.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from wsdet import check
from wsdet.data.derived import Derived
from wsdet.sampling import image_generator
from wsdet.types import Boxes, Dataset, Floats, Pixels, Sample


class View(Derived, ABC):
    """The images and labels of another dataset, seen differently, and no ground truth.

    Args:
        dataset: the other one.
    """

    @abstractmethod
    def seen(self, image_id: str, pixels: Pixels) -> Pixels:
        """The (h, w, 3) pixels of an image as this view has them."""

    @abstractmethod
    def carried(self, image_id: str, relative_xyxy: Floats) -> Floats:
        """(n, 4) where boxes of the image are in this view, in the view's relative coordinates; not clipped to it."""

    def size_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of this view of an image of `size_hw`."""
        return size_hw

    @property
    def truth(self) -> Mapping[str, Boxes]:
        """None: views are for what needs no ground truth."""
        return {}

    def load(self, image_id: str) -> Sample:
        """The image, as this view has it."""
        sample = super().load(image_id)
        return replace(sample, pixels=np.ascontiguousarray(self.seen(image_id, sample.pixels)))


class Flipped(View):
    """Images mirrored left to right."""

    def seen(self, image_id: str, pixels: Pixels) -> Pixels:
        """See `View`."""
        return pixels[:, ::-1]

    def carried(self, image_id: str, relative_xyxy: Floats) -> Floats:
        """See `View`."""
        x1, y1, x2, y2 = np.asarray(relative_xyxy, np.float32).reshape(-1, 4).T
        return np.stack([1 - x2, y1, 1 - x1, y2], axis=1)


class Cornered(View):
    """A corner of each image, which one is drawn by the seed.

    Args:
        dataset: see `View`.
        side: of the corner, relative to the image's, in (0, 1].
        seed: of the draw.

    Raises:
        InputError: `side` is outside its range.
    """

    def __init__(self, dataset: Dataset, side: float = 0.75, seed: int = 0) -> None:
        check.within("(0, 1]", side=side)
        super().__init__(dataset)
        self.side = side
        self.seed = seed

    def seen(self, image_id: str, pixels: Pixels) -> Pixels:
        """See `View`."""
        (at_right, at_bottom), (h, w) = self._corner(image_id), pixels.shape[:2]
        rows, columns = self.size_hw((h, w))
        top, left = (h - rows) * at_bottom, (w - columns) * at_right
        return pixels[top : top + rows, left : left + columns]

    def carried(self, image_id: str, relative_xyxy: Floats) -> Floats:
        """See `View`."""
        corner = np.array(self._corner(image_id) * 2, np.float32) * (1 - self.side)
        xyxy = np.asarray(relative_xyxy, np.float32).reshape(-1, 4)
        return np.asarray((xyxy - corner) / self.side, np.float32)

    def size_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """See `View`."""
        h, w = size_hw
        return max(1, round(self.side * h)), max(1, round(self.side * w))

    def _corner(self, image_id: str) -> tuple[int, int]:
        """(0: left, 1: right; 0: top, 1: bottom)."""
        right, bottom = image_generator(image_id, self.seed).integers(0, 2, size=2).tolist()
        return right, bottom
