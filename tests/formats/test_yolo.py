from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from hotcoco import COCO
from PIL import Image

from wsdet import __version__
from wsdet.data.yolo import Yolo
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.yolo import write_yolo
from wsdet.types import Boxes

Export = Callable[..., Contents]


def test_our_reader_finds_images_and_boxes(export_as: Export, boxes: dict[str, Boxes], tmp_path: Path) -> None:
    contents = export_as("yolo")
    read = Yolo(tmp_path / "out")
    assert read.classes == contents.classes
    assert [len(read.ids("train")), len(read.ids("test"))] == [3, 3]
    for exported in contents.images:
        image_id = f"images/{'train' if exported.split == 'train' else 'val'}/{exported.file_name}"
        true, found = boxes[exported.image_id], read.truth[image_id]
        assert read.load(image_id).size_hw == exported.size_hw
        np.testing.assert_allclose(found.xyxy, true.xyxy, atol=1e-4)
        np.testing.assert_array_equal(found.labels, true.labels)


def test_hotcoco_reads_the_boxes(tmp_path: Path, rng: np.random.Generator) -> None:
    images = []
    for n in range(4):  # 0 to 3 boxes
        Image.new("RGB", (80 + n, 60)).save(tmp_path / f"{n}.jpg")
        corners = rng.uniform(0, 50, (n, 2))
        xyxy = np.concatenate([corners, corners + rng.uniform(1, 10, (n, 2))], axis=1).astype(np.float32)
        images.append(ExportedImage(str(n), f"{n}.jpg", (60, 80 + n), Boxes(xyxy, labels=rng.integers(0, 2, n))))
    write_yolo(tmp_path, Contents(("cat", "king penguin"), tuple(images), "m"))
    shutil.copy(tmp_path / "data.yaml", tmp_path / "labels" / "train")  # where hotcoco looks for it
    read = COCO.from_yolo(str(tmp_path / "labels" / "train"), str(tmp_path)).dataset
    assert [category["name"] for category in read["categories"]] == ["cat", "king penguin"]
    sizes = {Path(image["file_name"]).stem: (image["height"], image["width"]) for image in read["images"]}
    numbers = {Path(image["file_name"]).stem: image["id"] for image in read["images"]}
    for exported in images:
        found = [one for one in read["annotations"] if one["image_id"] == numbers[exported.image_id]]
        assert sizes[exported.image_id] == exported.size_hw
        assert [one["category_id"] - 1 for one in found] == exported.boxes.labels.tolist()
        xywh = np.array([one["bbox"] for one in found]).reshape(-1, 4)
        np.testing.assert_allclose(np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], exported.boxes.xyxy, atol=1e-4)


def test_fractions_of_the_image(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[10, 20, 30, 60]], np.float32), labels=np.array([1]))
    write_yolo(tmp_path, Contents(("a", "b"), (ExportedImage("x", "x.jpg", (80, 100), boxes, "test"),), "m"))
    label, *fractions = (tmp_path / "labels" / "val" / "x.txt").read_text().split()
    assert label == "1"
    assert [float(value) for value in fractions] == pytest.approx([0.2, 0.5, 0.2, 0.5])


@pytest.mark.parametrize(
    "name", ["no", "1", "null", "a: b", "- x", "#", "'", '"', "!!python/name:os", "é\n", "{}", "~"]
)
def test_class_names_are_text_whatever_they_look_like(tmp_path: Path, name: str) -> None:
    write_yolo(tmp_path, Contents((name, "other"), (), "method: [x"))
    content = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))
    assert content["names"] == {0: name, 1: "other"}
    assert (content["method"], content["wsdet"]) == ("method: [x", __version__)


def test_labels_lie_where_readers_look_when_a_folder_is_called_images(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[1, 2, 3, 4]], np.float32), labels=np.array([0]))
    write_yolo(tmp_path, Contents(("a",), (ExportedImage("x", "images/x.jpg", (8, 8), boxes),), "m"))
    assert (tmp_path / "images" / "train" / "labels" / "x.txt").is_file()
