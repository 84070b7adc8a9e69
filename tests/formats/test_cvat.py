from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsdet import __version__
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.cvat import write_cvat
from wsdet.storage.untrusted import read_xml
from wsdet.types import Boxes

Export = Callable[..., Contents]


def test_the_file_follows_cvats_schema_and_holds_the_boxes(
    export_as: Export, boxes: dict[str, Boxes], tmp_path: Path
) -> None:
    contents = export_as("cvat")
    root = read_xml(tmp_path / "out" / "annotations.xml")
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    labels = root.findall("meta/task/labels/label")
    assert tuple(label.findtext("name") for label in labels) == contents.classes
    assert {label.findtext("attributes/attribute/name") for label in labels} == {"score"}
    assert (root.findtext("meta/method"), root.findtext("meta/wsdet")) == ("stl <cl>", __version__)
    images = root.findall("image")
    assert [image.get("id") for image in images] == [str(n) for n in range(len(contents.images))]
    for image, exported in zip(images, contents.images, strict=True):
        true, found = boxes[exported.image_id], image.findall("box")
        assert image.get("name") == exported.file_name
        assert (int(image.get("height", "")), int(image.get("width", ""))) == exported.size_hw
        corners = [[float(box.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr")] for box in found]
        np.testing.assert_allclose(np.reshape(corners, (-1, 4)), true.xyxy, atol=1e-4)
        assert [box.get("label") for box in found] == [contents.classes[label] for label in true.labels]
        assert [float(box.findtext("attribute[@name='score']", "")) for box in found] == true.scores.tolist()
        assert all((box.get("source"), box.get("occluded")) == ("auto", "0") for box in found)


def test_what_xml_cannot_hold_does_not_break_it(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[1, 2, 3, 4]], np.float32), labels=np.array([0]))
    name = '"/><!DOCTYPE x>&\x00\x1b\ud800'
    write_cvat(tmp_path, Contents((name,), (ExportedImage("a", "a.jpg", (8, 8), boxes),), name))
    root = read_xml(tmp_path / "annotations.xml")  # refuses a document type
    assert [box.get("label") for box in root.findall("image/box")] == ['"/><!DOCTYPE x>&\ufffd\ufffd\ufffd']
