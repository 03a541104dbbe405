"""Landscapes in COCO-Stuff's classes: stuff without a shape, and things before it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image

from workbench.datasets.twins.drawing import Mask
from workbench.datasets.twins.scene import Scene, thing

_SKIES: Final = {157: (150, 182, 212), 106: (206, 212, 220)}  # sky-other, clouds
_MIDDLES: Final = {
    **{169: (74, 104, 52), 135: (116, 108, 118), 96: (158, 122, 104)},  # tree, mountain, building
    **{128: (186, 152, 120), 127: (120, 136, 78)},  # house, hill
}
_GROUNDS: Final = {
    **{124: (104, 146, 70), 149: (98, 98, 102), 154: (212, 192, 146)},  # grass, road, sand
    **{155: (62, 104, 140), 159: (232, 236, 240), 111: (132, 100, 72)},  # sea, snow, dirt
}
_PATCHES: Final = {97: (52, 84, 44), 150: (138, 132, 124), 94: (96, 78, 60)}  # bush, rock, branch
_THINGS: Final = (1, 3, 16, 18, 2, 9, 38, 20, 28, 62, 19, 42, 6, 22, 34, 53)
"""Raw ids, the most frequent first: person, car, bird, dog, bicycle, boat, kite, sheep, ..."""
_UNLABELED: Final = 0

_LOOK: Final = np.full((256, 3), 128, np.uint8)
"""What things look like, (256, 3) by raw id."""
for _id, _color in {**_SKIES, **_MIDDLES, **_GROUNDS, **_PATCHES}.items():
    _LOOK[_id] = _color
for _place, _id in enumerate(_THINGS):
    _angle = 2 * math.pi * _place * 0.381966  # the golden section: neighbours differ in hue
    _LOOK[_id] = [round(132 + 100 * math.cos(_angle - turn)) for turn in (0.0, 2.1, 4.2)]


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, Mask]:
    """Sky, a middle and a ground with wavy edges; patches of stuff; two to five small things."""
    sky = _pick(rng, _SKIES)
    scene = Scene(rng, size, _LOOK, sky)
    _below(scene, scene.height * float(rng.uniform(0.2, 0.4)), _pick(rng, _MIDDLES))
    _below(scene, scene.height * float(rng.uniform(0.5, 0.7)), _pick(rng, _GROUNDS))
    for _ in range(int(rng.integers(0, 3))):
        _blob(scene, float(rng.uniform(0.1, 0.2)), _pick(rng, _PATCHES))
    if rng.random() < 0.4:
        _blob(scene, float(rng.uniform(0.05, 0.1)), _UNLABELED)
    shares = 1 / np.arange(1, len(_THINGS) + 1)
    shares /= shares.sum()
    for raw_id in rng.choice(_THINGS, int(rng.integers(2, 6)), p=shares).tolist():
        radius = min(size) * float(rng.uniform(0.05, 0.13))
        x, y = rng.uniform(0.06, 0.94), rng.uniform(0.3, 0.92)
        thing(scene, raw_id, float(x) * scene.width, float(y) * scene.height, radius)
    return scene.finish()


def _pick(rng: np.random.Generator, kinds: dict[int, tuple[int, int, int]]) -> int:
    """One of them, the first the most often."""
    shares = 1 / np.arange(1, len(kinds) + 1)
    return int(rng.choice(list(kinds), p=shares / shares.sum()))


def _below(scene: Scene, height: float, raw_id: int) -> None:
    """Fills all below a wavy line."""
    x = np.linspace(0, scene.width, 24)
    y = np.full(len(x), height)
    for waves in (1, 2, 5):
        turn = scene.rng.uniform(0, 2 * math.pi)
        swing = scene.height * scene.rng.uniform(0.01, 0.06) / waves
        y += swing * np.sin(2 * math.pi * waves * x / scene.width + turn)
    line = list(zip(x.tolist(), y.tolist(), strict=True))
    scene.polygon([*line, (scene.width, scene.height), (0, scene.height)], raw_id)


def _blob(scene: Scene, share: float, raw_id: int) -> None:
    """A region without a shape of its own, somewhere in the lower part."""
    x, y = scene.width * scene.rng.uniform(0, 1), scene.height * scene.rng.uniform(0.4, 0.9)
    radius = min(scene.width, scene.height) * share
    angle = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    reach = radius * scene.rng.uniform(0.6, 1.4, len(angle))
    corners = (x + 1.5 * reach * np.cos(angle), y + reach * np.sin(angle))
    scene.polygon(list(zip(*(axis.tolist() for axis in corners), strict=True)), raw_id)
