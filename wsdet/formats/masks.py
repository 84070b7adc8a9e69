"""Segmentation masks: a PNG for each class of an image, and all of them as COCO's JSON with run lengths (RLE).

<out>/<class>/<image>.png   255 where the object is, 0 elsewhere
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
from PIL import Image

from wsdet.formats.contents import added_suffix, file_name
from wsdet.storage.files import replacing
from wsdet.types import Bools
from wsdet.version import __version__

_ANY = "any"  # stands for label -1


def write_masks(folder: Path, image_id: str, masks: Mapping[int, Bools], classes: Sequence[str]) -> None:
    """Writes the PNGs of one image.

    Args:
        folder: of all masks.
        image_id: its id in the dataset.
        masks: (h, w) by label, True where the object is; -1 for no class.
        classes: names that the labels index.
    """
    for label, mask in masks.items():
        with replacing(_path(folder, image_id, label, classes)) as beside:
            Image.fromarray(mask.astype(np.uint8) * 255).save(beside, format="PNG")


def coco_masks(folder: Path, ids: Iterable[str], classes: Sequence[str], method: str) -> dict[str, Any]:
    """The PNGs in a folder as COCO's JSON object; images without a mask are left out.

    Args:
        folder: as in `write_masks`.
        ids: the images; an image's COCO id is its place among those with masks, from 1.
        classes: class names; a category's id is its label + 1, so 0 stands for no class.
        method: what made the masks, in a few words.
    """
    labels = range(-1, len(classes))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in ids:
        paths = {label: _path(folder, image_id, label, classes) for label in labels}
        masks = {label: np.asarray(Image.open(path)) > 0 for label, path in paths.items() if path.exists()}
        for label, mask in masks.items():
            rle = hotcoco.mask.encode(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images) + 1,
                    "category_id": label + 1,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                    "area": int(mask.sum()),
                    "bbox": list(hotcoco.mask.to_bbox(rle)),
                    "iscrowd": 0,
                }
            )
        if masks:
            h, w = next(iter(masks.values())).shape
            images.append({"id": len(images) + 1, "file_name": file_name(image_id), "height": h, "width": w})
    categories = [{"id": number, "name": name} for number, name in enumerate([_ANY, *classes])]
    info = {"description": "masks by wsdet", "version": __version__, "method": method}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def _path(folder: Path, image_id: str, label: int, classes: Sequence[str]) -> Path:
    return folder / added_suffix(classes[label] if label >= 0 else _ANY, "") / added_suffix(image_id, ".png")
