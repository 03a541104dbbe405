"""Generated content of the twins: textured rectangles whose colour says their class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Mask = npt.NDArray[np.uint8]


def rectangles(
    rng: np.random.Generator, size: tuple[int, int], background: int, ids: tuple[int, ...]
) -> Mask:
    """One id everywhere and a rectangle of each of the others, (H, W) uint8."""
    height, width = size
    mask = np.full(size, background, dtype=np.uint8)
    for value in ids:
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        tall, wide = int(rng.integers(8, height // 2)), int(rng.integers(8, width // 2))
        mask[top : top + tall, left : left + wide] = value
    return mask


def with_border(mask: Mask) -> Mask:
    """255 where a pixel's right or lower neighbour is of another id."""
    bordered = mask.copy()
    bordered[:, :-1][mask[:, :-1] != mask[:, 1:]] = 255
    bordered[:-1][mask[:-1] != mask[1:]] = 255
    return bordered


def picture(
    rng: np.random.Generator, mask: npt.NDArray[np.integer], colors: npt.NDArray[np.uint8]
) -> Image.Image:
    """Each id in its colour, with noise."""
    noise = rng.integers(-20, 21, size=(*mask.shape, 1))
    return Image.fromarray((colors[mask] + noise).clip(0, 255).astype(np.uint8))
