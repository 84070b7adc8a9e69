"""COCO's JSON: one file a split, scores beside the boxes.

<out>/annotations/instances_<train|test>.json
<out>/images/*
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsdet.boxes import area, xyxy_to_xywh
from wsdet.formats.contents import Contents, ExportedImage
from wsdet.storage.files import write_json
from wsdet.types import Split
from wsdet.version import __version__

_SPLITS: tuple[Split, ...] = ("train", "test")


def image_path(exported: ExportedImage) -> str:
    """Where the image lies in the export."""
    return f"images/{exported.file_name}"


def write_coco(folder: Path, contents: Contents) -> None:
    """Writes one file for each split that has images; image ids count from 1 in each."""
    for split in _SPLITS:
        if images := contents.of_split(split):
            made = {"method": contents.method, "settings": dict(contents.settings)}
            value = coco_json(images, contents.classes, made)
            write_json(folder / "annotations" / f"instances_{split}.json", value)


def coco_json(exported_images: Iterable[ExportedImage], classes: Sequence[str], made: dict[str, Any]) -> dict[str, Any]:
    """The images as COCO's JSON object: images, annotations (each with its score) and categories, ids from 1.

    Args:
        exported_images: in the order of their ids.
        classes: class names; a category's id is its label + 1.
        made: goes to `info`, beside the version of wsdet.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, exported in enumerate(exported_images, 1):
        h, w = exported.size_hw
        images.append({"id": number, "file_name": exported.file_name, "height": h, "width": w})
        annotations += _annotations(exported, number, len(annotations) + 1)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    info = {"description": "boxes by wsdet", "version": __version__} | made
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def _annotations(exported: ExportedImage, image: int, first: int) -> list[dict[str, Any]]:
    boxes = exported.boxes
    columns = (xyxy_to_xywh(boxes.xyxy), area(boxes.xyxy), boxes.scores, boxes.labels)
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": label + 1,
            "bbox": xywh,
            "area": square,
            "iscrowd": 0,
            "score": score,
        }
        for number, (xywh, square, score, label) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), first
        )
    ]
