"""A canvas for the twins that draw scenes: shapes go into picture and mask at once.

Rectangles show that every step runs; scenes have what a lesson needs besides: thin and small
things, soft edges, classes of every frequency. A class is told by its colour, its fine
stripes and its shape; the light changes from picture to picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from workbench.datasets.twins.drawing import Mask

Painter = Callable[[np.random.Generator, tuple[int, int]], tuple[Image.Image, Mask]]
"""(generator, (height, width)) -> picture and mask of raw ids (H, W) uint8."""

Colors = npt.NDArray[np.uint8]
Point = tuple[float, float]

_BLUR: Final = 0.7  # pixels; edges of a photo are soft too
_SHADE: Final = 18  # an instance's colour may differ so much from its class's
_STRIPES: Final = 14.0  # their contrast


class Scene:
    """One picture and its mask, drawn from back to front.

    Attributes:
        rng: Where all that is random comes from.
        height: Pixels.
        width: Pixels.
    """

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], colors: Colors, background: int
    ) -> None:
        """Starts with one class everywhere.

        Args:
            rng: Where all that is random comes from.
            size: Height and width in pixels.
            colors: (256, 3) uint8, by raw id.
            background: Raw id.
        """
        self.rng = rng
        self.height, self.width = size
        self._colors = colors
        self._mask = Image.new("L", (self.width, self.height), background)
        self._picture = Image.new("RGB", (self.width, self.height), self._tint(background))
        self._brushes = (ImageDraw.Draw(self._mask), ImageDraw.Draw(self._picture))

    def labels(self) -> Mask:
        """The mask of what was drawn so far, (H, W) uint8."""
        return np.array(self._mask)

    def polygon(self, corners: Sequence[Point], raw_id: int) -> None:
        """Fills a polygon; corners are (x, y) in pixels."""
        for brush, fill in self._filled(raw_id):
            brush.polygon(list(corners), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, raw_id: int) -> None:
        """Fills a rectangle, at least one pixel wide and high."""
        place = (left, top, max(left, right - 1), max(top, bottom - 1))
        for brush, fill in self._filled(raw_id):
            brush.rectangle(place, fill=fill)

    def ellipse(
        self,
        x: float,
        y: float,
        across: float,
        down: float,
        raw_id: int,
        *,
        color: tuple[int, int, int] | None = None,
    ) -> None:
        """Fills an ellipse about (x, y) with the given radii, in its class's colour if None."""
        place = (x - across, y - down, x + across, y + down)
        for brush, fill in self._filled(raw_id, color):
            brush.ellipse(place, fill=fill)

    def finish(self) -> tuple[Image.Image, Mask]:
        """Adds stripes, softness, light and noise.

        Returns:
            RGB picture and mask of raw ids (H, W) uint8.
        """
        mask = np.array(self._mask)
        pixels = np.asarray(self._picture, dtype=np.float32)
        pixels = pixels + stripes(mask)[:, :, None]
        pixels = ndimage.gaussian_filter(pixels, (_BLUR, _BLUR, 0))
        light = self.rng.uniform(0.75, 1.15) * self.rng.uniform(0.95, 1.05, 3)
        noise = self.rng.normal(0, 6, (*mask.shape, 1))
        pixels = np.asarray(pixels * light + noise).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels), mask

    def _filled(
        self, raw_id: int, color: tuple[int, int, int] | None = None
    ) -> list[tuple[ImageDraw.ImageDraw, int | tuple[int, int, int]]]:
        """What to draw with, on the mask and on the picture."""
        on_mask, on_picture = self._brushes
        return [(on_mask, raw_id), (on_picture, color or self._tint(raw_id))]

    def _tint(self, raw_id: int) -> tuple[int, int, int]:
        shade = self.rng.integers(-_SHADE, _SHADE + 1, 3)
        red, green, blue = (self._colors[raw_id] + shade).clip(0, 255).tolist()
        return red, green, blue


def stripes(mask: Mask) -> npt.NDArray[np.float32]:
    """Light and dark stripes whose direction and width say the class, (H, W) float32."""
    ids = np.arange(256)
    angle = (ids * 2.399963) % math.pi  # the golden angle: neighbours in id differ
    period = 3.0 + ids * 5 % 7
    wave = 2 * math.pi / period
    across = (wave * np.cos(angle)).astype(np.float32)[mask]
    down = (wave * np.sin(angle)).astype(np.float32)[mask]
    y, x = np.indices(mask.shape, dtype=np.float32)
    return np.asarray(_STRIPES * np.sin(across * x + down * y), dtype=np.float32)


def star(x: float, y: float, radius: float, points: int, inner: float, turn: float) -> list[Point]:
    """Corners of a star; a regular polygon where ``inner`` is 1.

    Args:
        x: Centre.
        y: Centre.
        radius: Of the points.
        points: Their number.
        inner: Radius between the points as a share of ``radius``.
        turn: Angle in radians; at 0 a point is at the top.
    """
    steps = 2 * points if inner < 1 else points
    corners = []
    for step in range(steps):
        angle = turn + 2 * math.pi * step / steps
        length = radius * (inner if inner < 1 and step % 2 else 1.0)
        corners.append((x + length * math.sin(angle), y - length * math.cos(angle)))
    return corners


SHAPES: Final = ((3, 1.0), (4, 1.0), (24, 1.0), (5, 0.45), (4, 0.4), (6, 1.0), (8, 0.7))
"""(points, inner) of the shapes that classes have in turn."""


def thing(scene: Scene, raw_id: int, x: float, y: float, radius: float) -> None:
    """Draws a thing in the shape of its class."""
    points, inner = SHAPES[raw_id % len(SHAPES)]
    turn = float(scene.rng.uniform(-0.35, 0.35))
    scene.polygon(star(x, y, radius, points, inner, turn), raw_id)
