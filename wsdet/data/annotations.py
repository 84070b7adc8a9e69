"""What strangers wrote beside their images: text lists, XML, and boxes that are checked before they are believed.

One policy for every reader: a box partly outside its image is clipped; a box that is not finite, is inverted, or has
no area inside the image is an `InputError` that names the file and the object. It is raised when that image's truth
is read, so one bad annotation costs one image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

from wsdet.types import Boxes, InputError

_MAX_XML_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Object:
    """One annotated object, not yet checked.

    Attributes:
        xyxy: continuous corners in pixels.
        label: index into the dataset's classes.
        difficult: VOC's flag.
    """

    xyxy: tuple[float, float, float, float]
    label: int
    difficult: bool = False


def checked_boxes(objects: Iterable[Object], size_hw: tuple[int, int], where: str) -> Boxes:
    """The objects of an image as `Boxes`, clipped to it.

    Args:
        objects: the objects, in the file's order.
        size_hw: height and width of the image.
        where: the file, for messages.

    Raises:
        InputError: a box is not finite, is inverted, or has no area inside the image.
    """
    objects = list(objects)
    for number, item in enumerate(objects, start=1):
        problem = _problem(item.xyxy, size_hw)
        if problem:
            raise InputError(f"{where}, object {number}: its box {list(item.xyxy)} {problem}; correct or remove it")
    if not objects:
        return Boxes.empty()
    h, w = size_hw
    return Boxes(
        # clipped before they become float32, to which a corner such as 1e300 is infinite
        np.clip([item.xyxy for item in objects], 0, [w, h, w, h]),
        labels=[item.label for item in objects],  # type: ignore[arg-type]
        difficult=[item.difficult for item in objects],  # type: ignore[arg-type]
    )


def number(text: Any, where: str) -> float:
    """A number that an annotation gives, as text or as JSON; NaN and infinity pass, `checked_boxes` names them.

    Raises:
        InputError: it is not a number.
    """
    try:
        if isinstance(text, bool):
            raise TypeError
        return float(text)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} must be a number, got {text!r}") from None


def class_indices(classes: Sequence[str]) -> Mapping[str, int]:
    """Index by class name."""
    return {name: index for index, name in enumerate(classes)}


def read_text(path: Path) -> str:
    """What a UTF-8 text file holds.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")  # a byte order mark at the start is no part of the first name
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a UTF-8 text file that are not blank, each after the words that say where it stands.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(f"{path}, line {n}", line.strip()) for n, line in lines if line.strip()]


def read_xml(path: Path) -> Element:
    """The root element of an XML file. Document types, entities and external references are refused.

    Raises:
        InputError: the file is missing, is too large, is not well formed, or declares what is refused.
    """
    try:
        if path.stat().st_size > _MAX_XML_BYTES:
            raise InputError(f"{path} is larger than {_MAX_XML_BYTES} bytes: not the annotation of one image")
        root: Element = SafeElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
        return root
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except DefusedXmlException as error:
        raise InputError(f"{path} declares a document type or entities ({error}); remove the declaration") from error
    except (ParseError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not well-formed XML: {error}; correct or remove it") from error


def _problem(xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]) -> str | None:
    x1, y1, x2, y2 = xyxy
    h, w = size_hw
    if not all(math.isfinite(value) for value in xyxy):
        return "is not finite"
    if x2 < x1 or y2 < y1:
        return "is inverted"
    if x2 == x1 or y2 == y1:
        return "has no area"
    if x1 >= w or y1 >= h or x2 <= 0 or y2 <= 0:
        return f"lies outside the image of {w} x {h} pixels"
    return None
