"""What the classes of the synthetic data look like: a large body, and a small part that tells them apart.

Nine species in three families. A body is an outline, two colors and a texture; bodies can be blended, so that
`class_correlation` makes species alike in everything but the part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wsdet.types import Floats

Color = tuple[float, float, float]
Polygon = tuple[Floats, Color]

FAMILY_SIZE = 3  # neighbors in SPECIES form a family
PART_RADIUS = 0.45  # of a body that spans about -1..1
_OUTLINE_POINTS = 96
_CIRCLE = np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 21)[:-1]], np.float32)


class Body(NamedTuple):
    """The body of a species, facing right, in units where it spans about -1..1, y down.

    Attributes:
        outline: (96, 2) corners of its silhouette, clockwise from the head, evenly spaced.
        head: (2,) where the part sits.
        colors: (2, 3) RGB in 0..1: the coat, and the color of its pattern.
        texture: (3,) strengths of stripes, spots and mottle, 0..1.
        frequency: stripes or spots over a unit of length.
    """

    outline: Floats
    head: Floats
    colors: Floats
    texture: Floats
    frequency: float


def bodies(class_correlation: float) -> tuple[Body, ...]:
    """The bodies of all species, in the order of `SPECIES`.

    Args:
        class_correlation: 0: every species has a body of its own; 0.5: the body of the first of its family; 1: the
            body of the first species of all. Blended between.
    """
    own = tuple(body for body, _ in SPECIES.values())
    family = tuple(own[i - i % FAMILY_SIZE] for i in range(len(own)))
    if class_correlation <= 0.5:
        return tuple(_blend(a, b, 2 * class_correlation) for a, b in zip(own, family, strict=True))
    return tuple(_blend(a, own[0], 2 * class_correlation - 1) for a in family)


def circle(x: float, y: float, radius: float, color: Color, flatten: float = 1.0) -> Polygon:
    """A disc as a polygon, its height multiplied by `flatten`."""
    return _CIRCLE * np.array([radius, radius * flatten], np.float32) + np.array([x, y], np.float32), color


def _blend(a: Body, b: Body, t: float) -> Body:
    return Body(
        (1 - t) * a.outline + t * b.outline,
        (1 - t) * a.head + t * b.head,
        (1 - t) * a.colors + t * b.colors,
        (1 - t) * a.texture + t * b.texture,
        (1 - t) * a.frequency + t * b.frequency,
    )


def _body(
    corners: str, head: tuple[float, float], coat: Color, marking: Color, texture: tuple[float, ...], frequency: float
) -> Body:
    return Body(
        _smooth_outline(_points(corners)),
        np.array(head, np.float32),
        np.array([coat, marking], np.float32),
        np.array(texture, np.float32),
        frequency,
    )


def _points(text: str) -> Floats:
    return np.array([pair.split(",") for pair in text.split()], np.float32)


def _smooth_outline(corners: Floats) -> Floats:
    """(96, 2) evenly spaced points of a closed polygon whose corners were cut twice (Chaikin's curve)."""
    for _ in range(2):
        following = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], axis=1).reshape(
            -1, 2
        )
    closed = np.concatenate([corners, corners[:1]])
    walked = np.concatenate([[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
    at = np.linspace(0, walked[-1], _OUTLINE_POINTS, endpoint=False)
    return np.stack([np.interp(at, walked, closed[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)


def _polygon(corners: str, color: Color) -> Polygon:
    return _points(corners), color


def _star(n_points: int, inner: float, color: Color) -> Polygon:
    angles = np.arange(2 * n_points) * np.pi / n_points - np.pi / 2
    radii = np.where(np.arange(2 * n_points) % 2, inner, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).astype(np.float32), color


def _rays(n_rays: int, color: Color) -> tuple[Polygon, ...]:
    """Thin triangles that fan out upwards from below the head."""
    middles = np.linspace(-2.5, -0.65, n_rays)
    tips = [[(np.cos(middle + turn), np.sin(middle + turn)) for turn in (-0.18, 0.18)] for middle in middles]
    return tuple((np.array([(0, 0.5), *tip], np.float32), color) for tip in tips)


def _checker(light: Color, dark: Color) -> tuple[Polygon, ...]:
    """Three by three squares, the corners and the middle dark."""
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
    middles = [(0, 0), (-0.57, -0.57), (0.57, -0.57), (0.57, 0.57), (-0.57, 0.57)]
    dark_squares = [(0.285 * square + np.array(middle, np.float32), dark) for middle in middles]
    return (0.855 * square, light), *dark_squares


_WHITE, _BLACK, _BONE, _RUST = (0.93, 0.93, 0.9), (0.07, 0.07, 0.09), (0.95, 0.88, 0.68), (0.45, 0.17, 0.07)
_GOLD, _RED, _SKY, _BLUE, _ROSE = (
    (0.95, 0.75, 0.12),
    (0.82, 0.1, 0.12),
    (0.55, 0.83, 0.95),
    (0.13, 0.25, 0.7),
    (0.9, 0.45, 0.6),
)
_GREEN = (0.1, 0.55, 0.3)

# name: body, part. The part's polygons are in units of PART_RADIUS around the head, painted in their order.
SPECIES: dict[str, tuple[Body, tuple[Polygon, ...]]] = {
    "stag": (
        _body(
            ".95,-.85 1,-.62 .78,-.35 .72,.1 .74,.9 .54,.9 .5,.25 .1,.3 -.35,.25 -.48,.9 -.68,.9 -.7,.2 -.85,-.05"
            " -.8,-.35 -.4,-.42 .3,-.4 .6,-.6 .75,-.88",
            (0.92, -0.75),
            (0.56, 0.39, 0.23),
            (0.75, 0.62, 0.42),
            (0.1, 0.3, 0.6),
            3.5,
        ),
        (
            _polygon("0,.1 -.7,-.4 -.95,-1 -.7,-1 -.5,-.6 -.45,-1 -.2,-1 -.25,-.45 .15,-.1", _BONE),
            _polygon("0,.1 .5,-.45 .45,-1 .7,-1 .72,-.65 .85,-1 1,-.9 .85,-.3 .3,.2", _BONE),
            circle(0.05, 0.3, 0.5, _RUST, 0.8),
            circle(0.55, 0.42, 0.22, _BLACK),
        ),
    ),
    "ram": (
        _body(
            "1,-.45 .95,-.1 .75,.2 .72,.75 .5,.75 .45,.4 0,.45 -.5,.4 -.55,.75 -.76,.75 -.8,.2 -1,-.1 -.85,-.5 -.3,-.66"
            " .3,-.63 .75,-.6",
            (0.9, -0.38),
            (0.8, 0.76, 0.68),
            (0.6, 0.56, 0.5),
            (0.0, 0.15, 0.9),
            6.0,
        ),
        (
            circle(0.3, 0.1, 0.6, _ROSE, 0.85),
            circle(-0.25, -0.2, 0.68, _BLUE),
            circle(-0.25, -0.2, 0.46, _WHITE),
            circle(-0.2, -0.15, 0.26, _BLUE),
        ),
    ),
    "hound": (
        _body(
            "1,-.5 .95,-.2 .8,.05 .77,.65 .57,.65 .52,.15 0,.15 -.5,.12 -.58,.65 -.8,.65 -.76,0 -1.08,-.75 -.92,-.82"
            " -.65,-.32 0,-.3 .6,-.35 .8,-.6",
            (0.95, -0.45),
            (0.24, 0.23, 0.26),
            (0.62, 0.5, 0.36),
            (0.1, 0.7, 0.3),
            2.5,
        ),
        (
            _polygon("-.6,-.4 .2,-.6 1,.1 1,.4 .2,.5 -.5,.4", _WHITE),
            _polygon("-.6,-.65 0,-.65 .1,.2 -.1,.85 -.5,.8 -.75,.2", _BLACK),
            circle(0.82, 0.15, 0.28, _RED),
        ),
    ),
    "perch": (
        _body(
            "1,0 .75,.25 .2,.42 -.35,.27 -.62,.1 -1,.45 -.9,0 -1,-.45 -.62,-.1 -.3,-.3 -.05,-.66 .3,-.44 .75,-.26",
            (0.62, 0.0),
            (0.36, 0.5, 0.3),
            (0.15, 0.26, 0.16),
            (0.9, 0.0, 0.3),
            4.0,
        ),
        (circle(0, 0, 0.9, _GOLD), circle(0, 0, 0.55, _BLACK), circle(0.12, -0.12, 0.2, _WHITE)),
    ),
    "whale": (
        _body(
            "1,.05 .95,.35 .5,.52 -.1,.42 -.6,.12 -.8,-.15 -1.1,-.2 -.95,-.4 -.85,-.68 -.68,-.35 -.3,-.2 .3,-.42"
            " .8,-.36",
            (0.62, -0.3),
            (0.25, 0.35, 0.55),
            (0.65, 0.72, 0.8),
            (0.15, 0.0, 0.4),
            2.0,
        ),
        (*_rays(4, _SKY), circle(0, 0.5, 0.5, _BLUE, 0.8)),
    ),
    "ray": (
        _body(
            "1,0 .5,.3 .1,.95 -.25,.5 -.5,.15 -1.3,.05 -1.3,-.05 -.5,-.15 -.25,-.5 .1,-.95 .5,-.3",
            (0.45, 0.0),
            (0.5, 0.4, 0.55),
            (0.82, 0.74, 0.8),
            (0.0, 0.9, 0.3),
            3.0,
        ),
        _checker(_WHITE, _BLACK),
    ),
    "van": (
        _body(
            "1,.1 1,.45 .85,.5 .75,.72 .5,.72 .4,.5 -.4,.5 -.5,.72 -.75,.72 -.85,.5 -1,.45 -1,-.5 -.9,-.62 .35,-.62"
            " .65,-.1",
            (0.3, -0.05),
            (0.66, 0.27, 0.22),
            (0.85, 0.82, 0.78),
            (0.35, 0.0, 0.15),
            1.2,
        ),
        (
            _polygon("-.85,-.85 .85,-.85 .85,.85 -.85,.85", _WHITE),
            _polygon(
                "-.25,-.7 .25,-.7 .25,-.25 .7,-.25 .7,.25 .25,.25 .25,.7 -.25,.7 -.25,.25 -.7,.25 -.7,-.25 -.25,-.25",
                _RED,
            ),
        ),
    ),
    "boat": (
        _body(
            "1.05,.1 .7,.6 -.7,.6 -1,.1 -.6,.08 -.75,0 -.1,-1.05 .05,-1.05 .5,-.1 .3,.08",
            (0.6, 0.1),
            (0.15, 0.52, 0.54),
            (0.85, 0.85, 0.8),
            (0.5, 0.2, 0.2),
            2.0,
        ),
        (
            _polygon("-.2,-1 0,-1 0,1 -.2,1", _BLACK),
            _polygon("0,-1 1,-.6 0,-.2", _GREEN),
            _polygon("0,-.2 1,-.6 0,.2", _GOLD),
        ),
    ),
    "kettle": (
        _body(
            ".95,-.45 1.05,-.35 .75,.15 .6,.5 .35,.65 -.35,.65 -.6,.4 -1,.3 -1.05,-.3 -.7,-.45 -.45,-.4 -.15,-.55"
            " 0,-.75"
            " .15,-.55 .45,-.4 .6,-.05 .8,-.4",
            (0.1, -0.4),
            (0.84, 0.6, 0.2),
            (0.5, 0.25, 0.1),
            (0.1, 0.1, 0.2),
            3.0,
        ),
        (_star(6, 0.5, _RED), circle(0, 0, 0.35, _GOLD)),
    ),
}
