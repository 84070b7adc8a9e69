"""The same real photos written in COCO's and YOLO's layout read back as VOC says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wsdet.data.coco import Coco
from wsdet.data.images import read_size
from wsdet.data.voc import Voc
from wsdet.data.yolo import Yolo


@pytest.fixture(scope="module")
def voc(shared: Path) -> Voc:
    return Voc(shared / "data" / "VOCdevkit")


def test_coco(voc: Voc, tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(voc.path(voc.ids("test")[0]).parent, target_is_directory=True)
    annotations = [
        {
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "iscrowd": int(difficult),
        }
        for image_id in voc.ids("test")
        for (x1, y1, x2, y2), label, difficult in zip(
            voc.truth[image_id].xyxy, voc.truth[image_id].labels, voc.truth[image_id].difficult, strict=True
        )
    ]
    content = {
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(voc.classes)],
        "images": [{"id": image_id, "file_name": f"{image_id}.jpg"} for image_id in voc.ids("test")],
        "annotations": annotations,
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    coco = Coco(tmp_path, train_split=None, test_split=None, annotations="all.json", images="photos", test_fraction=0)
    assert coco.classes == voc.classes
    assert len(coco.ids("train")) == 500
    for image_id in voc.ids("test"):
        boxes, expected = coco.truth[f"photos/{image_id}.jpg"], voc.truth[image_id]
        # a crowd's class is there, a difficult object's is not asked for
        assert coco.labels(f"photos/{image_id}.jpg") == tuple(sorted(set(expected.labels.tolist())))
        np.testing.assert_array_equal(boxes.xyxy, expected.xyxy)
        np.testing.assert_array_equal(boxes.difficult, expected.difficult)


def test_yolo(voc: Voc, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(voc.path(voc.ids("test")[0]).parent, target_is_directory=True)
    (tmp_path / "labels").mkdir()
    for image_id in voc.ids("test"):
        h, w = read_size(voc.path(image_id))
        rows = [
            f"{label} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}"
            for (x1, y1, x2, y2), label in zip(voc.truth[image_id].xyxy, voc.truth[image_id].labels, strict=True)
        ]
        (tmp_path / "labels" / f"{image_id}.txt").write_text("\n".join(rows))
    (tmp_path / "list.txt").write_text("\n".join(f"images/{image_id}.jpg" for image_id in voc.ids("test")))
    (tmp_path / "data.yaml").write_text(f"train: list.txt\nnames: {json.dumps(list(voc.classes))}\n")
    yolo = Yolo(tmp_path, test_split=None)
    for image_id in voc.ids("test"):
        boxes, expected = yolo.truth[f"images/{image_id}.jpg"], voc.truth[image_id]
        np.testing.assert_allclose(boxes.xyxy, expected.xyxy, atol=1e-3)
        np.testing.assert_array_equal(boxes.labels, expected.labels)
