"""The outlines of ShapeWorld's things, as tables of the depth below the edge."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workbench.datasets.shapeworld_classes import SHAPES

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_CELLS: Final = 96  # table cells per unit length; the tables cover -1.5..1.5
_REACH: Final = 1.5


def _regular(corners: int, *, turn: float = 0.0, radius: float = 1.0) -> list[tuple[float, float]]:
    """Returns the corners of a regular polygon, the first at the top."""
    angles = [2 * math.pi * k / corners + turn for k in range(corners)]
    return [(radius * math.sin(a), -radius * math.cos(a)) for a in angles]


def _star() -> list[tuple[float, float]]:
    """Returns the ten corners of a five-pointed star."""
    outer, inner = _regular(5), _regular(5, turn=math.pi / 5, radius=0.45)
    return [corner for pair in zip(outer, inner, strict=True) for corner in pair]


_POLYGONS: Final[dict[str, list[tuple[float, float]]]] = {
    "triangle": _regular(3),
    "square": _regular(4, turn=math.pi / 4),
    "diamond": [(0.0, -1.0), (0.58, 0.0), (0.0, 1.0), (-0.58, 0.0)],
    "hexagon": _regular(6),
    "octagon": _regular(8, turn=math.pi / 8),
    "star": _star(),
    "arrow": [(0.0, -1.0), (0.82, -0.05), (0.34, -0.05), (0.34, 0.94), (-0.34, 0.94),
              (-0.34, -0.05), (-0.82, -0.05)],
    "hourglass": [(-0.74, -0.9), (0.74, -0.9), (0.16, 0.0), (0.74, 0.9), (-0.74, 0.9),
                  (-0.16, 0.0)],
}  # fmt: skip


def _inside_polygon(
    corners: Sequence[tuple[float, float]], x: FloatArray, y: FloatArray
) -> BoolArray:
    """Returns which points lie inside a polygon (even-odd rule)."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def _inside(shape: str, x: FloatArray, y: FloatArray) -> BoolArray:
    """Returns which points of the unit disc belong to a shape; y points down."""
    r = np.hypot(x, y)
    if shape in _POLYGONS:
        return _inside_polygon(_POLYGONS[shape], x, y)
    if shape == "circle":
        found = r < 0.93
    elif shape == "oval":
        found = np.hypot(x, y / 0.58) < 1.0
    elif shape == "ring":
        found = (r < 0.98) & (r > 0.46)
    elif shape == "crescent":
        found = (r < 1.0) & (np.hypot(x - 0.42, y) > 0.74)
    elif shape == "cross":
        found = ((abs(x) < 0.31) & (abs(y) < 0.93)) | ((abs(y) < 0.31) & (abs(x) < 0.93))
    elif shape == "flower":
        found = r < 0.74 + 0.26 * np.cos(5 * np.arctan2(x, -y))
    elif shape == "dome":
        found = (np.hypot(x, y - 0.45) < 0.98) & (y < 0.45)
    elif shape == "drop":
        width = 0.66 * np.sqrt(np.clip(1 - ((y - 0.32) / 0.66) ** 2, 0, None))
        cone = 0.62 * np.clip((y + 1.0) / 1.1, 0, None)
        found = abs(x) < np.where(y > 0.1, width, np.minimum(cone, 0.62))
    elif shape == "heart":
        a, b = x * 1.22, 0.28 - y * 1.18
        found = (a * a + b * b - 1) ** 3 - a * a * b**3 < 0
    else:
        raise KeyError(shape)
    return np.asarray(found)


@functools.cache
def shape_tables() -> tuple[FloatArray, FloatArray]:
    """Returns the distance table of every shape and the centre of its thickest part.

    Returns:
        (17, 289, 289) float32 depth inside the shape, 0 outside, in units of the radius, and
        (17, 2) float32 (u, v) of the deepest point.
    """
    axis = (np.arange(2 * int(_REACH * _CELLS) + 1) / _CELLS - _REACH).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    depths, centres = [], []
    for shape in SHAPES:
        inside = _inside(shape, x, y)
        depth = ndimage.distance_transform_edt(inside).astype(np.float32) / _CELLS
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        depths.append(depth)
        centres.append((axis[column], axis[row]))
    return np.stack(depths), np.array(centres, dtype=np.float32)


def depth_at(shape: int, u: FloatArray, v: FloatArray) -> FloatArray:
    """Looks a shape up at points of its own coordinates.

    Args:
        shape: Index into ``SHAPES``.
        u: (...) coordinates to the right, 1 is the shape's radius.
        v: (...) coordinates downwards.

    Returns:
        (...) float32 depth below the edge in units of the radius, 0 outside the shape.
    """
    # One pixel of slack in a window can leave the table for tiny things.
    row = np.clip((v + _REACH) * _CELLS + 0.5, 0, 2 * _REACH * _CELLS).astype(np.intp)
    column = np.clip((u + _REACH) * _CELLS + 0.5, 0, 2 * _REACH * _CELLS).astype(np.intp)
    return np.asarray(shape_tables()[0][shape][row, column])
