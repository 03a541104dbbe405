"""Objects before anything at all, in VOC's classes, with its uncertain borders."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image
from scipy import ndimage

from workbench.datasets.twins.drawing import Mask
from workbench.datasets.twins.scene import Colors, Scene, thing
from workbench.vocabulary import Vocabulary, load_table

_CLASSES: Final = 20
_BORDER: Final = 255
_REACH: Final = 0.008
"""Half the width of a border as a share of the picture's longer side: VOC's are about 5 pixels
wide in pictures of 500."""


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, Mask]:
    """One to three objects on a ground of patches that are no class."""
    scene = Scene(rng, size, _colors(), 0)
    side = min(size)
    for _ in range(10):  # patches of many colours: background is what is left, not a look
        x, y = float(rng.uniform(0, scene.width)), float(rng.uniform(0, scene.height))
        across, down = (side * rng.uniform(0.1, 0.4, 2)).tolist()
        red, green, blue = rng.integers(70, 190, 3).tolist()
        scene.ellipse(x, y, across, down, 0, color=(red, green, blue))
    for raw_id in rng.integers(1, _CLASSES + 1, int(rng.integers(1, 4))).tolist():
        radius = side * float(rng.uniform(0.12, 0.32))
        x = float(rng.uniform(0.15, 0.85)) * scene.width
        y = float(rng.uniform(0.15, 0.85)) * scene.height
        thing(scene, raw_id, x, y, radius)
    picture, mask = scene.finish()
    return picture, with_wide_border(mask, max(1, round(_REACH * max(size))))


def with_wide_border(mask: Mask, reach: int) -> Mask:
    """255 on both sides of every edge.

    Args:
        mask: (H, W) uint8.
        reach: Pixels of each side.
    """
    window = 2 * reach + 1
    edge = ndimage.maximum_filter(mask, window) != ndimage.minimum_filter(mask, window)
    return np.where(edge, np.uint8(_BORDER), mask)


@lru_cache(maxsize=1)
def _colors() -> Colors:
    official = Vocabulary.from_table(load_table("voc")).colors
    colors = np.full((256, 3), 224, np.uint8)
    colors[: len(official)] = official
    colors[0] = (128, 128, 120)  # black would be told from all objects by its lightness alone
    return colors
