from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsdet.report.box_drawing import drawn, write_contact_sheet
from wsdet.types import Bools, Boxes

CLASSES = ("cat", "dog")
GRAY = np.full((200, 300, 3), 128, np.uint8)


def painted(boxes: Boxes) -> Bools:
    return np.asarray(drawn(GRAY, boxes, CLASSES)) != GRAY


def test_a_class_has_one_color() -> None:
    xyxy = np.array([[20, 50, 60, 90], [120, 50, 160, 90], [220, 50, 260, 90]], np.float32)
    image = drawn(GRAY, Boxes(xyxy, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0], np.int64)), CLASSES)
    first, other, again = (image.getpixel((x, 70)) for x in (20, 120, 220))
    assert first == again != other


def test_a_label_covers_no_other_box_where_there_is_room() -> None:
    """The lower box touches the upper one, so its label goes below it."""
    xyxy = np.array([[50, 40, 150, 90], [50, 90, 150, 140]], np.float32)
    both = Boxes(xyxy, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int64))
    assert not painted(both)[45:85, 55:145].any()
    assert not painted(both)[95:135, 55:145].any()
    assert painted(both)[142:155, 50:100].any()


def test_every_label_is_inside_the_image() -> None:
    full = Boxes(np.array([[0, 0, 300, 200]], np.float32), np.array([0.5], np.float32), np.array([0], np.int64))
    assert painted(full)[5:15, 5:40].any()


def test_a_contact_sheet_holds_every_image(tmp_path: Path) -> None:
    colors = ["red", "lime", "blue"]
    for color, size in zip(colors, [(400, 100), (50, 60), (10, 90)], strict=True):
        Image.new("RGB", size, color).save(tmp_path / f"{color}.png")
    write_contact_sheet(tmp_path / "sheet.jpg", [tmp_path / f"{color}.png" for color in colors], side=100, columns=2)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size == (200, 200)
        centers = np.asarray(sheet)[[50, 50, 150, 150], [50, 150, 50, 150]]
    np.testing.assert_allclose(centers, [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], atol=6)
