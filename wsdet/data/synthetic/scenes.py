"""Plans of synthetic scenes: what stands where, how large, in front of what. Geometry and color only, no pixels.

A plan is cheap (about a millisecond), so the labels and ground-truth boxes of a data set come without painting it.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from wsdet import boxes
from wsdet.data.synthetic.species import PART_RADIUS, SPECIES, Body, Color, Polygon, circle
from wsdet.types import Boxes, Floats, Pixels

OVERHANG = 0.15  # of an object's extent may lie outside the image, on each side
LEAST_VISIBLE = 0.25  # of an object's silhouette, or the occluder in front is left out
DIFFICULT_BELOW = 0.5  # visible share of the silhouette

_PARTS = tuple(part for _, part in SPECIES.values())
_TRIES = 15
_MOST_OVERLAP = 0.35  # of the smaller object's box
_KINDS = ("blob", "blob", "blob", "box", "box", "leaf", "pole")  # of distractors
_SLENDER_KINDS = ("blob", "leaf", "pole")  # of occluders
_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_UNIT_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])  # (2, 48)
_WAVE_NUMBERS = np.arange(1, 6)[:, None]  # of a blob's outline
_SHIFT = 4  # binary digits after the point in OpenCV's fixed-point coordinates


@dataclass(frozen=True, eq=False)
class Thing:
    """An object or a distractor, in place.

    Attributes:
        outline: (n, 2) corners of the body in pixels, continuous coordinates.
        part: polygons in pixels with their colors, painted over the body in their order.
        colors: (2, 3) RGB in 0..1 of the body and of its pattern.
        texture: (3,) strengths of stripes, spots and mottle.
        frequency: stripes or spots over a unit of the thing's own length.
        phase: of the pattern, radians.
        center: (2,) origin of the thing's own coordinates, pixels.
        frame: (2, 2) from the thing's own coordinates to pixels.
        label: class, -1 for a distractor.
    """

    outline: Floats
    part: tuple[Polygon, ...]
    colors: Floats
    texture: Floats
    frequency: float
    phase: float
    center: Floats
    frame: Floats
    label: int = -1

    @cached_property
    def polygons(self) -> list[Floats]:
        """The outline and the part's polygons: together the silhouette."""
        return [self.outline, *(points for points, _ in self.part)]

    @cached_property
    def xyxy(self) -> Floats:
        """(1, 4) tight box of the full silhouette, not clipped."""
        points = np.concatenate(self.polygons)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])[None]

    def moved(self, center: npt.ArrayLike) -> Thing:
        """The same thing with the middle of its box at `center`."""
        box = self.xyxy[0]
        step = (np.asarray(center) - (box[:2] + box[2:]) / 2).astype(np.float32)
        return replace(
            self,
            outline=self.outline + step,
            part=tuple((points + step, color) for points, color in self.part),
            center=self.center + step,
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """What an image shows.

    Attributes:
        size: side of the image, pixels.
        backdrop: distractors behind everything, out of focus.
        things: objects and distractors, the farthest first; a later one hides an earlier one.
    """

    size: int
    backdrop: tuple[Thing, ...]
    things: tuple[Thing, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes of its objects, sorted, each once."""
        return tuple(sorted({thing.label for thing in self.things if thing.label >= 0}))

    def truth(self) -> Boxes:
        """Tight boxes of the objects' full silhouettes (hidden parts too), clipped to the image.

        An object is `difficult` when less than half of its silhouette is to be seen, hidden or cut off by the border.
        """
        shares = visible_shares(self.things, self.size)
        shown = [(thing, share) for thing, share in zip(self.things, shares, strict=True) if thing.label >= 0]
        return Boxes(
            boxes.clip(np.concatenate([thing.xyxy for thing, _ in shown]), (self.size, self.size)),
            labels=np.array([thing.label for thing, _ in shown]),
            difficult=np.array([share < DIFFICULT_BELOW for _, share in shown]),
        )


def plan_scene(
    rng: np.random.Generator,
    first_label: int,
    bodies: Sequence[Body],
    size: int,
    clutter: float,
    instances: int,
    min_scale: float,
    max_scale: float,
) -> Scene:
    """A scene with at least one object, of class `first_label`, and up to `instances` (fewer are likelier).

    Args:
        rng: the only source of chance.
        first_label: class of the first object; others are drawn, the same class among them.
        bodies: one a class, see `species.bodies`.
        size: side of the image, pixels.
        clutter: 0..1, how many distractors stand behind, between and in front.
        instances: most objects.
        min_scale: least length of the longer side of an object's box, before clipping, as a share of `size`.
        max_scale: the greatest.
    """
    odds = 1 / np.arange(1, instances + 1)
    n_objects = 1 + int(rng.choice(instances, p=odds / odds.sum()))
    objects: list[Thing] = []
    for i in range(n_objects):
        label = int(rng.integers(len(bodies))) if i else first_label
        placed = _place_object(rng, label, bodies[label], objects, size, (min_scale, max_scale))
        objects += [placed] if placed is not None else []
    bystanders = [_distractor(rng, size, rng.uniform(0.08, 0.3)) for _ in range(rng.poisson(3 * clutter))]
    backdrop = [_distractor(rng, size, rng.uniform(0.15, 0.8)) for _ in range(rng.poisson(8 * clutter))]
    # what stands lower in a photograph is nearer
    things = bystanders + sorted(objects, key=lambda thing: float(thing.xyxy[0, 3]))
    for thing in objects:
        if rng.random() < 0.6 * clutter:
            occluder = _occluder(rng, thing)
            if min(visible_shares([*things, occluder], size)[len(bystanders) : len(things)]) >= LEAST_VISIBLE:
                things.append(occluder)
    return Scene(size, tuple(backdrop), tuple(things))


def visible_shares(things: Sequence[Thing], size: int) -> list[float]:
    """The share of each thing's silhouette that is inside the image and not hidden by a later thing."""
    margin = size // 4 + 1  # at least `OVERHANG` of the largest thing
    inside = np.zeros((size + 2 * margin, size + 2 * margin), np.uint8)
    inside[margin:-margin, margin:-margin] = 1
    shares = []
    for thing in reversed(things):
        shape = np.zeros_like(inside)
        for points in thing.polygons:
            fill(shape, points + margin, 1, smooth=False)
        total = cv2.countNonZero(shape)
        shares.append(cv2.countNonZero(shape & inside) / total if total else 0.0)
        inside[shape > 0] = 0
    return shares[::-1]


def fill(image: Pixels, points: Floats, value: float | tuple[float, ...], smooth: bool = True) -> None:
    """Paints a polygon in continuous coordinates (a pixel's center is at .5) into `image`, in place."""
    fixed = np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(image, [fixed], value, cv2.LINE_AA if smooth else cv2.LINE_8, _SHIFT)


def _place_object(
    rng: np.random.Generator,
    label: int,
    body: Body,
    others: Sequence[Thing],
    size: int,
    scales: tuple[float, float],
) -> Thing | None:
    """An object where it hides little of `others` and they little of it; None when no place was found."""
    attached = [(points * PART_RADIUS + body.head, color) for points, color in _PARTS[label]]
    individual = body._replace(
        outline=body.outline + _ripple(rng, body.outline, 0.05),
        colors=_jitter(rng, body.colors),
        texture=body.texture * rng.uniform(0.5, 1, 3).astype(np.float32),
        frequency=body.frequency * rng.uniform(0.8, 1.25),
    )
    for _ in range(_TRIES):
        thing = _thing(rng, individual, attached, size * rng.uniform(*scales), tilt=rng.normal(0, 0.45), label=label)
        half = (thing.xyxy[0, 2:] - thing.xyxy[0, :2]) * (0.5 - OVERHANG)
        thing = thing.moved(rng.uniform(half, size - half))
        if all(_overlap(thing.xyxy, other.xyxy) <= _MOST_OVERLAP for other in others):
            return thing
    return None


def _overlap(a: Floats, b: Floats) -> float:
    return float(boxes.intersection(a, b)[0, 0] / min(boxes.area(a)[0], boxes.area(b)[0]))


def _distractor(rng: np.random.Generator, size: int, scale: float) -> Thing:
    """A thing of no class somewhere in the image."""
    body = _random_body(rng, _KINDS[rng.integers(len(_KINDS))])
    spots = [_spot(rng) for _ in range(rng.integers(0, 3))]
    thing = _thing(rng, body, spots, size * scale, tilt=rng.uniform(-np.pi, np.pi))
    return thing.moved(rng.uniform(0, size, 2))


def _spot(rng: np.random.Generator) -> Polygon:
    """A gaudy disc: so that a small bright patch alone is no sign of a class."""
    x, y = rng.uniform(-0.5, 0.5, 2)
    return circle(x, y, rng.uniform(0.12, 0.3), _random_color(rng, 0.9), flatten=rng.uniform(0.4, 1))


def _occluder(rng: np.random.Generator, hidden: Thing) -> Thing:
    """A thing of no class in front of `hidden`."""
    box = hidden.xyxy[0]
    extent = box[2:] - box[:2]
    kind = _SLENDER_KINDS[rng.integers(len(_SLENDER_KINDS))]
    longest = float(extent.max()) * (rng.uniform(1.2, 2.5) if kind == "pole" else rng.uniform(0.6, 1.1))
    thing = _thing(rng, _random_body(rng, kind), [], longest, tilt=rng.normal(np.pi / 2, 0.4))
    return thing.moved(box[:2] + extent * rng.uniform(0.1, 0.9, 2))


def _thing(
    rng: np.random.Generator,
    body: Body,
    part: Sequence[Polygon],
    longest_px: float,
    tilt: float,
    label: int = -1,
) -> Thing:
    """Body and part mirrored or not, stretched, turned by `tilt` radians and scaled to `longest_px`."""
    stretch, mirror = math.exp(rng.normal(0, 0.1)), 2 * rng.integers(2) - 1
    cos, sin = math.cos(tilt), math.sin(tilt)
    frame = np.array([[cos * mirror * stretch, -sin / stretch], [sin * mirror * stretch, cos / stretch]])
    points = np.concatenate([body.outline, *(polygon for polygon, _ in part)]) @ frame.T
    frame = (frame * longest_px / (points.max(axis=0) - points.min(axis=0)).max()).astype(np.float32)
    return Thing(
        outline=body.outline @ frame.T,
        part=tuple((polygon @ frame.T, color) for polygon, color in _recolored(rng, part)),
        colors=body.colors,
        texture=body.texture,
        frequency=body.frequency,
        phase=float(rng.uniform(0, 2 * np.pi)),
        center=np.zeros(2, np.float32),
        frame=frame,
        label=label,
    )


def _random_body(rng: np.random.Generator, kind: str) -> Body:
    if kind == "blob":
        waves = np.cos(_WAVE_NUMBERS * _ANGLES + rng.uniform(0, 2 * np.pi, (5, 1)))
        radii = np.maximum(1 + (rng.normal(0, 0.35, (5, 1)) / _WAVE_NUMBERS * waves).sum(axis=0), 0.25)
        outline = (radii * _UNIT_CIRCLE * [[1], [rng.uniform(0.5, 1)]]).T
    elif kind == "leaf":
        outline = (_UNIT_CIRCLE * [np.ones(48), rng.uniform(0.15, 0.4) * np.abs(_UNIT_CIRCLE[1])]).T
    else:
        half = rng.uniform(0.03, 0.08) if kind == "pole" else rng.uniform(0.4, 1)
        outline = np.array([[-1, -half], [1, -half * rng.uniform(0.7, 1)], [1, half], [-1, half]])
    return Body(
        outline.astype(np.float32),
        np.zeros(2, np.float32),
        np.array([_random_color(rng, 0.5), _random_color(rng, 0.5)], np.float32),
        rng.dirichlet([0.6, 0.6, 1]).astype(np.float32),
        rng.uniform(1, 6),
    )


def _ripple(rng: np.random.Generator, outline: Floats, strength: float) -> Floats:
    """(n, 2) smooth displacements that close around an outline."""
    angles = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)[:, None]
    waves = [rng.normal(0, strength / k, 2) * np.cos(k * angles + rng.uniform(0, 6.3, 2)) for k in (1, 2, 3)]
    return np.sum(waves, axis=0).astype(np.float32)


def _jitter(rng: np.random.Generator, colors: Floats) -> Floats:
    """The same colors in another individual: lighter or darker, and slightly another hue."""
    varied = colors * np.exp(rng.normal(0, 0.18)) + rng.normal(0, 0.05, 3)
    return np.clip(varied, 0.03, 0.97).astype(np.float32)


def _recolored(rng: np.random.Generator, part: Sequence[Polygon]) -> list[Polygon]:
    """The part in another individual: its colors keep their contrast."""
    if not part:
        return []
    brightness, tint = np.exp(rng.normal(0, 0.12)), rng.normal(0, 0.05, 3)
    colors = np.clip(np.array([color for _, color in part]) * brightness + tint, 0, 1).tolist()
    return [(points, (red, green, blue)) for (points, _), (red, green, blue) in zip(part, colors, strict=True)]


def _random_color(rng: np.random.Generator, most_saturation: float) -> Color:
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, most_saturation), rng.uniform(0.15, 0.95))
