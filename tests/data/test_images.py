"""Every kind of image file that people have, and what is no image."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsdet.data.images import read_image, read_orientation, read_size
from wsdet.types import InputError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def half_red() -> Image.Image:
    """4 x 2 pixels, the left half red, the right half black."""
    image = Image.new("RGB", (4, 2))
    image.paste(RED, (0, 0, 2, 2))
    return image


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.webp", "a.tif", "a.ppm"])
def test_lossless_formats_give_the_pixels(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    pixels = read_image(save(tmp_path / name, half_red(), **options))
    assert pixels.shape == (2, 4, 3)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[255, 0, 0]] * 2 + [[0, 0, 0]] * 2] * 2


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "photo.jpg", half_red(), format="PNG")).shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 100, (100, 100, 100)),
        ("LA", (0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("I;16", 65535, WHITE),
        ("I;16", 25700, (100, 100, 100)),
        ("CMYK", (0, 255, 255, 0), RED),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, color: object, expected: tuple[int, ...]) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    image = Image.new(mode, (3, 2), color)  # type: ignore[arg-type]
    assert (read_image(save(tmp_path / name, image)) == expected).all()


def test_a_cmyk_jpeg_is_red_as_it_looks(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert np.abs(read_image(save(tmp_path / "a.jpg", image)).astype(int) - RED).max() < 6


def test_a_transparent_palette_color_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert read_image(save(tmp_path / "a.png", image, transparency=1)).tolist() == [[list(RED), list(WHITE)]]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), color) for color in (RED, (0, 255, 0), (0, 0, 255))]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path) == RED).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_image_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    stored = {  # what a camera that was held so would have stored, by the EXIF standard
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert read_image(path).tolist() == upright.tolist()
    assert read_size(path) == (2, 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"])
def test_broken_metadata_costs_nothing(tmp_path: Path, exif: bytes) -> None:
    assert read_image(save(tmp_path / "a.jpg", half_red(), exif=exif)).shape == (2, 4, 3)


def test_one_pixel_and_a_very_wide_image(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "one.png", Image.new("RGB", (1, 1)))).shape == (1, 1, 3)
    assert read_image(save(tmp_path / "wide.png", Image.new("RGB", (20_000, 1)))).shape == (1, 20_000, 3)


@pytest.mark.parametrize("name", ["a b.png", "it's.png", 'quo"te.png', "new\nline.png", "Köln 猫.png", "-rf.png"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    assert read_image(save(tmp_path / name, half_red())).shape == (2, 4, 3)


def png_of_size(w: int, h: int) -> bytes:
    """A PNG that says it is w x h and holds almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("w", "h"), [(10_000, 10_000), (65_000, 65_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path, w: int, h: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(w, h))
    for read in (read_image, read_size):
        with pytest.raises(InputError, match=r"bomb\.png.*pixels"):
            read(path)


def test_the_limit_is_an_argument(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", half_red())
    assert read_image(path, max_pixels=8).shape == (2, 4, 3)
    with pytest.raises(InputError, match=r"has 4 x 2 pixels, at most 7 are allowed; shrink it, or raise max_pixels"):
        read_image(path, max_pixels=7)


def jpeg() -> bytes:
    file = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0\xff\xff\xff\xff",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"P6 0 0 255\n",
        b"P6 99999999999999999999 1 255\n",
        b"BM" + b"\xff" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7",
        b"cat,dog\n",
        jpeg()[: len(jpeg()) // 2],
        png_of_size(0, 5),
        png_of_size(50, 50),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_whole_image_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image '.*photo\.jpg' .*(replace it|remove it)"):
        read_image(path)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.tif", Image.new(mode, (2, 2), 70_000))
    with pytest.raises(InputError, match=r"a\.tif' cannot be read"):
        read_image(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "does not exist; restore it"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
    ],
    ids=["missing", "folder", "pipe"],
)
def test_what_is_no_file_is_an_input_error(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=says):
        read_image(tmp_path / "a.jpg")


def test_a_name_that_no_file_can_have_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_image(tmp_path / ("x" * 300))
    with pytest.raises(InputError):
        read_image(tmp_path / "a\0b")


def test_a_damaged_jpeg_is_pixels_or_an_input_error(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.jpg", np.random.default_rng(0)
    for _ in range(50):
        content = bytearray(jpeg())
        for at in rng.integers(2, len(content), 20):
            content[at] ^= 0xFF
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            assert read_image(path).shape[2] == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(tmp_path: Path, orientation: int) -> None:
    """Pillow turns a TIFF when it is decoded, other formats not; both must come out the same."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
    png, tiff = (save(tmp_path / name, stored, exif=exif) for name in ("a.png", "a.tiff"))
    assert read_image(tiff).tolist() == read_image(png).tolist()
    assert read_size(tiff) == read_size(png) == read_image(png).shape[:2]
    assert read_orientation(png) == read_orientation(tiff) == orientation


@pytest.mark.parametrize("brightest", [255, 1023, 4095, 16_383, 65_535])
@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_fewer_bits_in_16_are_not_black(tmp_path: Path, name: str, brightest: int) -> None:
    values = np.linspace(0, brightest, 24).reshape(4, 6).astype(np.uint16)
    pixels = read_image(save(tmp_path / name, Image.fromarray(values)))
    assert pixels.max() == 255
    assert abs(int(pixels[2, 3, 0]) - 255 * int(values[2, 3]) / brightest) <= 1
