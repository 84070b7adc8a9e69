"""The XML annotation of one image, as VOC invented it and ImageNet, labelImg and many others took over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from wsdet.data.annotations import XYXY, Object, extent, number, rotated_extent
from wsdet.storage.untrusted import read_xml
from wsdet.types import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """One object: its class, its continuous box (not yet checked), and whether it is difficult."""

    name: str
    xyxy: XYXY
    difficult: bool


def parse_objects(root: Element, first_pixel: int, where: str) -> list[VocObject]:
    """The objects of an annotation.

    A box turned by an angle (roLabelImg's `robndbox`) and a polygon count as the extent of their corners.

    Args:
        root: the element `annotation`.
        first_pixel: 1 where pixels count from 1 and the last one is included (VOC), 0 where corners are continuous.
        where: the file, for messages.

    Raises:
        InputError: an object lacks a field, or a field is no number.
    """
    found = []
    for n, item in enumerate(root.findall("object"), start=1):
        place = f"{where}, object {n}"
        found.append(VocObject(_name(item, place), _box(item, first_pixel, place), _difficult(item, place)))
    return found


def read_objects(
    path: Path, indices: Mapping[str, int], first_pixel: int
) -> tuple[list[Object], tuple[int, int] | None]:
    """The objects in an annotation with boxes not yet checked, and the image's height and width as it gives them.

    Raises:
        InputError: the file is missing, is no safe XML, or an object lacks a field or has a class not in `indices`.
    """
    root = read_xml(path)
    objects = [
        Object(item.xyxy, _index(item.name, indices, f"{path}, object {n}"), item.difficult)
        for n, item in enumerate(parse_objects(root, first_pixel, str(path)), start=1)
    ]
    return objects, given_size(root)


def read_labels(path: Path, indices: Mapping[str, int]) -> set[int]:
    """The classes that have an object which is not `difficult`; the boxes are not looked at.

    Raises:
        InputError: the file is missing, is no safe XML, or an object has a class not in `indices`.
    """
    items = [(item, f"{path}, object {n}") for n, item in enumerate(read_xml(path).findall("object"), start=1)]
    labels = [(_index(_name(item, where), indices, where), _difficult(item, where)) for item, where in items]
    return {label for label, difficult in labels if not difficult}


def class_names(paths: Iterable[Path]) -> list[str]:
    """The sorted names of the classes that annotations speak of; one that cannot be read says nothing."""
    names: set[str] = set()
    for path in paths:
        with suppress(InputError):
            names.update((item.text or "").strip() for item in read_xml(path).findall("object/name"))
    return sorted(names - {""})


def given_size(root: Element) -> tuple[int, int] | None:
    """Height and width that an annotation gives; None where it gives none, or zeros as some tools do."""
    h, w = (str(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width"))
    return (int(h), int(w)) if h.isdecimal() and w.isdecimal() and int(h) and int(w) else None


def _name(item: Element, where: str) -> str:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{where}: it has no name; give its class")
    return name


def _index(name: str, indices: Mapping[str, int], where: str) -> int:
    if name not in indices:
        known = ", ".join(list(indices)[:30])
        raise InputError(
            f"{where}: its class {name!r} is none of the dataset's ({known}); correct it, or name it there"
        )
    return indices[name]


def _difficult(item: Element, where: str) -> bool:
    text = (item.findtext("difficult") or "0").strip().lower()
    if text not in ("0", "1", "false", "true", "unspecified"):
        raise InputError(f"{where}: difficult must be 0 or 1, got {text!r}")
    return text in ("1", "true")


def _box(item: Element, first_pixel: int, where: str) -> XYXY:
    turned, polygon = item.find("robndbox"), item.find("polygon")
    if item.find("bndbox") is None and turned is not None:
        values = (number(turned.findtext(name), f"{where}: {name}") for name in ("cx", "cy", "w", "h", "angle"))
        x, y, w, h, angle = values
        degrees = math.degrees(angle)  # roLabelImg's angle is in radians, clockwise
        return rotated_extent((x - w / 2, y - h / 2, x + w / 2, y + h / 2), degrees, (x, y))
    if item.find("bndbox") is None and polygon is not None:
        return _polygon_box(polygon, where)
    x1, y1, x2, y2 = (number(item.findtext(f"bndbox/{name}"), f"{where}: {name}") for name in _CORNERS)
    return x1 - first_pixel, y1 - first_pixel, x2, y2


def _polygon_box(polygon: Element, where: str) -> XYXY:
    """The extent of points written as x1, y1, x2, y2 ... (Roboflow) or as pt/x, pt/y (LabelMe)."""
    points = [(point.findtext("x"), point.findtext("y")) for point in polygon.findall("pt")]
    if not points:
        texts = {child.tag: child.text for child in polygon}
        points = [(texts[tag], texts.get(f"y{tag[1:]}")) for tag in texts if tag[:1] == "x" and tag[1:].isdecimal()]
    if not points:
        raise InputError(f"{where}: it has neither a bndbox nor a polygon's points")
    return extent((number(x, f"{where}: x"), number(y, f"{where}: y")) for x, y in points)
