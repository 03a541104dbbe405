"""Bedrooms for LVIS + COCO-stuff: what two annotators say about the same room.

Each room has a blanket, which COCO-stuff always names and LVIS in every other room; most have a
cabinet, likewise. Not all that is drawn is annotated: of two paintings one is, shoes in some
rooms only. So a room shows what LVIS's lists of absent and of partly labelled classes are for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.datasets.twins.scene import Point, Scene

_FIRST: Final = 91  # stuff ids 92..183 are drawn as 1..92, things as 101 and more
_OTHER: Final = 183
_CEILING, _FLOOR, _WALL, _RUG = 102, 118, 173, 152
_CURTAIN, _WINDOW, _CABINET, _DESK, _BLANKET, _PILLOW = 109, 181, 98, 110, 93, 141

_LOOK: Final = np.full((256, 3), 128, np.uint8)
for _id, _color in {
    **{_CEILING: (226, 224, 214), _FLOOR: (158, 116, 76), _WALL: (196, 188, 164)},
    **{_RUG: (142, 70, 76), _CURTAIN: (88, 122, 104), _WINDOW: (170, 206, 230)},
    **{_CABINET: (112, 74, 50), _DESK: (176, 138, 88), _BLANKET: (70, 92, 168)},
    **{_PILLOW: (236, 232, 240)},
}.items():
    _LOOK[_id - _FIRST] = _color


class _Kind(NamedTuple):
    """A kind of thing: its place in the scene's colours, LVIS's id and whether COCO has it."""

    drawn: int
    raw_id: int
    in_coco: bool


_BED: Final = _Kind(101, 77, True)
_LAMP: Final = _Kind(102, 626, False)
_PAINTING: Final = _Kind(103, 748, False)
_SHOE: Final = _Kind(104, 948, False)
_TEDDY: Final = _Kind(105, 1071, True)
_CAT: Final = _Kind(106, 225, True)
_SLIPPER: Final = _Kind(107, 973, False)
_THINGS: Final = (_BED, _LAMP, _PAINTING, _SHOE, _TEDDY, _CAT, _SLIPPER)
_SHARED: Final = {_BLANKET: 110, _CABINET: 181}
"""Stuff that LVIS sometimes annotates too -> LVIS's id."""
for _kind, _color in zip(
    _THINGS,
    [
        *((104, 82, 66), (232, 200, 96), (190, 90, 120), (46, 42, 48), (172, 120, 62)),
        *((222, 138, 58), (214, 120, 150)),
    ],
    strict=True,
):
    _LOOK[_kind.drawn] = _color


class Room(NamedTuple):
    """One picture and what is annotated in it.

    Attributes:
        picture: RGB.
        stuff: (H, W) int64 raw ids of COCO-Stuff, 183 where COCO has things.
        things: (raw LVIS id, polygons (n, 2) of x and y) each; the first lies on top.
        absent: Raw LVIS ids verified to be absent.
        partial: Raw LVIS ids of which not everything is annotated.
    """

    picture: Image.Image
    stuff: npt.NDArray[np.int64]
    things: list[tuple[int, list[npt.NDArray[np.float64]]]]
    absent: list[int]
    partial: list[int]


def paint(rng: np.random.Generator, size: tuple[int, int], number: int) -> Room:
    """One room.

    Args:
        rng: Where all that is random comes from.
        size: Height and width in pixels.
        number: Of the picture; what LVIS annotates turns with it.
    """
    room = _Room(rng, size)
    shared = _draw_stuff(room, number)
    labels = room.scene.labels().astype(np.int64)
    stuff = np.where(labels < _BED.drawn, labels + _FIRST, _OTHER)
    partial = _draw_things(room, number)
    if number % 2 == 0:  # LVIS's annotator noted blanket and cabinet as well
        noted = [(_SHARED[raw_id], [_generous(corners)]) for raw_id, corners in shared]
        room.things[:0] = noted
    picture, drawn = room.scene.finish()
    stuff[np.isin(drawn, [kind.drawn for kind in _THINGS if kind.in_coco])] = _OTHER
    found = {raw_id for raw_id, _ in room.things}
    visible = set(np.unique(drawn).tolist())
    absent = [kind.raw_id for kind in _THINGS if kind.drawn not in visible]
    return Room(picture, stuff, room.things[::-1], absent[:2], sorted(found & set(partial)))


class _Room:
    """A scene, and the LVIS annotations of what was drawn so far, from back to front."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.scene = Scene(rng, size, _LOOK, _WALL - _FIRST)
        self.things: list[tuple[int, list[npt.NDArray[np.float64]]]] = []

    def stuff(self, corners: list[Point], raw_id: int) -> npt.NDArray[np.float64]:
        """Draws stuff; corners are shares of width and height. Returns them in pixels."""
        points = self._pixels(corners)
        self.scene.polygon([(x, y) for x, y in points.tolist()], raw_id - _FIRST)
        return points

    def thing(self, parts: list[list[Point]], kind: _Kind, *, annotated: bool = True) -> None:
        """Draws a thing in one or more parts, and notes it if LVIS's annotator does."""
        polygons = [self._pixels(part) for part in parts]
        for points in polygons:
            self.scene.polygon([(x, y) for x, y in points.tolist()], kind.drawn)
        if annotated:
            self.things.append((kind.raw_id, polygons))

    def _pixels(self, corners: list[Point]) -> npt.NDArray[np.float64]:
        size = (self.scene.width, self.scene.height)
        return np.asarray((np.array(corners).clip(0, 1) * size).round(2))


def _draw_stuff(room: _Room, number: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Walls, window, furniture, the bed and what lies on it; returns blanket and cabinet."""
    rng = room.scene.rng
    room.stuff(_box(0, 0, 1, float(rng.uniform(0.06, 0.14))), _CEILING)
    room.stuff(_box(0, float(rng.uniform(0.62, 0.7)), 1, 1), _FLOOR)
    left = float(rng.uniform(0.3, 0.5))
    room.stuff(_box(left, 0.2, left + 0.2, 0.45), _WINDOW)
    room.stuff(_box(left - 0.06, 0.17, left + 0.01, 0.62), _CURTAIN)
    room.stuff(_box(left + 0.19, 0.17, left + 0.26, 0.62), _CURTAIN)
    shared = []
    if number % 4 != 3:
        wide = float(rng.uniform(0.14, 0.2))
        corners = room.stuff(_box(0.02, 0.3, 0.02 + wide, 0.78), _CABINET)
        shared.append((_CABINET, corners))
    if number % 3 == 0:
        room.stuff(_box(0.8, 0.55, 0.99, 0.72), _DESK)
    if rng.random() < 0.6:
        room.stuff([(0.2, 0.9), (0.5, 0.86), (0.6, 0.98), (0.14, 0.99)], _RUG)
    x = float(rng.uniform(0.26, 0.36))
    room.thing([_box(x, 0.45, x + 0.44, 0.62), _box(x - 0.03, 0.84, x + 0.47, 0.92)], _BED)
    corners = room.stuff(
        [(x, 0.62), (x + 0.44, 0.62), (x + 0.47, 0.84), (x - 0.03, 0.84)], _BLANKET
    )
    shared.append((_BLANKET, corners))
    room.stuff(_box(x + 0.04, 0.54, x + 0.2, 0.65), _PILLOW)
    return shared


def _draw_things(room: _Room, number: int) -> list[int]:
    """What stands and lies about; returns the classes of which not all is annotated."""
    rng = room.scene.rng
    partial = []
    if number % 3 == 0:
        room.thing([[(0.86, 0.55), (0.94, 0.55), (0.91, 0.38), (0.89, 0.38)]], _LAMP)
    top = float(rng.uniform(0.16, 0.22))
    room.thing([_box(0.8, top, 0.88, top + 0.14)], _PAINTING)
    if number % 2:  # the second painting is only drawn
        room.thing([_box(0.91, top, 0.98, top + 0.14)], _PAINTING, annotated=False)
        partial.append(_PAINTING.raw_id)
    kind = (_TEDDY, _CAT, _TEDDY)[number % 3]
    x = float(rng.uniform(0.5, 0.62))
    room.thing([[(x, 0.6), (x + 0.05, 0.54), (x + 0.1, 0.6), (x + 0.08, 0.72), (x, 0.72)]], kind)
    foot = float(rng.uniform(0.06, 0.16))
    if number % 4 < 2:  # in every other of these rooms nobody looked for shoes
        room.thing([_box(foot, 0.88, foot + 0.08, 0.94)], _SHOE, annotated=number % 4 == 0)
    elif number % 4 == 2:
        room.thing([_box(foot, 0.88, foot + 0.07, 0.93)], _SLIPPER)
    return partial


def _generous(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A pixel larger on each side: an outline that covers what the other annotator painted."""
    return np.asarray((corners + np.sign(corners - corners.mean(axis=0))).clip(min=0))


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]
