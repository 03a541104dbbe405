"""Rooms and landscapes in ADE20K's classes, whose frequencies fall as steeply as there."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.datasets.twins.drawing import Mask
from workbench.datasets.twins.scene import Colors, Scene, thing
from workbench.vocabulary import Vocabulary, load_table

_WALL, _BUILDING, _SKY, _FLOOR, _TREE, _CEILING, _ROAD = range(1, 8)
_GRASS, _EARTH, _MOUNTAIN, _WATER = 10, 14, 17, 22
_STUFF: Final = (*range(1, 8), _GRASS, _EARTH, _MOUNTAIN, _WATER)
_CLASSES: Final = 150


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, Mask]:
    """Bands of stuff, before them four to seven things, sometimes one that is no class."""
    if rng.random() < 0.5:
        bands = (_CEILING, _WALL, _FLOOR)
    else:
        middle = int(rng.choice((_BUILDING, _TREE, _MOUNTAIN), p=(0.5, 0.35, 0.15)))
        below = int(rng.choice((_ROAD, _GRASS, _EARTH, _WATER), p=(0.4, 0.3, 0.2, 0.1)))
        bands = (_SKY, middle, below)
    scene = Scene(rng, size, _colors(), bands[0])
    top = scene.height * float(rng.uniform(0.15, 0.35))
    bottom = scene.height * float(rng.uniform(0.55, 0.75))
    scene.box(0, top, scene.width, bottom, bands[1])
    scene.box(0, bottom, scene.width, scene.height, bands[2])
    side = min(size)
    things = rng.choice(_CLASSES + 1, int(rng.integers(4, 8)), p=_shares()).tolist()
    if rng.random() < 0.3:
        things.append(0)
    for raw_id in things:
        x, y = rng.uniform(0.08, 0.92, 2)
        radius = side * float(rng.uniform(0.08, 0.2))
        thing(scene, raw_id, float(x) * scene.width, float(y) * scene.height, radius)
    return scene.finish()


@lru_cache(maxsize=1)
def _shares() -> npt.NDArray[np.float64]:
    """How often each raw id is a thing, (151,): one over its rank, stuff and "other" never."""
    shares = np.zeros(_CLASSES + 1)
    shares[1:] = 1 / np.arange(1, _CLASSES + 1)
    shares[list(_STUFF)] = 0
    return np.asarray(shares / shares.sum())


@lru_cache(maxsize=1)
def _colors() -> Colors:
    official = Vocabulary.from_table(load_table("ade20k")).colors
    colors = np.zeros((256, 3), np.uint8)
    colors[1 : len(official) + 1] = official
    return colors
