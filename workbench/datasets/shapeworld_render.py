"""Draws one ShapeWorld scene: an RGB image and the exact label of every pixel.

Shapes are distance tables on a unit grid, sampled at a thing's rotated pixel coordinates, so
one gather gives the mask, the rim and the border. Backgrounds are crops of tone maps made
once. Edges are not blended: what the mask says is what was drawn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, spatial

from workbench.datasets.shapeworld_classes import (
    HUES,
    PALETTES,
    PATTERNS,
    SCALES,
    TEXTURES,
    Looks,
)
from workbench.datasets.shapeworld_shapes import depth_at, shape_tables

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

REFERENCE_SIZE: Final = 128
_ATTEMPTS: Final = 6
_LIGHT, _DARK = (248.0, 248.0, 244.0), (30.0, 30.0, 34.0)


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        labels: (S, S) int16: k < regions is the k-th stuff region, else thing k - regions.
        stuff: Stuff index of each region.
        things: Thing index of each kept thing, in drawing order.
    """

    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int16]
    stuff: tuple[int, ...]
    things: tuple[int, ...]


@dataclass(frozen=True)
class _Piece:
    """A placed thing: its window in the image, its mask and its own coordinates."""

    rows: slice
    columns: slice
    inside: BoolArray
    depth: FloatArray  # distance to the edge, 1 = the thing's radius
    u: FloatArray  # own coordinates, 1 = the thing's radius
    v: FloatArray
    radius: float  # pixels


@functools.cache
def tone_map(pattern: str, scale: str, *, tilted: bool, size: int) -> npt.NDArray[np.float32]:
    """Draws a background pattern once; scenes take random crops of it.

    Args:
        pattern: Pattern family.
        scale: "", "fine" or "coarse".
        tilted: Turned by 30 degrees.
        size: Side S of the scenes, in pixels.

    Returns:
        (3S, 3S) float32 tones: 0 is the palette's colour, 1 its second tone.
    """
    unit = size / REFERENCE_SIZE * {"": 1.0, "fine": 0.6, "coarse": 1.7}[scale]
    rng = np.random.default_rng([PATTERNS.index(pattern), SCALES.index(scale), size])
    side = 3 * size
    y, x = np.mgrid[0:side, 0:side] / unit
    if tilted:
        x, y = x * math.cos(0.52) - y * math.sin(0.52), x * math.sin(0.52) + y * math.cos(0.52)
        x, y = x + side, y + side
    if pattern == "brick":
        row = y // 11
        tone = np.where((y % 11 < 2) | ((x + 11 * (row % 2)) % 22 < 2), 1.0, 0.0)
    elif pattern == "tile":
        tone = np.where((y % 15 < 2) | (x % 15 < 2), 1.0, 0.0)
    elif pattern == "plank":
        shades = rng.uniform(0.0, 0.55, 4 * side)
        tone = np.where(y % 13 < 1.5, 1.0, shades[(y // 13).astype(int)])
    elif pattern == "wave":
        tone = 0.5 + 0.5 * np.sin(2 * np.pi * (y + 3.5 * np.sin(2 * np.pi * x / 30)) / 12)
    elif pattern == "zigzag":
        tone = np.where((y + abs(x % 20 - 10)) % 12 < 5, 1.0, 0.0)
    elif pattern == "hatch":
        tone = np.where((x + y) % 12 < 3.5, 1.0, 0.0)
    else:
        tone = _grainy_tones(pattern, unit, side, rng)
    return np.asarray(tone, dtype=np.float32)


def _grainy_tones(
    pattern: str, unit: float, side: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Returns the tones of the patterns that have no lattice."""
    if pattern == "cobble":
        count = max(4, int((side / (13 * unit)) ** 2))
        points = rng.uniform(0, side, (count, 2))
        y, x = np.mgrid[0:side, 0:side]
        near = np.asarray(spatial.KDTree(points).query(np.stack([y.ravel(), x.ravel()], 1), k=2)[0])
        return np.where((near[:, 1] - near[:, 0]).reshape(side, side) < 2.2 * unit, 1.0, 0.0)
    sigma = {"cloud": 11.0, "speckle": 1.3}[pattern] * unit
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
    noise /= noise.std()
    if pattern == "speckle":
        return np.where(noise > 0.9, 1.0, 0.0)
    return np.asarray(np.clip(0.5 + 0.45 * noise, 0, 1))


def _place(count: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Returns (count, 3) x, y, radius in pixels, large things first, overlapping little."""
    unit = size / REFERENCE_SIZE
    radii = np.sort(rng.triangular(12.0, 15.5, 22.0, count) * unit)[::-1]
    placed = np.empty((count, 3))
    for index, radius in enumerate(radii):
        margin = min(0.9 * radius, size / 2)
        spots = rng.uniform(margin, size - margin, (48, 2))
        if index:
            others = placed[:index]
            gaps = np.hypot(spots[:, :1] - others[:, 0], spots[:, 1:] - others[:, 1]) - 0.92 * (
                radius + others[:, 2]
            )
            room = gaps.min(axis=1)
            free = np.flatnonzero(room > 0)
            best = int(free[0]) if len(free) else int(room.argmax())
        else:
            best = 0
        placed[index] = (*spots[best], radius)
    return placed


def _cut(shape: int, spot: npt.NDArray[np.float64], angle: float, size: int) -> _Piece:
    """Rasterises a shape at a place; returns its window and coordinates."""
    x, y, radius = (float(value) for value in spot)
    top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
    bottom, right = min(size, math.ceil(y + radius) + 1), min(size, math.ceil(x + radius) + 1)
    dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None]
    dx = (np.arange(left, right, dtype=np.float32) - np.float32(x))[None, :]
    cos, sin = np.float32(math.cos(angle) / radius), np.float32(math.sin(angle) / radius)
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    depth = depth_at(shape, u, v)
    return _Piece(slice(top, bottom), slice(left, right), depth > 0, depth, u, v, radius)


def _accented(texture: str, piece: _Piece, period: float, phase: float, pixel: float) -> BoolArray:
    """Returns where a texture shows its second tone; lengths in pixels."""
    x, y = piece.u * piece.radius, piece.v * piece.radius
    if texture == "plain":
        found = np.zeros(x.shape, dtype=bool)
    elif texture == "striped":
        found = (y / period + phase) % 1.0 < 0.5
    elif texture == "checkered":
        half = 0.55 * period
        found = (np.floor(x / half + phase) + np.floor(y / half + phase)) % 2 == 0
    elif texture == "dotted":
        step = 1.02 * period
        dx, dy = (x / step + phase) % 1.0 - 0.5, (y / step + phase) % 1.0 - 0.5
        found = dx * dx + dy * dy < 0.075
    elif texture == "ringed":
        found = (np.hypot(x, y) / period + 0.25) % 1.0 < 0.5
    elif texture == "rimmed":
        # In thin shapes the rim must leave some of the hue to see.
        width = min(3.2 * pixel, 0.5 * float(piece.depth.max()) * piece.radius)
        found = piece.depth * piece.radius < width
    else:
        raise KeyError(texture)
    return np.asarray(found)


@functools.cache
def _tones() -> tuple[FloatArray, FloatArray]:
    """Returns (12, 3) hue colours and the colours their textures are drawn with."""
    hues = np.array(list(HUES.values()), dtype=np.float32)
    bright = hues @ np.array([0.299, 0.587, 0.114], dtype=np.float32) > 118
    return hues, np.where(bright[:, None], _DARK, _LIGHT).astype(np.float32)


def _paint(
    canvas: FloatArray, piece: _Piece, look: Sequence[int], rng: np.random.Generator
) -> None:
    """Paints one thing onto the canvas."""
    shape, hue, texture, second, border, mark = look
    hues, accents = _tones()
    pixel = canvas.shape[0] / REFERENCE_SIZE
    random = rng.random(2)
    period = (7.0 + 1.4 * random[0]) * pixel
    gain = rng.uniform(0.88, 1.1)
    jitter = rng.normal(0.0, 6.0, 3)
    main = (hues[hue] * gain + jitter).astype(np.float32)
    accent = hues[second - 1] if second else accents[hue]
    accent = (accent * min(gain, 1.0) + jitter).astype(np.float32)
    where = _accented(TEXTURES[texture], piece, period, float(random[1]), pixel)
    colors = np.where(where[..., None], accent, main)
    if mark:
        centre = shape_tables()[1][shape]
        spot = np.hypot(piece.u - centre[0], piece.v - centre[1]) < 0.27
        colors[spot] = hues[mark - 1]
    if border:
        colors[piece.depth * piece.radius < 2.4 * pixel] = hues[border - 1]
    canvas[piece.rows, piece.columns][piece.inside] = colors[piece.inside]


def _regions(count: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Returns the (S, S) stuff region of every pixel: one, or two split by a wavy line."""
    if count == 1:
        return np.zeros((size, size), dtype=np.int16)
    angle, shift, phase = rng.uniform(0, 2 * math.pi), rng.uniform(-0.18, 0.18), rng.uniform(0, 6.3)
    swing, waves = rng.uniform(0, 0.06), rng.uniform(0.6, 1.8)
    axis = np.arange(size, dtype=np.float32) / size - 0.5
    along = axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle)
    across = axis[:, None] * math.cos(angle) - axis[None, :] * math.sin(angle)
    line = shift + swing * np.sin(2 * math.pi * waves * across + phase)
    return (along > line).astype(np.int16)


def _backdrop(look: Sequence[int], size: int, rng: np.random.Generator) -> FloatArray:
    """Returns an (S, S, 3) background of one stuff class."""
    pattern, palette, second, scale, tilt = look
    colors = np.array(list(PALETTES.values()), dtype=np.float32)
    base = colors[palette] * rng.uniform(0.95, 1.05) + rng.normal(0, 3, 3)
    shade = base * 0.74 if base.mean() > 128 else base * 1.25 + 22
    other = colors[second - 1] if second else shade
    tones = tone_map(PATTERNS[pattern], SCALES[scale], tilted=bool(tilt), size=size)
    top, left = rng.integers(0, 2 * size, 2)
    tone = tones[top : top + size, left : left + size, None]
    return np.asarray(base + tone * (other - base), dtype=np.float32)


def least_visible(size: int) -> int:
    """Returns how many pixels of a thing must stay visible at this image size."""
    return max(8, round(60 * (size / REFERENCE_SIZE) ** 2))


def _arrange(
    looks: Looks, things: Sequence[int], ground: npt.NDArray[np.int16], regions: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[_Piece], npt.NDArray[np.int16]]:  # fmt: skip
    """Places things until all are visible; gives up on the hidden ones in the end.

    Returns:
        The kept things in drawing order, their pieces, and the labels.
    """
    size = ground.shape[0]
    chosen = list(things)
    pieces: list[_Piece] = []
    labels = ground
    for attempt in range(_ATTEMPTS + len(chosen) + 1):
        if attempt < _ATTEMPTS or not pieces:
            chosen = [things[i] for i in rng.permutation(len(things))]
            spots = _place(len(chosen), size, rng)
            angles = rng.uniform(-0.4, 0.4, len(chosen))
            pieces = [
                _cut(int(looks.things[thing, 0]), spot, float(angle), size)
                for thing, spot, angle in zip(chosen, spots, angles, strict=True)
            ]
        labels = ground.copy()
        for index, piece in enumerate(pieces):
            labels[piece.rows, piece.columns][piece.inside] = regions + index
        visible = np.bincount(labels.ravel(), minlength=regions + len(pieces))[regions:]
        keep = visible >= least_visible(size)
        if keep.all():
            break
        if attempt >= _ATTEMPTS - 1:
            chosen = [thing for thing, ok in zip(chosen, keep, strict=True) if ok]
            pieces = [piece for piece, ok in zip(pieces, keep, strict=True) if ok]
    return chosen, pieces, labels


def draw_scene(
    looks: Looks, things: Sequence[int], stuff: Sequence[int], size: int, rng: np.random.Generator
) -> Scene:
    """Draws a scene.

    Args:
        looks: The factors of all classes.
        things: Indices into ``looks.things`` of the things to show.
        stuff: One or two indices into ``looks.stuff``.
        size: Side S in pixels.
        rng: Source of all randomness of this scene.

    Returns:
        The image and its labels. Every listed thing is visible with at least
        ``least_visible(size)`` pixels; one that found no room is left out.
    """
    ground = _regions(len(stuff), size, rng)
    chosen, pieces, labels = _arrange(looks, things, ground, len(stuff), rng)
    canvas = _backdrop(looks.stuff[stuff[0]].tolist(), size, rng)
    if len(stuff) > 1:
        other = _backdrop(looks.stuff[stuff[1]].tolist(), size, rng)
        canvas = np.where((ground == 1)[..., None], other, canvas)
    for thing, piece in zip(chosen, pieces, strict=True):
        _paint(canvas, piece, looks.things[thing].tolist(), rng)
    slope = rng.uniform(-0.09, 0.09, 2).astype(np.float32)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    light = np.float32(rng.uniform(0.94, 1.05)) + slope[0] * axis[:, None] + slope[1] * axis
    canvas *= light[..., None]
    canvas += rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(4.0)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    return Scene(image, labels, tuple(stuff), tuple(chosen))
