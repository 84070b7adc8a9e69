"""What people annotated, as every reader hands it on: objects with boxes that are checked before they are used.

One policy for every reader: a box partly outside its image is clipped; a box that is not finite, is inverted, or has no
area inside the image is left out, with a remark that names the file and the object. It costs neither the other boxes
of its image nor the label. An image with objects of which no box is left is an `InputError`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsdet.data.images import read_orientation, read_size
from wsdet.storage.untrusted import read_text, shown
from wsdet.types import Boxes, InputError

log = logging.getLogger(__name__)

_SAME_ASPECT = 0.02  # relative difference of the two sides' factors below which an image was only resized
_MAX_SIDE = 2**31  # pixels of an image's side

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class Object:
    """One annotated object, not yet checked.

    Attributes:
        xyxy: continuous corners, in pixels or in relative coordinates, as whoever makes the object says.
        label: index into the dataset's classes.
        difficult: VOC's flag.
    """

    xyxy: XYXY
    label: int
    difficult: bool = False


class Checked(NamedTuple):
    """The boxes of an image, and what its annotation's reader should know.

    Attributes:
        boxes: inside the image, each with an area.
        left_out: a sentence for each box that is left out.
        resized: a sentence where the annotation speaks of an image of another size; empty otherwise.
    """

    boxes: Boxes
    left_out: tuple[str, ...] = ()
    resized: str = ""


def boxes_in_image(
    objects: Iterable[Object],
    image: Path,
    where: str,
    max_pixels: int,
    size_hw: tuple[int, int] | None = None,
    relative: bool = False,
) -> Checked:
    """The objects of an image as boxes in the upright image, clipped to it.

    Args:
        objects: in the file's order.
        image: the image's file; only its header is read.
        where: the annotation, for remarks.
        max_pixels: larger images are refused.
        size_hw: the size that the annotation says the image has. Boxes of an image that EXIF turns and whose size is
            given lying down are turned; boxes of an image that was resized since are scaled, with a remark.
        relative: the boxes are in relative coordinates, 0 to 1.

    Raises:
        InputError: the image cannot be read, or there are objects and none of their boxes can be used.
    """
    objects = list(objects)
    h, w = read_size(image, max_pixels)
    resized = ""
    if relative:
        objects = [_moved(item, lambda x, y: (x * w, y * h)) for item in objects]
    elif size_hw is not None and size_hw != (h, w):
        objects, resized = _fitted(objects, size_hw, (h, w), read_orientation(image, max_pixels), where)
    problems = [_problem(item.xyxy, (h, w)) for item in objects]
    left_out = tuple(
        f"{where}, object {number}: its box {[round(value, 2) for value in item.xyxy]} {problem}"
        for number, (item, problem) in enumerate(zip(objects, problems, strict=True), start=1)
        if problem
    )
    good = [item for item, problem in zip(objects, problems, strict=True) if not problem]
    if left_out and not good:
        raise InputError(f"{left_out[0]}; no box of the image is left: correct or remove it")
    if not good:
        return Checked(Boxes.empty(), resized=resized)
    boxes = Boxes(
        # clipped before they become float32, to which a corner such as 1e300 is infinite
        np.clip([item.xyxy for item in good], 0, [w, h, w, h]),
        labels=[item.label for item in good],  # type: ignore[arg-type]
        difficult=[item.difficult for item in good],  # type: ignore[arg-type]
    )
    return Checked(boxes, left_out, resized)


def extent(points: Iterable[tuple[float, float]]) -> XYXY:
    """The smallest upright box around points (x, y); not a number where one is not."""
    xs, ys = zip(*points, strict=True)
    if not all(map(math.isfinite, (*xs, *ys))):
        return math.nan, math.nan, math.nan, math.nan
    return min(xs), min(ys), max(xs), max(ys)


def rotated_extent(xyxy: XYXY, degrees: float, pivot: tuple[float, float]) -> XYXY:
    """The smallest upright box around a box that is turned clockwise (as seen, y pointing down) about a point.

    >>> [round(value) for value in rotated_extent((0, 0, 4, 2), 90, (0, 0))]
    [-2, 0, 0, 4]
    """
    x1, y1, x2, y2 = xyxy
    if not degrees:
        return xyxy
    if not math.isfinite(degrees):
        return math.nan, math.nan, math.nan, math.nan
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    px, py = pivot
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return extent((px + (x - px) * cos - (y - py) * sin, py + (x - px) * sin + (y - py) * cos) for x, y in corners)


def number(text: Any, where: str) -> float:
    """A number that an annotation gives, as text or as JSON; NaN and infinity pass, `boxes_in_image` names them.

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


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a UTF-8 text file that are not blank, each after the words that say where it stands.

    Raises:
        InputError: the file is missing or is not UTF-8 text.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(f"{path}, line {n}", line.strip()) for n, line in lines if line.strip()]


class Skipped:
    """Counts entries of a file that cannot be used, and says how many and why at its end."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._problems: list[str] = []

    def __call__(self, problem: object) -> None:
        """One more."""
        self._problems.append(str(problem))

    def say(self) -> None:
        """Logs the number and the first problem, if there is any."""
        if self._problems:
            n, first = len(self._problems), self._problems[0]
            log.warning("%s: %d %s left out: %s", shown(self._path), n, self._what, first)


def _moved(item: Object, move: Callable[[float, float], tuple[float, float]]) -> Object:
    x1, y1, x2, y2 = item.xyxy
    return replace(item, xyxy=(*move(x1, y1), *move(x2, y2)))


def _fitted(
    objects: list[Object], given_hw: tuple[int, int], size_hw: tuple[int, int], orientation: int, where: str
) -> tuple[list[Object], str]:
    """Objects in an image of the size `given_hw`, moved into the upright image of `size_hw`; and a remark."""
    h0, w0 = given_hw
    h, w = size_hw
    if max(given_hw) > _MAX_SIDE:
        return objects, f"{where} speaks of an image larger than any can be: its boxes are taken as they are"
    if given_hw == (w, h) and orientation in _TURNS:
        turn = _TURNS[orientation]
        turned = [_moved(item, lambda x, y: turn(x, y, w0, h0)) for item in objects]
        return [replace(item, xyxy=_ordered(item.xyxy)) for item in turned], ""
    remark = f"{where} speaks of an image of {w0} x {h0} pixels, the file has {w} x {h}"
    fx, fy = w / w0, h / h0
    inside = all(item.xyxy[2] <= w0 + 1 and item.xyxy[3] <= h0 + 1 for item in objects)
    if abs(fx / fy - 1) > _SAME_ASPECT or not inside:
        return objects, f"{remark}: its boxes are taken as they are, look at them"
    return [_moved(item, lambda x, y: (x * fx, y * fy)) for item in objects], f"{remark}: its boxes are scaled"


# EXIF orientation -> where the point (x, y) of w x h stored pixels lies in the upright image
_TURNS: Mapping[int, Callable[[float, float, int, int], tuple[float, float]]] = {
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def _ordered(xyxy: XYXY) -> XYXY:
    """The corners of a turned box in their order; one that was inverted before stays wrong by its extent alone."""
    x1, y1, x2, y2 = xyxy
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _problem(xyxy: XYXY, size_hw: tuple[int, int]) -> str | None:
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
