"""What wsdet exports and reads again has the same classes, labels and boxes, opened as any folder would be."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsdet.data.auto import open_any
from wsdet.formats.coco import image_path as coco_image
from wsdet.formats.coco import write_coco
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.formats.cvat import image_path as cvat_image
from wsdet.formats.cvat import write_cvat
from wsdet.formats.label_studio import image_path as label_studio_image
from wsdet.formats.label_studio import write_label_studio
from wsdet.formats.voc import image_path as voc_image
from wsdet.formats.voc import write_voc
from wsdet.formats.yolo import image_path as yolo_image
from wsdet.formats.yolo import write_yolo
from wsdet.types import Boxes

FORMATS: dict[str, Any] = {
    "coco": (write_coco, coco_image),
    "cvat": (write_cvat, cvat_image),
    "label_studio": (write_label_studio, label_studio_image),
    "voc": (write_voc, voc_image),
    "yolo": (write_yolo, yolo_image),
}
CONTENT = {
    "a/1.png": ("train", [[2, 1, 12, 9], [0, 0, 20, 10]], [1, 0]),
    "Köln 猫/2.png": ("train", [[5, 5, 6, 6]], [1]),
    "3.png": ("test", [[1, 2, 3, 4]], [0]),
    "no boxes.png": ("test", [], []),
}


def export(format: str, folder: Path) -> None:
    write, image_path = FORMATS[format]
    images = tuple(
        ExportedImage(
            name,
            name,
            (10, 20),
            Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.full(len(xyxy), 0.5), np.array(labels, np.int64)),
            split,  # type: ignore[arg-type]
        )
        for name, (split, xyxy, labels) in CONTENT.items()
    )
    for seed, exported in enumerate(images):
        path = folder / image_path(exported)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*exported.size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    write(folder, Contents(("cat", "dog"), images, "tests", with_images=True))


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_boxes_labels_and_splits_come_back(format: str, tmp_path: Path) -> None:
    export(format, tmp_path)
    exported = open_any(tmp_path)
    assert exported.classes == ("cat", "dog")
    ids = {image_id: split for split in ("train", "test") for image_id in exported.ids(split)}
    assert len(ids) == len(CONTENT)
    for name, (split, xyxy, labels) in CONTENT.items():
        (image_id,) = (one for one in ids if one.endswith((name, name.removesuffix(".png"))))
        assert ids[image_id] == split
        assert exported.labels(image_id) == tuple(sorted(labels))
        found = exported.truth[image_id]
        np.testing.assert_allclose(found.xyxy, np.array(xyxy, np.float32).reshape(-1, 4), atol=1e-4)
        assert found.labels.tolist() == labels
        assert exported.load(image_id).size_hw == (10, 20)


@pytest.mark.parametrize("format", ["coco", "cvat", "label_studio", "yolo"])  # VOC has no room for it
def test_that_no_person_made_the_boxes_is_said(format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    export(format, tmp_path)
    with caplog.at_level(logging.WARNING):
        open_any(tmp_path)
    assert "figures against them say nothing" in caplog.text
