"""Paints a planned scene: ground, distractors, objects with texture and shading, light, lens and sensor."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsdet.data.synthetic.scenes import Scene, Thing, fill
from wsdet.types import Floats, Pixels

# ground and walls are brown, green, gray or blue, hardly ever violet: colors lie along these axes
_WARM, _GREEN = np.array([1, 0.1, -1], np.float32), np.array([-0.4, 0.6, -0.4], np.float32)
_REFLECT = cv2.BORDER_REFLECT_101
_MOTTLE_SIDE = 128  # pixels of the noise that all coats of an image are cut from


def paint(scene: Scene, rng: np.random.Generator, clutter: float) -> Pixels:
    """(size, size, 3) uint8 RGB.

    Args:
        scene: what to paint.
        rng: chance that changes no geometry: textures, light, blur, noise.
        clutter: 0..1, contrast of the background's texture.
    """
    size = scene.size
    side = rng.uniform(-1, 1)  # the light comes from above, left or right
    light = np.array([side, -1], np.float32) / np.float32(np.hypot(side, 1))
    mottle = noise(rng, (_MOTTLE_SIDE, _MOTTLE_SIDE), 0.8)
    image = _background(rng, size, 0.3 + 0.7 * clutter)
    for thing in scene.backdrop:
        _paint_thing(image, thing, light, mottle)
    image = _blur(image, size * rng.uniform(0.002, 0.012))  # the lens is focused on the objects
    for thing in scene.things:
        _paint_thing(image, thing, light, mottle)
    return _photograph(image, rng)


def noise(rng: np.random.Generator, size_hw: tuple[int, int], roughness: float, coarsest: int = 3) -> Floats:
    """(h, w) fractal noise of about zero mean and unit deviation.

    From `coarsest` cells on the shorter side each octave has twice the cells and `roughness` times the strength.
    """
    h, w = size_hw
    rows, columns = np.array(size_hw) * coarsest // min(size_hw)
    total, power, strength = _white(rng, rows, columns), 1.0, 1.0
    while 2 * max(rows, columns) < max(h, w):
        rows, columns, strength = 2 * rows, 2 * columns, strength * roughness
        total = _resized(total, rows, columns) + strength * _white(rng, rows, columns)
        power += strength**2
    return _resized(total, h, w) * np.float32(1.2 / np.sqrt(power))  # interpolation smooths


def _white(rng: np.random.Generator, h: int, w: int) -> Floats:
    """(h, w) uniform noise of zero mean and unit deviation."""
    return (rng.random((h, w), np.float32) - 0.5) * np.float32(np.sqrt(12))


def _background(rng: np.random.Generator, size: int, contrast: float) -> Floats:
    """(size, size, 3) float32: one surface, or two that meet at a horizon or a corner."""
    image = _surface(rng, size, contrast)
    if rng.random() < 0.65:
        x = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        height = rng.uniform(0.3, 0.75) + rng.normal(0, 0.15) * x + 0.04 * rng.random() * noise(rng, (1, size), 0.5)[0]
        below = np.clip((np.arange(size)[:, None] - height * size) / rng.choice([1, 3, 8]) + 0.5, 0, 1)[..., None]
        image += (_surface(rng, size, contrast) - image) * below.astype(np.float32)
    return image


def _surface(rng: np.random.Generator, size: int, contrast: float) -> Floats:
    """(size, size, 3): two muted colors mixed by noise, with grain, sometimes bricks or boards."""
    base = rng.uniform(0.2, 0.75) + rng.normal(0, 0.09) * _WARM + abs(rng.normal(0, 0.09)) * _GREEN
    other = base + rng.normal(0, 0.18) + rng.normal(0, 0.06) * _WARM + rng.normal(0, 0.04) * _GREEN
    kind = rng.choice(["rough", "smooth", "grain", "tiles"], p=[0.4, 0.2, 0.2, 0.2])
    if kind == "grain":
        mix = _resized(noise(rng, (size, size // 8), rng.uniform(0.6, 0.9)), size, size)
        mix = mix.T if rng.random() < 0.5 else mix
    else:
        mix = noise(rng, (size, size), 0.4 if kind == "smooth" else rng.uniform(0.6, 0.95))
    if kind == "tiles":
        mix = 0.6 * mix + _tiles(rng, size)
    mix = 0.5 + 0.5 * contrast * mix
    mix += np.float32(rng.normal(0, 0.3)) * np.linspace(-1, 1, size, dtype=np.float32)[:, None]
    return _float32(cv2.merge([start + (end - start) * mix for start, end in zip(base, other, strict=True)]))


def _tiles(rng: np.random.Generator, size: int) -> Floats:
    """(size, size): bricks or boards of slightly different brightness, with dark joints."""
    height = int(rng.integers(size // 16 + 2, size // 5 + 3))
    width = int(height * rng.choice([1, 2, 20]))
    rows, columns = np.indices((size, size), dtype=np.int32)
    row = rows // height
    along = columns + (row % 2) * (width // 2)
    brightness = rng.normal(0, 0.5, (size // height + 1, size // width + 2))
    joint = (rows % height == 0) | (along % width == 0)
    return np.where(joint, -1.5, brightness[row, along // width]).astype(np.float32)


def _paint_thing(image: Floats, thing: Thing, light: Floats, mottle: Floats) -> None:
    """Blends a thing and its shadow into `image`, in place."""
    size = len(image)
    box = thing.xyxy[0]
    extent = float((box[2:] - box[:2]).max())
    margin = 0.12 * extent + 2  # for the shadow
    x1, y1 = np.clip(np.floor(box[:2] - margin), 0, size).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:] + margin), 0, size).astype(int)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    corner = np.array([x1, y1], np.float32)
    coverage = np.zeros((y2 - y1, x2 - x1), np.uint8)
    for points in thing.polygons:
        fill(coverage, points - corner, 255)
    silhouette = _float32(coverage / np.float32(255))

    coat = _coat(thing, corner, coverage.shape, mottle)
    for points, color in thing.part:
        fill(coat, points - corner, tuple(255 * channel for channel in color))
    lit = coat * cv2.merge([_shading(silhouette, light, extent) / 255] * 3)
    shaded = image[y1:y2, x1:x2] * cv2.merge([1 - 0.45 * _shadow(silhouette, light, extent)] * 3)
    image[y1:y2, x1:x2] = cv2.blendLinear(lit, shaded, silhouette, 1 - silhouette)


def _shadow(silhouette: Floats, light: Floats, extent: float) -> Floats:
    """(h, w) 0..1: the silhouette thrown away from the light, with a soft edge."""
    shift = np.array([[1, 0, -0.1 * extent * light[0]], [0, 1, -0.07 * extent * light[1]]], np.float32)
    thrown = cv2.warpAffine(silhouette, shift, silhouette.shape[::-1])
    return _blur(_float32(thrown), 0.03 * extent)


def _shading(silhouette: Floats, light: Floats, extent: float) -> Floats:
    """(h, w) factors: brighter where the rounded surface faces the light, darker at the far rim."""
    height = _blur(silhouette, 0.06 * extent + 0.5)
    toward = -(light[0] * cv2.Sobel(height, cv2.CV_32F, 1, 0) + light[1] * cv2.Sobel(height, cv2.CV_32F, 0, 1))
    return np.clip(0.8 + 0.3 * height + 0.35 * toward * (0.06 * extent + 0.5) / 2, 0.35, 1.6)


def _coat(thing: Thing, corner: Floats, size_hw: tuple[int, int], mottle: Floats) -> Pixels:
    """(h, w, 3) the body's colors: stripes, spots and mottle that turn and scale with the thing."""
    h, w = size_hw
    to_own = np.linalg.inv(thing.frame)
    x = np.arange(w, dtype=np.float32)[None] + 0.5 + corner[0] - thing.center[0]
    y = np.arange(h, dtype=np.float32)[:, None] + 0.5 + corner[1] - thing.center[1]
    along, across = to_own[0, 0] * x + to_own[0, 1] * y, to_own[1, 0] * x + to_own[1, 1] * y
    phase = np.float32(thing.phase)
    x0, y0 = _MOTTLE_SIDE / 2 + 20 * np.cos(phase), _MOTTLE_SIDE / 2 + 20 * np.sin(phase)  # another place for each
    scale = np.float32(_MOTTLE_SIDE / 6)
    rough = _float32(cv2.remap(mottle, x0 + scale * along, y0 + scale * across, cv2.INTER_LINEAR, borderMode=_REFLECT))
    turn = np.float32(np.pi * thing.frequency)
    waves = np.sin(turn * along + phase + 0.8 * rough)
    spots = waves * np.sin(turn * across + phase)
    mix = thing.texture[0] * (waves > 0.2) + thing.texture[1] * (spots > 0.3) + 0.35 * thing.texture[2] * rough
    mix = np.clip(mix, 0, 1) + 0.12 * rough
    belly = 1 - 0.1 * np.clip(across, -1, 1)
    channels = [(base + (other - base) * mix) * belly for base, other in thing.colors.T]
    return np.asarray(cv2.convertScaleAbs(cv2.merge(channels), alpha=255), np.uint8)


def _photograph(image: Floats, rng: np.random.Generator) -> Pixels:
    """What a camera makes of the scene: uneven light, a color cast, blur, exposure, contrast and noise."""
    size = len(image)
    exposure = np.float32(np.exp(rng.normal(0, 0.15)) * 255)
    lit = exposure * (1 + 0.18 * noise(rng, (size, size), 0.3, coarsest=2))
    cast = np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    image = _blur(image * cv2.merge([lit * channel for channel in cast]), size / 128 * rng.uniform(0.2, 0.9))
    contrast = np.float32(np.exp(rng.normal(0, 0.1)))
    grain = rng.standard_normal((size, size), np.float32) * np.float32(rng.uniform(1, 7))
    image = (image - 128) * contrast + cv2.merge([128.5 + grain] * 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def _resized(image: Floats, h: int, w: int) -> Floats:
    return _float32(cv2.resize(image, (w, h), interpolation=cv2.INTER_CUBIC))


def _blur(image: Floats, sigma: float) -> Floats:
    return _float32(cv2.GaussianBlur(image, (0, 0), sigmaX=max(sigma, 0.1), borderType=_REFLECT))


def _float32(image: npt.NDArray[Any]) -> Floats:
    """The same array where OpenCV kept its type, and its type for the type checker, which cannot know that."""
    return image.astype(np.float32, copy=False)
