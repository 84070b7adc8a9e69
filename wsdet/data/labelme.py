"""labelme: a JSON file for each image.

<root>/*.jpg, <root>/*.json          {"shapes": [{"label", "points", "shape_type"}], "imagePath", "imageHeight", ...}
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from wsdet.data.annotations import XYXY, extent, number
from wsdet.data.beside import AnnotatedFolder, find_image
from wsdet.data.records import Item, Record
from wsdet.data.splits import split_in_path
from wsdet.storage.untrusted import read_json
from wsdet.types import InputError


class Labelme(AnnotatedFolder):
    """Images with labelme's shapes: a rectangle is a box, of a polygon, line, circle or mask the extent is.

    A point is a label without a box; so is a flag that is set. See `AnnotatedFolder` for the arguments.
    """

    suffix = ".json"

    def read(self, folder: Path, name: str, image: str | None) -> Record | None:
        """See `AnnotatedFolder`."""
        path = folder / name
        content = read_json(path)
        if not isinstance(content, dict) or "shapes" not in content:
            return None
        shown = image or find_image(folder, content.get("imagePath")) or name.removesuffix(self.suffix)
        return _record(content, shown, str(path))


def is_labelme(content: bytes) -> bool:
    """Whether a file's bytes look like labelme's JSON."""
    return b'"shapes"' in content and b'"imagePath"' in content


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
