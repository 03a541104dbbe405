"""Streets in Cityscapes' classes, with what is hard there: poles, signs, far pedestrians."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from workbench.datasets.twins.drawing import Mask
from workbench.datasets.twins.scene import Scene

_EGO, _STATIC, _ROAD, _SIDEWALK, _BUILDING, _WALL, _FENCE = 1, 4, 7, 8, 11, 12, 13
_POLE, _LIGHT, _SIGN, _VEGETATION, _TERRAIN, _SKY = 17, 19, 20, 21, 22, 23
_PERSON, _RIDER, _CAR, _TRUCK, _BUS, _TRAIN, _MOTORCYCLE, _BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33

_LOOK: Final = np.full((256, 3), 128, np.uint8)
"""What things look like, (256, 3) by raw id: not the colours that masks are drawn in."""
for _id, _color in {
    **{_EGO: (50, 55, 65), _STATIC: (120, 95, 75), _ROAD: (92, 92, 98), _SIDEWALK: (168, 158, 150)},
    **{_BUILDING: (128, 108, 96), _WALL: (150, 146, 134), _FENCE: (104, 84, 62)},
    **{_POLE: (84, 88, 94), _LIGHT: (60, 66, 44), _SIGN: (226, 206, 70)},
    **{_VEGETATION: (70, 104, 48), _TERRAIN: (132, 150, 84), _SKY: (150, 182, 212)},
    **{_PERSON: (176, 92, 78), _RIDER: (196, 60, 96), _CAR: (58, 74, 140), _TRUCK: (84, 128, 130)},
    **{_BUS: (206, 120, 56), _TRAIN: (110, 70, 130), _MOTORCYCLE: (40, 36, 48)},
    **{_BICYCLE: (96, 34, 52)},
}.items():
    _LOOK[_id] = _color

_VEHICLES: Final = ((_CAR, 0.62), (_TRUCK, 0.12), (_BUS, 0.12), (_TRAIN, 0.14))
"""Raw id and its share."""


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, Mask]:
    """One street; sizes shrink towards the horizon as they do in a photo."""
    scene = Scene(rng, size, _LOOK, _SKY)
    horizon = scene.height * float(rng.uniform(0.42, 0.5))
    middle = scene.width * float(rng.uniform(0.4, 0.6))
    _far(scene, horizon, middle)
    _ground(scene, horizon, middle)
    _kerb(scene, horizon)
    for depth in np.sort(rng.uniform(0.08, 0.8, int(rng.integers(2, 6)))).tolist():
        _vehicle(scene, horizon, middle, depth)
    for depth in np.sort(rng.uniform(0.1, 0.7, int(rng.integers(2, 7)))).tolist():
        _walker(scene, horizon, middle, depth)
    for depth in np.sort(rng.uniform(0.1, 0.6, int(rng.integers(3, 7)))).tolist():
        _post(scene, horizon, middle, depth)
    scene.ellipse(scene.width / 2, scene.height * 1.03, scene.width * 0.4, scene.height * 0.1, _EGO)
    return scene.finish()


def _far(scene: Scene, horizon: float, middle: float) -> None:
    """Houses on both sides, trees between and before them."""
    rng = scene.rng
    for side in (-1, 1):
        x = 0.0 if side < 0 else float(scene.width)
        while side * (x - middle) > scene.width * 0.08:
            wide = scene.width * float(rng.uniform(0.08, 0.2))
            tall = scene.height * float(rng.uniform(0.15, 0.42)) * (abs(x - middle) / scene.width)
            left, right = sorted((x, x - side * wide))
            scene.box(left, horizon - 2 * tall, right, horizon + scene.height * 0.1, _BUILDING)
            x -= side * wide
    for _ in range(int(rng.integers(2, 6))):
        x = float(rng.uniform(0, scene.width))
        radius = scene.height * float(rng.uniform(0.05, 0.14))
        scene.ellipse(x, horizon - radius * 0.8, radius * 1.3, radius, _VEGETATION)


def _ground(scene: Scene, horizon: float, middle: float) -> None:
    """Pavement left and right of the road, here and there grass."""
    width, height = scene.width, scene.height
    scene.box(0, horizon, width, height, _SIDEWALK)
    if scene.rng.random() < 0.4:
        edge = (0, 0.25) if scene.rng.random() < 0.5 else (0.75, 1)
        scene.box(width * edge[0], horizon, width * edge[1], horizon + height * 0.18, _TERRAIN)
    near = width * scene.rng.uniform(0.3, 0.42, 2)
    far = width * 0.03
    road = [(middle - far, horizon), (middle + far, horizon)]
    scene.polygon([*road, (middle + near[1], height), (middle - near[0], height)], _ROAD)


def _kerb(scene: Scene, horizon: float) -> None:
    """A fence or a low wall along one side, and something without a class."""
    rng = scene.rng
    if rng.random() < 0.6:
        raw_id = _FENCE if rng.random() < 0.5 else _WALL
        left = 0.0 if rng.random() < 0.5 else scene.width * 0.7
        top, bottom = horizon - scene.height * 0.02, horizon + scene.height * 0.08
        scene.box(left, top, left + scene.width * 0.3, bottom, raw_id)
    if rng.random() < 0.5:
        x, y = scene.width * float(rng.uniform(0, 1)), horizon + scene.height * 0.1
        scene.box(x, y, x + scene.width * 0.03, y + scene.height * 0.05, _STATIC)


def _vehicle(scene: Scene, horizon: float, middle: float, depth: float) -> None:
    """On the road; ``depth`` is 0 at the horizon and 1 at the lower edge."""
    rng = scene.rng
    ids, shares = zip(*_VEHICLES, strict=True)
    raw_id = int(rng.choice(ids, p=shares))
    size = scene.height * (0.05 + 0.3 * depth)
    ground = horizon + (scene.height - horizon) * depth
    x = middle + scene.width * float(rng.uniform(-0.3, 0.3)) * depth
    if raw_id == _CAR:
        scene.box(x - size * 0.8, ground - size * 0.55, x + size * 0.8, ground, raw_id)
        roof = [(x - size * 0.5, ground - size), (x + size * 0.5, ground - size)]
        foot = [(x + size * 0.75, ground - size * 0.5), (x - size * 0.75, ground - size * 0.5)]
        scene.polygon([*roof, *foot], raw_id)
        return
    tall, wide = {_TRUCK: (1.7, 0.8), _BUS: (1.6, 1.1), _TRAIN: (1.5, 1.9)}[raw_id]
    scene.box(x - size * wide, ground - size * tall, x + size * wide, ground, raw_id)


def _walker(scene: Scene, horizon: float, middle: float, depth: float) -> None:
    """A person on the pavement, or a rider on two wheels."""
    rng = scene.rng
    tall = scene.height * (0.06 + 0.3 * depth)
    ground = horizon + (scene.height - horizon) * depth
    side = -1 if rng.random() < 0.5 else 1
    x = middle + side * scene.width * float(rng.uniform(0.08, 0.45))
    if rng.random() < 0.65:
        scene.ellipse(x, ground - tall * 0.42, tall * 0.15, tall * 0.42, _PERSON)
        scene.ellipse(x, ground - tall * 0.9, tall * 0.1, tall * 0.1, _PERSON)
        return
    raw_id = _BICYCLE if rng.random() < 0.6 else _MOTORCYCLE
    for wheel in (-0.32, 0.32):
        scene.ellipse(x + wheel * tall, ground - tall * 0.2, tall * 0.2, tall * 0.2, raw_id)
    scene.box(x - tall * 0.3, ground - tall * 0.35, x + tall * 0.3, ground - tall * 0.22, raw_id)
    scene.ellipse(x, ground - tall * 0.65, tall * 0.13, tall * 0.33, _RIDER)


def _post(scene: Scene, horizon: float, middle: float, depth: float) -> None:
    """A pole, most with a light or a sign on it."""
    rng = scene.rng
    thick = max(1.0, scene.height * (0.006 + 0.012 * depth))
    ground = horizon + (scene.height - horizon) * depth
    tall = scene.height * (0.2 + 0.55 * depth)
    side = -1 if rng.random() < 0.5 else 1
    x = middle + side * scene.width * float(rng.uniform(0.1, 0.48))
    top = ground - tall
    scene.box(x, top, x + thick, ground, _POLE)
    kind = rng.random()
    size = scene.height * (0.014 + 0.04 * depth)
    if kind < 0.4:
        scene.box(x - size * 0.6, top, x + size * 0.6 + thick, top + size * 3, _LIGHT)
    elif kind < 0.8:
        scene.ellipse(x + thick / 2, top + size, size * 1.4, size * 1.4, _SIGN)
