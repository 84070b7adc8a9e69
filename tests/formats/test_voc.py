from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import VOCDetection

from wsdet.data.voc import Voc
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.voc import write_voc
from wsdet.storage.untrusted import read_xml
from wsdet.types import Boxes

Export = Callable[..., Contents]


@pytest.mark.parametrize(("split", "name"), [("train", "trainval"), ("test", "test")])
def test_torchvision_reads_the_boxes(
    export_as: Export, boxes: dict[str, Boxes], tmp_path: Path, split: str, name: str
) -> None:
    contents = export_as("voc")
    images = [exported for exported in contents.images if exported.split == split]
    read = VOCDetection(str(tmp_path / "out"), "2007", name)
    assert len(read) == len(images)
    for (image, target), exported in zip(read, images, strict=True):
        annotation, true = target["annotation"], boxes[exported.image_id]
        assert (
            image.size == exported.size_hw[::-1] == tuple(int(annotation["size"][key]) for key in ("width", "height"))
        )
        objects = annotation.get("object", [])
        assert [one["name"] for one in objects] == [contents.classes[label] for label in true.labels]
        assert [float(one["score"]) for one in objects] == true.scores.tolist()
        corners = [[int(one["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")] for one in objects]
        inclusive = np.array(corners).reshape(-1, 4)
        np.testing.assert_allclose(inclusive - [1, 1, 0, 0], true.xyxy, atol=0.5)
        assert annotation["source"]["annotation"] == "stl <cl>"


def test_our_reader_finds_images_and_boxes(export_as: Export, boxes: dict[str, Boxes], tmp_path: Path) -> None:
    contents = export_as("voc")
    read = Voc(tmp_path / "out" / "VOCdevkit", classes=contents.classes)
    for exported in contents.images:
        image_id = exported.file_name.removesuffix(".jpg")
        assert read.load(image_id).size_hw == exported.size_hw
        np.testing.assert_allclose(read.truth[image_id].xyxy, boxes[exported.image_id].xyxy, atol=0.5)


@pytest.mark.parametrize(
    ("xyxy", "inclusive"),
    [
        ([0, 0, 10, 8], [1, 1, 10, 8]),
        ([3, 4, 4, 5], [4, 5, 4, 5]),
        ([3.1, 0, 3.3, 0.2], [3, 1, 3, 1]),
        ([9.8, 7.9, 10, 8], [10, 8, 10, 8]),
    ],
    ids=["whole image", "one pixel", "thinner than a pixel", "at the far corner"],
)
def test_pixels_count_from_1_and_the_last_is_in(tmp_path: Path, xyxy: list[float], inclusive: list[int]) -> None:
    boxes = Boxes(np.array([xyxy], np.float32), labels=np.array([0]))
    write_voc(tmp_path, Contents(("cat",), (ExportedImage("a", "a.jpg", (8, 10), boxes),), "m"))
    root = read_xml(tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "a.xml")
    assert [int(item.text or "") for item in root.findall("object/bndbox/*")] == inclusive
