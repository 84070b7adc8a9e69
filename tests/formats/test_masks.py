"""Masks as PNG and as COCO's run lengths, read back by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO

from wsdet.formats.masks import coco_masks, write_masks
from wsdet.types import Bools

CLASSES = ("cat", "../x/y")


def some_masks(rng: np.random.Generator) -> dict[str, dict[int, Bools]]:
    return {
        "a.jpg": {0: rng.random((7, 5)) > 0.5, 1: np.ones((7, 5), bool)},
        "sub/b c.jpg": {-1: rng.random((4, 9)) > 0.8},
        "none.jpg": {},
    }


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_coco_s_own_tools_read_every_mask_back(tmp_path: Path, rng: np.random.Generator) -> None:
    masks, folder = some_masks(rng), tmp_path / "masks"
    for image_id, of_image in masks.items():
        write_masks(folder, image_id, of_image, CLASSES)
    (tmp_path / "masks.json").write_text(json.dumps(coco_masks(folder, list(masks), CLASSES, "dam")))
    coco = COCO(str(tmp_path / "masks.json"))
    found = {
        (coco.loadImgs(one["image_id"])[0]["file_name"], one["category_id"] - 1): one for one in coco.anns.values()
    }
    wanted = {(image_id, label): mask for image_id, of_image in masks.items() for label, mask in of_image.items()}
    assert found.keys() == wanted.keys()
    for key, mask in wanted.items():
        np.testing.assert_array_equal(coco.annToMask(found[key]), mask)
        rle = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert found[key]["segmentation"]["counts"] == rle["counts"].decode()
        assert found[key]["area"] == reference.area(rle)
        assert found[key]["bbox"] == reference.toBbox(rle).tolist()
    assert [one["name"] for one in coco.loadCats([0, 1, 2])] == ["any", *CLASSES]


def test_pngs_lie_inside_the_folder_and_are_black_and_white(tmp_path: Path, rng: np.random.Generator) -> None:
    masks = some_masks(rng)["a.jpg"]
    write_masks(tmp_path / "masks", "../../a.jpg", masks, CLASSES)
    pngs = sorted(tmp_path.rglob("*.png"))
    assert len(pngs) == 2
    assert all(path.is_relative_to(tmp_path / "masks") for path in pngs)
    (cat,) = (path for path in pngs if "cat" in path.parts)
    np.testing.assert_array_equal(np.asarray(Image.open(cat)), masks[0] * np.uint8(255))
