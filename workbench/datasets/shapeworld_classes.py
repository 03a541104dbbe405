"""The classes of ShapeWorld: what each one looks like, is called and how often it occurs.

A class explains itself. Things are *shape x hue x texture* ("teal striped star"); stuff are
background *patterns in a palette* ("pale blue brick"), pale or dark so that no background
passes for a thing. 17 x 12 x 6 combinations carry LVIS's 1203 things, 9 x 9 carry the 81
stuff classes. For more classes further factors join in (a second hue, a border, a mark on
the thing; a second palette, a scale, a tilt on the stuff), for fewer some drop out.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.errors import ConfigError

IntArray = npt.NDArray[np.int64]
Color = tuple[int, int, int]

# The order matters for small class counts: a prefix of each list is well spread.
SHAPES: Final = (
    "triangle", "circle", "cross", "square", "star", "heart", "ring", "arrow", "crescent",
    "diamond", "flower", "hourglass", "oval", "hexagon", "drop", "dome", "octagon",
)  # fmt: skip
HUES: Final[dict[str, Color]] = {
    "red": (222, 28, 32),
    "blue": (34, 66, 224),
    "yellow": (250, 222, 20),
    "green": (18, 138, 44),
    "purple": (122, 38, 178),
    "orange": (250, 128, 10),
    "cyan": (40, 208, 240),
    "magenta": (242, 62, 196),
    "brown": (128, 70, 18),
    "lime": (150, 226, 30),
    "black": (24, 24, 28),
    "teal": (0, 138, 136),
}
TEXTURES: Final = ("plain", "striped", "checkered", "dotted", "rimmed", "ringed")
PATTERNS: Final = (
    "brick", "cloud", "wave", "tile", "speckle", "zigzag", "plank", "cobble", "hatch",
)  # fmt: skip
PALETTES: Final[dict[str, Color]] = {
    "pale blue": (182, 202, 228),
    "dark green": (56, 78, 60),
    "pale pink": (232, 196, 200),
    "sand": (226, 212, 172),
    "dark blue": (54, 64, 96),
    "pale green": (186, 214, 182),
    "dark brown": (88, 68, 58),
    "pale grey": (210, 210, 208),
    "lilac": (208, 194, 228),
}
SCALES: Final = ("", "fine", "coarse")
TILTS: Final = ("", "tilted")

REFERENCE_CLASSES: Final = 1284
FIRST_STUFF_ID: Final = 92  # as in COCO-Stuff
_STUFF_SHARE: Final = 81 / REFERENCE_CLASSES
_GROUP_SHARES: Final = {"rare": 337 / 1203, "common": 461 / 1203, "frequent": 405 / 1203}


@dataclass(frozen=True)
class Looks:
    """The factors of all classes as plain arrays, which is what the renderer reads.

    Attributes:
        things: (T, 6) int64: shape, hue, texture, second hue, border hue, mark hue. The last
            three are 0 for "none", else 1 + the hue's index.
        stuff: (S, 5) int64: pattern, palette, second palette (0 none, else 1 + index), scale,
            tilt.
    """

    things: IntArray
    stuff: IntArray

    def __len__(self) -> int:
        """Returns the number of classes, things and stuff."""
        return len(self.things) + len(self.stuff)


def _grow(sizes: Sequence[int], count: int) -> tuple[int, ...]:
    """Returns how many levels of each factor are used so that their product reaches count."""
    used = [1] * len(sizes)
    while int(np.prod(used)) < count:
        open_factors = [i for i, (n, top) in enumerate(zip(used, sizes, strict=True)) if n < top]
        if not open_factors:
            break
        used[min(open_factors, key=lambda i: used[i] / sizes[i])] += 1
    return tuple(used)


def _grid(sizes: Sequence[int]) -> IntArray:
    """Returns all combinations of factor levels, one a row, the first factor slowest."""
    return np.indices(tuple(sizes)).reshape(len(sizes), -1).T.astype(np.int64)


def _valid_things(rows: IntArray) -> npt.NDArray[np.bool_]:
    """Returns which rows can be told apart by eye: an extra hue must differ and show."""
    hue, texture, second, border, mark = rows[:, 1:].T
    valid = (second != hue + 1) & (border != hue + 1) & (mark != hue + 1)
    valid &= (second == 0) | (texture != TEXTURES.index("plain"))
    valid &= (second == 0) | ((second != mark) & (second != border))
    return np.asarray(valid & ((border == 0) | (border != mark)))


def _valid_stuff(rows: IntArray) -> npt.NDArray[np.bool_]:
    """Returns which rows can be told apart by eye: clouds have no tilt, tones must differ."""
    pattern, palette, second, _, tilt = rows.T
    grainy = np.isin(pattern, [PATTERNS.index(p) for p in ("cloud", "speckle", "cobble")])
    return np.asarray((second != palette + 1) & ((tilt == 0) | ~grainy))


def _combine(
    base: Sequence[int], extra: Sequence[int], count: int, rng: np.random.Generator, *, stuff: bool
) -> IntArray:
    """Returns ``count`` distinct factor rows, the plainest first, or all there are if fewer."""
    variants = sorted(
        itertools.product(*(range(n) for n in extra)),
        key=lambda v: (sum(level > 0 for level in v), v),
    )
    grid = _grid(_grow(base, count))
    parts: list[IntArray] = []
    missing = count
    for variant in variants:
        rows = np.hstack([grid, np.tile(np.array(variant, dtype=np.int64), (len(grid), 1))])
        rows = rows[_valid_stuff(rows) if stuff else _valid_things(rows)]
        if len(rows) > missing:
            rows = rows[np.sort(rng.permutation(len(rows))[:missing])]
        parts.append(rows)
        missing -= len(rows)
        if missing == 0:
            break
    return np.concatenate(parts)


def class_looks(classes: int, seed: int = 0) -> Looks:
    """Chooses the factors of every class.

    Args:
        classes: Number of classes C, at least 4.
        seed: Decides which combinations are left out where there are more than needed.

    Returns:
        The factors; train ids run over ``things`` first, then over ``stuff``.

    Raises:
        ConfigError: If C is below 4 or beyond all combinations (over a million).
    """
    if classes < 4:
        raise ConfigError(f"classes: {classes} is too few for ShapeWorld; use at least 4.")
    rng = np.random.default_rng([seed, 11])
    wanted = max(2, round(classes * _STUFF_SHARE))
    stuff = _combine(
        (len(PATTERNS), len(PALETTES)),
        (1 + len(PALETTES), len(SCALES), len(TILTS)),
        wanted,
        rng,
        stuff=True,
    )
    hues = 1 + len(HUES)
    count = classes - len(stuff)
    things = _combine(
        (len(SHAPES), len(HUES), len(TEXTURES)), (hues, hues, hues), count, rng, stuff=False
    )
    if len(things) < count:
        most = len(things) + len(stuff)
        raise ConfigError(f"classes: ShapeWorld has {most} looks; {classes} is too many.")
    return Looks(things=things, stuff=stuff)


def class_groups(things: int, seed: int = 0) -> npt.NDArray[np.str_]:
    """Deals the frequency groups of LVIS (337 : 461 : 405) to the things.

    Args:
        things: Number of thing classes T.
        seed: Decides who is rare, independently of how a class looks.

    Returns:
        (T,) array of "rare", "common" or "frequent".
    """
    exact = {group: share * things for group, share in _GROUP_SHARES.items()}
    counts = {group: int(value) for group, value in exact.items()}
    # Largest remainder; on a tie the frequent group first, so that it is never empty.
    order = sorted(exact, key=lambda g: (counts[g] - exact[g], -exact[g], g))
    if counts["frequent"] == 0:
        order.sort(key=lambda g: g != "frequent")
    for group in order[: things - sum(counts.values())]:
        counts[group] += 1
    dealt = np.repeat(list(counts), list(counts.values()))
    return dealt[np.random.default_rng([seed, 12]).permutation(things)]


def _thing_words(row: Sequence[int]) -> tuple[str, str, str, str]:
    """Returns name, shape, hue and texture of a thing."""
    hues = list(HUES)
    shape, hue, texture = SHAPES[row[0]], hues[row[1]], TEXTURES[row[2]]
    if row[3]:
        texture = f"{hues[row[3] - 1]}-{texture}"
    name = f"{hue} {shape}" if texture == "plain" else f"{hue} {texture} {shape}"
    extras = [
        f"{hues[level - 1]} {what}"
        for level, what in ((row[4], "border"), (row[5], "mark"))
        if level
    ]
    if extras:
        name = f"{name} with {' and '.join(extras)}"
        texture = ", ".join([texture, *extras])
    return name, shape, hue, texture


def _stuff_words(row: Sequence[int]) -> tuple[str, str, str]:
    """Returns name, palette and pattern of a stuff class."""
    palettes = list(PALETTES)
    palette = palettes[row[1]]
    if row[2]:
        palette = f"{palette} and {palettes[row[2] - 1]}"
    pattern = " ".join(w for w in (TILTS[row[4]], SCALES[row[3]], PATTERNS[row[0]]) if w)
    return f"{palette} {pattern}", palette, pattern


def _map_color(base: Color, turn: float, lift: float) -> str:
    """Returns the class's colour on maps: its own colour, nudged so that classes differ."""
    hue, light, saturation = colorsys.rgb_to_hls(*(c / 255 for c in base))
    light = min(0.93, max(0.07, light + lift))
    rgb = colorsys.hls_to_rgb((hue + turn) % 1.0, light, saturation)
    return "#" + "".join(f"{round(c * 255):02x}" for c in rgb)


def class_table(classes: int = REFERENCE_CLASSES, seed: int = 0) -> pd.DataFrame:
    """Lists every class with its attributes, index 0..C-1 in the order of train ids.

    Args:
        classes: Number of classes C.
        seed: The seed given to ``write_shapeworld``.

    Returns:
        Frame with columns class_id, source (lvis | stuff), raw_id, name, group, supercategory
        (the shape, or the pattern family of stuff), shape ("background" for stuff), hue,
        texture and color.

    Raises:
        ConfigError: If so many or so few classes cannot be made.
    """
    looks = class_looks(classes, seed)
    groups = class_groups(len(looks.things), seed)
    hues, palettes = list(HUES.values()), list(PALETTES.values())
    rows: list[tuple[str, int, str, str, str, str, str, str, str]] = []
    for index, look in enumerate(looks.things.tolist()):
        name, shape, hue, texture = _thing_words(look)
        color = _map_color(
            hues[look[1]], (look[0] - 8) / 17 * 0.035, (look[2] - 2.5) * 0.028 + look[0] * 0.001
        )
        rows.append(
            ("lvis", index + 1, name, str(groups[index]), shape, shape, hue, texture, color)
        )
    for index, look in enumerate(looks.stuff.tolist()):
        name, palette, pattern = _stuff_words(look)
        family = PATTERNS[look[0]]
        color = _map_color(palettes[look[1]], (look[0] - 4) / 9 * 0.03, (look[0] - 4) * 0.012)
        rows.append(
            (
                "stuff",
                index + FIRST_STUFF_ID,
                name,
                "stuff",
                family,
                "background",
                palette,
                pattern,
                color,
            )
        )
    columns = ["source", "raw_id", "name", "group", "supercategory", "shape", "hue", "texture"]
    table = pd.DataFrame(rows, columns=[*columns, "color"])
    table.insert(0, "class_id", np.arange(len(table), dtype=np.int64))
    return table
