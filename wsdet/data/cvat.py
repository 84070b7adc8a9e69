"""CVAT's XML "for images", version 1.1: one file beside a folder of images.

<root>/annotations.xml
<root>/images/*, images/<subset>/*, or the images beside the file
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from wsdet.data.annotations import XYXY, extent, number, rotated_extent
from wsdet.data.records import AnnotationFile, Item, Record
from wsdet.data.splits import named_splits
from wsdet.storage.untrusted import MAX_BYTES, read_xml, shown
from wsdet.types import InputError

log = logging.getLogger(__name__)

_SHAPES = ("box", "polygon", "polyline", "ellipse", "mask", "cuboid", "points", "tag", "skeleton")


class Cvat(AnnotationFile):
    """Images with CVAT's shapes: of a turned box, polygon, line, ellipse, mask or cuboid the extent is the box.

    A tag, points and a skeleton are labels without a box. Classes are the task's labels in their order. Subsets called
    as splits are splits. An export of a video is refused. See `AnnotationFile` for the arguments.
    """

    usual_file = "annotations.xml"

    def read(self, path: Path) -> tuple[list[Record], list[str]]:
        """See `AnnotationFile`."""
        content = read_xml(path, MAX_BYTES)
        if content.find("track") is not None and content.find("image") is None:
            raise InputError(f"{path} is CVAT's format for video; export the task as 'CVAT for images 1.1'")
        if content.find("meta/wsdet") is not None:
            made_by = shown(content.findtext("meta/method") or "")
            log.warning("%s: its boxes were made by %s, not by people: figures against them say nothing", path, made_by)
        records = list(_records(content, path))
        names = dict.fromkeys([*_task_labels(content), *(item.name for record in records for item in record.items)])
        return records, list(names)


def is_cvat(path: Path) -> bool:
    """Whether a file looks like CVAT's XML."""
    try:
        root = read_xml(path, MAX_BYTES)
    except InputError:
        return False
    return root.tag == "annotations" and (root.find("image") is not None or root.find("track") is not None)


def _task_labels(content: Element) -> list[str]:
    """The labels of the task, but for the parts of skeletons."""
    labels = [label for label in content.iterfind("meta//labels/label") if label.find("parent") is None]
    return [name for label in labels if (name := (label.findtext("name") or "").strip())]


def _records(content: Element, path: Path) -> Iterator[Record]:
    images = content.findall("image")
    subsets = {subset for image in images if (subset := image.get("subset"))}
    is_split = len(subsets) > 1 and named_splits(subsets)[0] is not None
    for n, image in enumerate(images):
        where = f"{path}, image {n}"
        subset, items, problem = image.get("subset") or "", [], ""
        try:
            items = [_item(shape, f"{where}, {shape.tag}") for shape in image if shape.tag in _SHAPES]
        except InputError as error:
            problem = str(error)
        size = [int(side) if (side := image.get(key) or "").isdecimal() else 0 for key in ("height", "width")]
        yield Record(
            image.get("name") or "",
            tuple(items),
            where,
            has_boxes=all(item.xyxy is not None for item in items),
            size_hw=(size[0], size[1]) if min(size) > 0 else None,
            split=subset if is_split and subset else None,
            places=tuple(dict.fromkeys(["images", f"images/{subset}".rstrip("/"), str(Path()), subset])),
            problem=problem,
        )


def _item(shape: Element, where: str) -> Item:
    label = (shape.get("label") or "").strip()
    if not label:
        raise InputError(f"{where}: it has no label; give its class")
    return Item(label, _box(shape, where))


def _box(shape: Element, where: str) -> XYXY | None:
    if shape.tag in ("polygon", "polyline"):
        points = [point.split(",") for point in (shape.get("points") or "").split(";") if point]
        if not points or any(len(point) != 2 for point in points):
            raise InputError(f"{where}: points must be x,y;x,y;..., got {shape.get('points')!r}")
        return extent((number(x, f"{where}: x"), number(y, f"{where}: y")) for x, y in points)
    if shape.tag == "box":
        x1, y1, x2, y2 = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"), where)
    elif shape.tag == "ellipse":
        x, y, rx, ry = _numbers(shape, ("cx", "cy", "rx", "ry"), where)
        x1, y1, x2, y2 = x - rx, y - ry, x + rx, y + ry
    elif shape.tag == "cuboid":
        names = [f"{axis}{corner}{face}" for axis in "xy" for corner in ("tl", "bl", "tr", "br") for face in "12"]
        values = _numbers(shape, tuple(names), where)
        return extent(zip(values[:8], values[8:], strict=True))
    elif shape.tag == "mask":
        left, top, w, h = _numbers(shape, ("left", "top", "width", "height"), where)
        return left, top, left + w, top + h
    else:
        return None
    degrees = number(shape.get("rotation") or 0, f"{where}: rotation")
    return rotated_extent((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))


def _numbers(shape: Element, keys: tuple[str, ...], where: str) -> list[float]:
    return [number(shape.get(key), f"{where}: {key}") for key in keys]
