"""Pictures of labelled boxes, for people to look at."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from wsdet.storage.files import replacing
from wsdet.types import Boxes, Pixels

_GOLDEN = 0.618034  # steps of hue that keep neighboring labels apart


def draw_boxes(path: Path, pixels: Pixels, boxes: Boxes, classes: Sequence[str]) -> None:
    """Writes an image with its boxes, best on top, as a JPEG; each shows its class and score.

    Args:
        path: the file, replaced whole.
        pixels: (h, w, 3) the image.
        boxes: labelled and scored.
        classes: names that the labels index.
    """
    with replacing(path) as beside:
        drawn(pixels, boxes, classes).save(beside, format="JPEG", quality=90)


def drawn(pixels: Pixels, boxes: Boxes, classes: Sequence[str]) -> Image.Image:
    """The image that `draw_boxes` writes."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    font = ImageFont.load_default(max(10, round(0.035 * short)))
    for box in reversed(list(boxes)):
        x1, y1, x2, y2 = box.xyxy[0].tolist()
        label = int(box.labels[0])
        color = _color(label)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=color, width=max(2, round(0.006 * short)))
        text = f"{classes[label]} {box.scores[0]:.2f}"
        left, top, right, bottom = draw.textbbox((x1 + 2, y1 + 1), text, font=font)
        draw.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=color)
        draw.text((x1 + 2, y1 + 1), text, fill="black", font=font)
    return image


def _color(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb((label * _GOLDEN) % 1, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
