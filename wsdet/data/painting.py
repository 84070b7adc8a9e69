"""Paints a planned scene: ground, distractors, objects with texture and shading, light, lens and sensor."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from wsdet.data.scenes import Scene, Thing, fill
from wsdet.types import Floats, Pixels


def paint(scene: Scene, rng: np.random.Generator, clutter: float) -> Pixels:
    """(size, size, 3) uint8 RGB.

    Args:
        scene: what to paint.
        rng: chance that changes no geometry: textures, light, blur, noise.
        clutter: 0..1, contrast of the background's texture.
    """
    size = scene.size
    light = np.float32([rng.uniform(-1, 1), -1])  # from above, left or right
    light /= np.linalg.norm(light)
    image = _background(rng, size, 0.3 + 0.7 * clutter)
    for thing in scene.backdrop:
        _paint_thing(image, thing, light, rng)
    image = _blur(image, size * rng.uniform(0.002, 0.012))  # the lens is focused on the objects
    for thing in scene.things:
        _paint_thing(image, thing, light, rng)
    return _photograph(image, rng)


def noise(rng: np.random.Generator, size_hw: tuple[int, int], roughness: float, coarsest: int = 3) -> Floats:
    """(h, w) fractal noise, about zero mean and unit deviation: octaves whose strength falls by `roughness`."""
    h, w = size_hw
    total, power, strength, cells = np.zeros((h, w), np.float32), 0.0, 1.0, coarsest
    while True:
        grid = rng.standard_normal((min(cells, h), min(cells, w)), np.float32)
        total += strength * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        power += strength**2
        if cells >= max(h, w) / 2:
            return total * np.float32(1.4 / np.sqrt(power))  # interpolation loses about 30 % of the deviation
        strength, cells = strength * roughness, cells * 2


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
    base = rng.uniform(0.2, 0.8) + rng.normal(0, 0.1, 3)
    other = base + rng.normal(0, 0.18) + rng.normal(0, 0.07, 3)
    kind = rng.choice(["rough", "smooth", "grain", "tiles"], p=[0.4, 0.2, 0.2, 0.2])
    if kind == "grain":
        stretched = noise(rng, (size, max(size // 8, 4)), rng.uniform(0.6, 0.9))
        mix = cv2.resize(stretched, (size, size), interpolation=cv2.INTER_LINEAR)
        mix = mix.T if rng.random() < 0.5 else mix
    else:
        mix = noise(rng, (size, size), 0.4 if kind == "smooth" else rng.uniform(0.6, 0.95))
    if kind == "tiles":
        mix = 0.6 * mix + _tiles(rng, size)
    mix = 0.5 + 0.5 * contrast * mix
    slope = rng.normal(0, 0.12) * np.linspace(-1, 1, size, dtype=np.float32)[:, None]
    return (np.float32(base) + np.float32(other - base) * mix[..., None] + slope[..., None]).astype(np.float32)


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


def _paint_thing(image: Floats, thing: Thing, light: Floats, rng: np.random.Generator) -> None:
    """Blends a thing and its shadow into `image`, in place."""
    size = len(image)
    box = thing.xyxy[0]
    extent = float((box[2:] - box[:2]).max())
    margin = 0.2 * extent + 2
    x1, y1 = np.clip(np.floor(box[:2] - margin), 0, size).astype(int)
    x2, y2 = np.clip(np.ceil(box[2:] + margin), 0, size).astype(int)
    if x2 - x1 < 2 or y2 - y1 < 2:
        return
    corner, size_hw = np.float32([x1, y1]), (int(y2 - y1), int(x2 - x1))
    silhouette = _mask(thing.polygons, corner, size_hw)
    under = image[y1:y2, x1:x2]
    under *= 1 - 0.45 * _shadow(silhouette, light, extent)[..., None]

    coat = _coat(thing, corner, size_hw, rng)
    for points, color in thing.part:
        coat += (np.float32(color) - coat) * _mask([points], corner, size_hw)[..., None]
    coat *= _shading(silhouette, light, extent)[..., None]
    under += (coat - under) * silhouette[..., None]


def _mask(polygons: Sequence[Floats], corner: Floats, size_hw: tuple[int, int]) -> Floats:
    """(h, w) coverage 0..1 of the union of polygons, of which `corner` is the picture's upper left."""
    mask = np.zeros(size_hw, np.uint8)
    for points in polygons:
        fill(mask, points - corner, 255)
    return mask.astype(np.float32) / 255


def _shadow(silhouette: Floats, light: Floats, extent: float) -> Floats:
    """(h, w) 0..1: the silhouette thrown away from the light, with a soft edge."""
    shift = np.float32([[1, 0, -0.12 * extent * light[0]], [0, 1, -0.08 * extent * light[1]]])
    thrown = cv2.warpAffine(silhouette, shift, silhouette.shape[::-1])
    return _blur(thrown, 0.04 * extent)


def _shading(silhouette: Floats, light: Floats, extent: float) -> Floats:
    """(h, w) factors: brighter where the rounded surface faces the light, darker at the far rim."""
    height = _blur(silhouette, 0.06 * extent + 0.5)
    toward = -(light[0] * cv2.Sobel(height, cv2.CV_32F, 1, 0) + light[1] * cv2.Sobel(height, cv2.CV_32F, 0, 1))
    return np.clip(0.8 + 0.3 * height + 0.35 * toward * (0.06 * extent + 0.5) / 2, 0.35, 1.6)


def _coat(thing: Thing, corner: Floats, size_hw: tuple[int, int], rng: np.random.Generator) -> Floats:
    """(h, w, 3) the body's colors: stripes, spots and mottle that turn and scale with the thing."""
    h, w = size_hw
    to_own = np.linalg.inv(thing.frame)
    x = np.arange(w, dtype=np.float32)[None] + 0.5 + corner[0] - thing.center[0]
    y = np.arange(h, dtype=np.float32)[:, None] + 0.5 + corner[1] - thing.center[1]
    along, across = to_own[0, 0] * x + to_own[0, 1] * y, to_own[1, 0] * x + to_own[1, 1] * y
    mottle = noise(rng, size_hw, 0.8, coarsest=4)
    turn = np.float32(2 * np.pi * thing.frequency / 2)
    waves = np.sin(turn * along + thing.phase + 0.8 * mottle)
    spots = waves * np.sin(turn * across + thing.phase)
    mix = thing.texture[0] * (waves > 0.2) + thing.texture[1] * (spots > 0.3) + 0.35 * thing.texture[2] * mottle
    mix = np.clip(mix, 0, 1) + 0.12 * mottle
    coat = thing.colors[0] + (thing.colors[1] - thing.colors[0]) * mix[..., None]
    belly = np.clip(across, -1, 1) * 0.1
    return (coat * (1 - belly[..., None])).astype(np.float32)


def _photograph(image: Floats, rng: np.random.Generator) -> Pixels:
    """What a camera makes of the scene: uneven light, a color cast, blur, exposure and noise."""
    size = len(image)
    lit = 1 + 0.18 * noise(rng, (size, size), 0.3, coarsest=2)
    image = image * lit[..., None] * np.float32(np.exp(rng.normal(0, 0.05, 3)))
    image = _blur(image, size / 128 * rng.uniform(0.2, 0.9))
    image = np.clip(image * np.float32(np.exp(rng.normal(0, 0.15))), 0, 1) ** np.float32(np.exp(rng.normal(0, 0.12)))
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.005, 0.03))
    return np.clip((image + grain) * 255 + 0.5, 0, 255).astype(np.uint8)


def _blur(image: Floats, sigma: float) -> Floats:
    return cv2.GaussianBlur(image, (0, 0), sigmaX=max(sigma, 0.1), borderType=cv2.BORDER_REFLECT_101)
