"""labelme: a JSON file for each image.

<root>/*.jpg, <root>/*.json          {"shapes": [{"label", "points", "shape_type"}], "imagePath", "imageHeight", ...}
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsdet.data.annotations import XYXY, extent, number
from wsdet.data.beside import find_image, images_of, unannotated
from wsdet.data.image_files import Unlabeled
from wsdet.data.images import MAX_PIXELS
from wsdet.data.paths import existing_folder
from wsdet.data.records import Item, Record, RecordFiles
from wsdet.data.splits import split_in_path
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError


class Labelme(RecordFiles):
    """Images with labelme's shapes: a rectangle is a box, of a polygon, line, circle or mask the extent is.

    A point is a label without a box; so is a flag that is set. Image ids are paths relative to `root`. Folders called
    as splits are splits.

    Args:
        root: the folder of images and JSON files.
        test_fraction: where no folder tells the split, the share of images for the test split, in [0, 1].
        seed: where no folder tells the split, draws it.
        unlabeled: what an image without a shape shows.
        max_pixels: larger images are refused.

    Raises:
        InputError: there is no image with an annotation.
    """

    def __init__(
        self,
        root: Path | str,
        test_fraction: float = 0.2,
        seed: int = 0,
        unlabeled: Unlabeled = "unknown",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        folder = existing_folder(root, "the folder of the images and their JSON files")
        super().__init__(
            root=folder,
            name=str(folder),
            records=list(_records(folder)),
            test_fraction=test_fraction,
            seed=seed,
            unlabeled=unlabeled,
            max_pixels=max_pixels,
        )


def is_labelme(content: bytes) -> bool:
    """Whether a file's bytes look like labelme's JSON."""
    return b'"shapes"' in content and b'"imagePath"' in content


def _records(folder: Path) -> Iterator[Record]:
    annotated = []
    for path, image in images_of(folder, ".json").items():
        where = str(folder / path)
        try:
            content = read_json(folder / path)
            if not isinstance(content, dict) or "shapes" not in content:
                continue
            name = image or find_image(folder, content.get("imagePath")) or path.removesuffix(".json")
            record = _record(content, name, where)
        except InputError as error:
            if not image:
                continue
            record = Record(image, (), where, split=split_in_path(image), problem=str(error))
        annotated.append(record.image)
        yield record
    for image in unannotated(folder, annotated):
        yield Record(image, (), image, has_boxes=False, split=split_in_path(image))


def _record(content: dict[str, Any], name: str, where: str) -> Record:
    shapes = content["shapes"]
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise InputError(f"{where}: shapes must be a list of JSON objects")
    items = [_item(shape, f"{where}, shapes[{n}]") for n, shape in enumerate(shapes)]
    flags = content.get("flags")
    items += [Item(flag) for flag, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []
    size = content.get("imageHeight"), content.get("imageWidth")
    return Record(
        name,
        tuple(items),
        where,
        has_boxes=all(item.xyxy is not None for item in items),
        size_hw=size if all(isinstance(side, int) and side > 0 for side in size) else None,  # type: ignore[arg-type]
        split=split_in_path(name),
    )


def _item(shape: dict[str, Any], where: str) -> Item:
    label, points, kind = shape.get("label"), shape.get("points"), shape.get("shape_type", "polygon")
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"{where}: label must be a class name, got {label!r}")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise InputError(f"{where}: points must be a list of [x, y]")
    corners = [(number(x, f"{where}: x"), number(y, f"{where}: y")) for x, y in points]
    return Item(label.strip(), _box(corners, kind))


def _box(points: list[tuple[float, float]], kind: Any) -> XYXY | None:
    if len(points) < 2:
        return None
    if kind == "circle":  # its center, and a point on it
        (x, y), on_it = points[:2]
        radius = math.dist((x, y), on_it)
        return x - radius, y - radius, x + radius, y + radius
    return extent(points)
