from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from wsdet import __version__
from wsdet.data.coco import Coco
from wsdet.formats.contents import Contents
from wsdet.types import Boxes, Split

Export = Callable[..., Contents]


@pytest.mark.parametrize("split", ["train", "test"])
def test_pycocotools_reads_the_boxes(export_as: Export, boxes: dict[str, Boxes], tmp_path: Path, split: Split) -> None:
    contents = export_as("coco")
    coco = COCO(str(tmp_path / "out" / "annotations" / f"instances_{split}.json"))
    images = contents.of_split(split)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [one.file_name for one in images]
    assert tuple(one["name"] for one in coco.loadCats(coco.getCatIds())) == contents.classes
    for number, exported in enumerate(images, 1):
        image, found = coco.loadImgs(number)[0], coco.loadAnns(coco.getAnnIds(number))
        true = boxes[exported.image_id]
        assert (image["height"], image["width"]) == exported.size_hw
        xywh = np.array([one["bbox"] for one in found]).reshape(-1, 4)
        np.testing.assert_allclose(np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], true.xyxy, atol=1e-4)
        assert [one["category_id"] - 1 for one in found] == true.labels.tolist()
        assert [one["score"] for one in found] == true.scores.tolist()


def test_results_can_be_loaded(export_as: Export, tmp_path: Path) -> None:
    contents = export_as("coco")
    coco = COCO(str(tmp_path / "out" / "annotations" / "instances_test.json"))
    results = coco.loadRes([{key: one[key] for key in ("image_id", "category_id", "bbox", "score")}
                            for one in coco.dataset["annotations"]])  # fmt: skip
    assert len(results.anns) == sum(len(one.boxes) for one in contents.of_split("test"))


def test_info_says_who_made_the_boxes(export_as: Export, tmp_path: Path) -> None:
    export_as("coco")
    info = COCO(str(tmp_path / "out" / "annotations" / "instances_test.json")).dataset["info"]
    assert (info["method"], info["version"], info["settings"]) == ("stl <cl>", __version__, {"seed": 0})


def test_our_reader_finds_images_and_boxes(export_as: Export, boxes: dict[str, Boxes], tmp_path: Path) -> None:
    contents = export_as("coco")
    read = Coco(tmp_path / "out", "train", "test", images="images")
    assert read.classes == contents.classes
    for exported in contents.images:
        image_id = f"images/{exported.file_name}"
        assert read.load(image_id).size_hw == exported.size_hw
        np.testing.assert_allclose(read.truth[image_id].xyxy, boxes[exported.image_id].xyxy, atol=1e-4)
