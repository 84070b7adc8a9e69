"""One image file, whatever it holds, as (h, w, 3) uint8 RGB pixels the way a person would see it.

Every image comes from a stranger: only well-kept formats are tried, sizes are checked in the header before anything
is decoded, and whatever a decoder stumbles over becomes one `InputError` that names the file and the remedy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsdet.types import InputError, Pixels

MAX_PIXELS = 80_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # EXIF orientation -> what turns the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = {5, 6, 7, 8}


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """(h, w, 3) uint8 RGB pixels of an image file.

    EXIF orientation is applied, transparency is composited on white, 16-bit gray is scaled from 0..65535 to 0..255,
    an animation gives its first frame.

    Args:
        path: a regular file.
        max_pixels: larger images are refused from their header, before decoding. (Above 178,956,970 Pillow refuses.)

    Raises:
        InputError: the file is missing, is not a whole image of `FORMATS`, or is too large.
    """
    with _opened(path, max_pixels) as image:
        upright = _upright(image)
        return np.array(_to_rgb(upright))


def read_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of what `read_image` would return, from the header alone.

    Raises:
        InputError: as `read_image`, as far as the header tells.
    """
    with _opened(path, max_pixels) as image:
        w, h = image.size
        return (w, h) if _orientation(image) in _ON_ITS_SIDE else (h, w)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    name = repr(str(path))  # quoted: a file name may hold a newline
    try:
        if not path.is_file():  # a pipe or a device would block or never end
            state = "is not a regular file" if path.exists() else "does not exist"
            raise InputError(f"image {name} {state}; restore it, or remove it from the data")
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata and sizes; the limit here is max_pixels
            with Image.open(file, formats=FORMATS) as image:
                _check_size(image.size, max_pixels, name)
                yield image
    except InputError:
        raise
    except Exception as error:  # a decoder that is given a stranger's bytes may raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is none of them" if unknown else str(error) or type(error).__name__
        raise InputError(
            f"image {name} cannot be read as {', '.join(FORMATS)}: {reason}; replace it, or convert it to JPEG or PNG"
        ) from error


def _check_size(size_wh: tuple[int, int], max_pixels: int, name: str) -> None:
    w, h = size_wh
    if w < 1 or h < 1:
        raise InputError(f"image {name} has no pixels ({w} x {h}); replace it, or remove it from the data")
    if w * h > max_pixels:
        raise InputError(
            f"image {name} has {w} x {h} pixels, at most {max_pixels} are allowed; "
            "shrink it, or raise max_pixels if you trust it"
        )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata: the pixels may still be whole, and they are what is wanted
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would cut 16-bit values off at 255
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no range to scale from")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"integer pixels must be in 0..65535, got {values.min()}..{values.max()}")
    return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
