"""The XML annotation of one image, as VOC invented it and ImageNet took over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree.ElementTree import Element

from wsdet.data.annotations import Object, number, read_xml
from wsdet.types import InputError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_objects(path: Path, indices: Mapping[str, int], first_pixel: int) -> list[Object]:
    """The objects in an annotation, boxes not yet checked.

    Args:
        path: the XML file.
        indices: index by class name.
        first_pixel: 1 where pixels count from 1 and the last one is included (VOC), 0 where corners are continuous.

    Raises:
        InputError: the file is missing, is no safe XML, or an object lacks a field or has an unknown class.
    """
    objects = []
    for n, item in enumerate(read_xml(path).findall("object"), start=1):
        where = f"{path}, object {n}"
        label, difficult = _label(item, indices, where), _difficult(item, where)
        objects.append(Object(_corners(item, first_pixel, where), label, difficult))
    return objects


def read_labels(path: Path, indices: Mapping[str, int]) -> set[int]:
    """The classes that have an object which is not `difficult`; the boxes are not looked at.

    Raises:
        InputError: the file is missing, is no safe XML, or an object has an unknown class.
    """
    items = [(item, f"{path}, object {n}") for n, item in enumerate(read_xml(path).findall("object"), start=1)]
    return {_label(item, indices, where) for item, where in items if not _difficult(item, where)}


def class_names(paths: Iterable[Path]) -> list[str]:
    """The sorted names of the classes that annotations speak of; one that cannot be read says nothing."""
    names: set[str] = set()
    for path in paths:
        with suppress(InputError):
            names.update((item.text or "").strip() for item in read_xml(path).findall("object/name"))
    return sorted(names - {""})


def _label(item: Element, indices: Mapping[str, int], where: str) -> int:
    name = (item.findtext("name") or "").strip()
    if name not in indices:
        known = ", ".join(list(indices)[:30])
        raise InputError(
            f"{where}: its class {name!r} is none of the dataset's ({known}); correct it, or name it there"
        )
    return indices[name]


def _difficult(item: Element, where: str) -> bool:
    text = (item.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise InputError(f"{where}: difficult must be 0 or 1, got {text!r}")
    return text == "1"


def _corners(item: Element, first_pixel: int, where: str) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (number(item.findtext(f"bndbox/{name}"), f"{where}: {name}") for name in _CORNERS)
    return x1 - first_pixel, y1 - first_pixel, x2, y2
