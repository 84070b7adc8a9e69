"""Images of every format that is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.case import Case, writer

_MAX_PIXELS = 10**6


def picture(format: str = "JPEG", size: tuple[int, int] = (20, 10)) -> bytes:
    """An image of (width, height) as a file."""
    w, h = size
    pixels = np.linspace(0, 255, h * w * 3).astype(np.uint8).reshape(h, w, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def cases() -> Sequence[Case]:
    """One for each format."""
    from wsdet.data.images import FORMATS

    return [Case(name, writer({"image": picture(name)}), _reader) for name in FORMATS]


def _reader(folder: Path) -> Callable[[], object]:
    from wsdet.data.images import read_image, read_orientation, read_size

    path = folder / "image"

    def read() -> object:
        size, orientation = read_size(path, _MAX_PIXELS), read_orientation(path, _MAX_PIXELS)
        pixels = read_image(path, _MAX_PIXELS)
        if pixels.shape[:2] != size or orientation not in range(1, 9):
            raise RuntimeError(f"the header says {size} and {orientation}, the pixels are {pixels.shape}")
        return pixels

    return read
