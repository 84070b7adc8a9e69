"""One image file, whatever it holds, as (h, w, 3) uint8 RGB pixels the way a person would see it.

Every image is untrusted: only well-kept formats are tried, sizes are checked in the header before anything
is decoded, and whatever a decoder stumbles over becomes one `InputError` that names the file and the remedy.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wsdet.types import InputError, Pixels

log = logging.getLogger(__name__)

MAX_PIXELS = 80_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

_ORIENTATION = 0x0112  # the EXIF tag
_ON_ITS_SIDE = {5, 6, 7, 8}
_SIGNIFICANT_BITS = (8, 10, 12, 14)  # of cameras that store their values in 16
_said_bits: set[int] = set()  # a process says it once


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """(h, w, 3) uint8 RGB pixels of an image file.

    EXIF orientation is applied, transparency is composited on white, an animation gives its first frame. 16-bit gray is
    scaled to 0..255 from the range of its brightest value's bits: 8, 10, 12, 14 or 16, as a 16-bit file of a 12-bit
    camera would be nearly black otherwise; fewer than 16 are logged once.

    Args:
        path: a regular file.
        max_pixels: larger images are refused from their header, before decoding. (Above 178,956,970 Pillow refuses.)

    Raises:
        InputError: the file is missing, is not a whole image of `FORMATS`, or is too large.
    """
    with _opened(path, max_pixels) as image:
        return np.array(_to_rgb(_upright(image), path))


def pixels_of(image: object) -> Pixels:
    """(h, w, 3) uint8 RGB pixels of an image in memory: Pillow's as `read_image` reads a file, an array as it is.

    Raises:
        InputError: it is neither, or an array of another shape or type.
    """
    if isinstance(image, Image.Image):
        return np.array(_to_rgb(_upright(image), Path("in memory")))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    got = f"an array {image.shape} of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
    raise InputError(f"an image must be a file, a PIL image or an (h, w, 3) uint8 array in RGB order, got {got}")


def read_size(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of what `read_image` would return, from the header alone.

    Raises:
        InputError: as `read_image`, as far as the header tells.
    """
    with _opened(path, max_pixels) as image:
        w, h = image.size
        return (w, h) if _is_stored_lying(image) else (h, w)


def read_orientation(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """The EXIF orientation of an image file, 1 (upright) to 8.

    Raises:
        InputError: as `read_size`.
    """
    with _opened(path, max_pixels) as image:
        return _orientation(image)


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
    except Exception as error:  # a decoder that is given untrusted bytes may raise anything
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
            "shrink it, or raise max_pixels if the image is yours"
        )


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata: the pixels may still be whole, and they are what is wanted
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_stored_lying(image: Image.Image) -> bool:
    """Whether `image.size` is that of the stored pixels, which lie on their side. Pillow gives TIFF's size upright."""
    return image.format != "TIFF" and _orientation(image) in _ON_ITS_SIDE


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # what is wrong with the pixels is told apart from what is wrong with the metadata; this turns a TIFF
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would cut 16-bit values off at 255
        return _from_16_bit(image, path)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no range to scale from")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, path: Path) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"integer pixels must be in 0..65535, got {values.min()}..{values.max()}")
    bits = next((bits for bits in _SIGNIFICANT_BITS if values.max() < 2**bits), 16)
    if bits < 16 and bits not in _said_bits:
        _said_bits.add(bits)
        log.warning(
            "image %r and others like it: 16-bit values up to %d are read as %d bits", str(path), values.max(), bits
        )
    return Image.fromarray((values * 255 // (2**bits - 1)).astype(np.uint8)).convert("RGB")
