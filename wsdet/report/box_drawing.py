"""Drawings of labeled boxes, for people to look at."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from wsdet.storage.files import replacing
from wsdet.types import Boxes, Pixels

Rectangle = tuple[float, float, float, float]  # x1, y1, x2, y2

_GAP = 4  # pixels around an image on a contact sheet
_MARGIN = 2  # pixels around a label's text
_GOLDEN = 0.618034  # steps of hue that keep neighboring labels apart


def draw_boxes(path: Path, pixels: Pixels, boxes: Boxes, classes: Sequence[str]) -> None:
    """Writes an image with its boxes, best on top, as a JPEG; each shows its class and score.

    Args:
        path: the file, replaced whole.
        pixels: (h, w, 3) the image.
        boxes: labeled and scored.
        classes: names that the labels index.
    """
    with replacing(path) as beside:
        drawn(pixels, boxes, classes).save(beside, format="JPEG", quality=90)


def drawn(pixels: Pixels, boxes: Boxes, classes: Sequence[str]) -> Image.Image:
    """The image that `draw_boxes` writes. Each label lies where it covers least of other labels and boxes."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    font = ImageFont.load_default(max(10, round(0.035 * short)))
    width = max(2, round(0.006 * short))
    for box in reversed(list(boxes)):
        x1, y1, x2, y2 = box.xyxy[0].tolist()
        corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        draw.rectangle(corners, outline=_color(int(box.labels[0])), width=width)
    placed: list[Rectangle] = []
    for row, box in enumerate(boxes):
        text = f"{classes[int(box.labels[0])]} {box.scores[0]:.2f}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        size_wh = (right - left + 2 * _MARGIN, bottom - top + 2 * _MARGIN)
        others = [one for other, one in enumerate(boxes.xyxy.tolist()) if other != row]
        place = _place(box.xyxy[0].tolist(), size_wh, image.size, placed, others)
        placed.append(place)
        draw.rectangle(place, fill=_color(int(box.labels[0])))
        draw.text((place[0] + _MARGIN - left, place[1] + _MARGIN - top), text, fill="black", font=font)
    return image


def _place(
    box: Sequence[float],
    size_wh: tuple[float, float],
    image_wh: tuple[int, int],
    labels: Sequence[Rectangle],
    boxes: Sequence[Sequence[float]],
) -> Rectangle:
    """Where a label goes: above its box, below it, or inside at a corner; of equally free places the first."""
    (x1, y1, x2, y2), (w, h) = box, size_wh
    places = [(x, y) for y in (y1 - h, y2, y1, y2 - h) for x in (x1, x2 - w)]

    def cost(place: Rectangle) -> float:
        return sum(100 * _shared(place, label) for label in labels) + sum(_shared(place, other) for other in boxes)

    inside = [(max(0, min(x, image_wh[0] - w)), max(0, min(y, image_wh[1] - h))) for x, y in places]
    return min(((x, y, x + w, y + h) for x, y in inside), key=cost)


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two rectangles have in common."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _color(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb((label * _GOLDEN) % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def write_contact_sheet(path: Path, images: Sequence[Path], side: int = 320, columns: int = 6) -> None:
    """Writes small versions of images side by side as one JPEG, each in a square of `side` pixels.

    Args:
        path: the file, replaced whole.
        images: image files that wsdet wrote.
        side: of a square.
        columns: maximum number of images in a row.
    """
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for number, image in enumerate(images):
        with Image.open(image) as opened:
            small = ImageOps.contain(opened, (side - 2 * _GAP, side - 2 * _GAP))
        corner = (number % columns * side, number // columns * side)
        sheet.paste(small, (corner[0] + (side - small.width) // 2, corner[1] + (side - small.height) // 2))
    with replacing(path) as beside:
        sheet.save(beside, format="JPEG", quality=90)
