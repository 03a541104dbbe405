"""Class ids, names, groups and colours: one table per dataset, and raw id -> train id.

Every layer speaks *train ids* 0..C-1. What a dataset's files hold instead ("raw ids") is
written down once, in a table ``workbench/data/<key>.csv`` or in the ``mapping.csv`` of a
data root, and applied through one lookup array.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.constants import IGNORE_INDEX
from workbench.errors import DataError, first_line

DATA_FOLDER: Final = Path(__file__).parent / "data"
REQUIRED_COLUMNS: Final = (
    "class_id",
    "name",
    "group",
    "supercategory",
    "color",
    "train_images",
    "train_pixels",
)
MAX_RAW_ID: Final = 2**24 - 1
"""Largest raw id in a table: 24 bits, as in the colours of COCO's panoptic masks. The lookup
array has an entry for each id below it, 128 MiB at most."""
_INTEGER_COLUMNS: Final = ("class_id", "train_images", "train_pixels")
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")


class Vocabulary:
    """The classes of one dataset, in the order of their train ids.

    Args:
        table: One row per class; row ``i`` describes train id ``i``. Columns
            ``class_id`` (int), ``name``, ``group`` ("rare", "common", "frequent", "stuff"
            or "all"), ``supercategory``, ``color`` ("#rrggbb"), ``train_images`` and
            ``train_pixels`` (0 where unknown). Further columns are attributes of the
            class, for instance ``hue``, and are kept.

    Examples:
        >>> table = load_table("lvis_coco").query("source == 'lvis'")
        >>> vocabulary = Vocabulary.from_table(table)
        >>> len(vocabulary), vocabulary.names[1202]
        (1203, 'zucchini')

    Raises:
        DataError: A column is missing, ids are not 0..C-1 in order, a name is empty, a
            colour is not "#rrggbb" or a count is negative.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.table: pd.DataFrame = _validated(table)

    def __len__(self) -> int:
        """Number of classes C."""
        return len(self.table)

    def __repr__(self) -> str:
        """Class count and the first names."""
        return f"Vocabulary({len(self)} classes: {', '.join(self.names[:3])}, ...)"

    @property
    def names(self) -> list[str]:
        """Class names, index = train id."""
        return [str(name) for name in self.table["name"]]

    @property
    def groups(self) -> list[str]:
        """Frequency group of each class, index = train id."""
        return [str(group) for group in self.table["group"]]

    @property
    def colors(self) -> npt.NDArray[np.uint8]:
        """Colours as an array (C, 3) uint8 RGB."""
        joined = bytes.fromhex("".join(str(color)[1:] for color in self.table["color"]))
        return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 3).copy()

    def with_counts(self, train_images: npt.ArrayLike, train_pixels: npt.ArrayLike) -> Vocabulary:
        """The same classes with new counts from a train split.

        Args:
            train_images: (C,) number of training images that hold the class.
            train_pixels: (C,) number of training pixels of the class.
        """
        table = self.table.copy()
        table["train_images"] = np.asarray(train_images, dtype=np.int64)
        table["train_pixels"] = np.asarray(train_pixels, dtype=np.int64)
        return Vocabulary(table)

    def to_parquet(self, path: Path | str) -> None:
        """Writes the table, atomically."""
        from workbench.runs.atomic import write_parquet  # runs imports this module

        write_parquet(Path(path), self.table)

    @classmethod
    def from_parquet(cls, path: Path | str) -> Vocabulary:
        """Reads what ``to_parquet`` wrote.

        Raises:
            DataError: The file is missing, unreadable or not a vocabulary.
        """
        from workbench.runs.readers import check_table_size  # runs imports this module

        try:
            check_table_size(Path(path))
            table = pd.read_parquet(path)
        except Exception as error:  # pyarrow raises a different class for every kind of damage
            raise DataError(f"{path}: not a readable vocabulary ({first_line(error)})") from error
        try:
            return cls(table)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Vocabulary:
        """Makes the vocabulary of a raw id table (see ``read_table``).

        Several raw ids may share a train id; the first row gives its name. Columns that
        the table lacks are filled: group "all", colours from ``palette``, counts 0.

        Raises:
            DataError: The train ids are not exactly 0..C-1.
        """
        rows = table[table["train_id"].notna()].copy()
        rows["class_id"] = rows["train_id"].astype(np.int64)
        rows = rows.drop_duplicates("class_id").sort_values("class_id", ignore_index=True)
        for column, default in (("group", "all"), ("supercategory", "")):
            if column not in rows:
                rows[column] = default
        rows["group"] = [group or "all" for group in rows["group"]]
        colors = [str(color) for color in rows["color"]] if "color" in rows else [""] * len(rows)
        if not all(colors):
            spare = palette(len(rows))
            colors = [color or spare[index] for index, color in enumerate(colors)]
        rows["color"] = colors
        rows["train_images"] = 0
        rows["train_pixels"] = 0
        dropped = {"source", "raw_id", "train_id"}
        attributes = [name for name in rows if name not in dropped | set(REQUIRED_COLUMNS)]
        return cls(rows[[*REQUIRED_COLUMNS, *attributes]])


def load_table(key: str) -> pd.DataFrame:
    """Reads a shipped class table, ``workbench/data/<key>.csv``.

    Args:
        key: File name without suffix; "-" and "_" are the same.

    Returns:
        One row per raw id; see ``read_table``.

    Raises:
        DataError: No such table is shipped.
    """
    path = DATA_FOLDER / f"{key.replace('-', '_')}.csv"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in DATA_FOLDER.glob("*.csv")))
        raise DataError(f"no class table named {key!r} is shipped; known: {known}")
    return read_table(path)


def read_table(path: Path | str, *, number: bool = False) -> pd.DataFrame:
    """Reads and checks a table raw id -> train id.

    Args:
        path: CSV with a header. Needs ``raw_id``, ``train_id`` (empty = ignored) and
            ``name``; may have ``source`` (where one table serves several files),
            ``group``, ``supercategory``, ``color`` and further attributes.
        number: Where ``train_id`` is missing, number the rows from 0; where ``raw_id`` is
            missing too, it is the same number.

    Returns:
        ``raw_id`` int64, ``train_id`` Int64 (NA = ignored), all else str ("" = unknown).

    Raises:
        DataError: A column is missing, a row is longer than the header, an id is not a whole
            number or too large, a raw id is listed twice, or the train ids have a gap.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable class table ({first_line(error)})") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first field for a label
        raise DataError(
            f"{path}: the rows have more fields than the header; put names with a comma in quotes"
        )
    header = ",".join(table.columns)
    if number and "train_id" not in table:
        rows = [str(row) for row in range(len(table))]
        table["train_id"] = rows
        if "raw_id" not in table:
            table["raw_id"] = rows
    for column in ("raw_id", "train_id", "name"):
        if column not in table:
            raise DataError(
                f"{path}: the column {column!r} is missing from the header {header[:80]!r}; add "
                "it, and separate columns by commas"
            )
    raw = _whole_numbers(table["raw_id"], path, "raw_id", blank_allowed=False)
    train = _whole_numbers(table["train_id"], path, "train_id", blank_allowed=True)
    table["raw_id"] = raw.astype(np.int64)
    table["train_id"] = train
    keys = ["source", "raw_id"] if "source" in table else ["raw_id"]
    twice = table.duplicated(keys)
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise DataError(f"{path} line {row + 2}: raw_id {raw.iloc[row]} is listed twice")
    used = np.unique(train.dropna().to_numpy(dtype=np.int64))
    if len(used) == 0:
        raise DataError(f"{path}: no row has a train_id, so there is no class; fill the column")
    if used[-1] != len(used) - 1:
        gap = int(np.flatnonzero(used != np.arange(len(used)))[0])
        raise DataError(f"{path}: train_id {gap} is missing; number the classes 0..C-1")
    return table


def raw_to_train(
    table: pd.DataFrame, size: int | None = None, *, unlisted: int = IGNORE_INDEX
) -> npt.NDArray[np.int64]:
    """The lookup array that turns raw ids into train ids in one step: ``lookup[mask]``.

    One array, applied once: remapping ids one after another in place sends an id that is
    both a source and a target to the wrong class.

    Args:
        table: What ``load_table`` or ``read_table`` returned, one source only.
        size: Length of the array; default is the largest raw id + 1.
        unlisted: Entry for raw ids the table does not list. Rows without a train id are
            always IGNORE_INDEX.

    Returns:
        (size,) int64.

    Raises:
        DataError: A raw id is negative or does not fit in ``size``.

    Examples:
        >>> lookup = raw_to_train(load_table("ade20k"))  # 0 is "other", and ignored
        >>> lookup[np.array([[0, 1], [2, 150]])]
        array([[-100,    0],
               [   1,  149]])
    """
    raw = table["raw_id"].to_numpy(dtype=np.int64)
    length = (int(raw.max()) + 1 if len(raw) else 0) if size is None else size
    if len(raw) and (raw.min() < 0 or raw.max() >= length):
        raise DataError(f"raw_id {raw.min()}..{raw.max()} does not fit a lookup of {length} ids")
    lookup = np.full(length, unlisted, dtype=np.int64)
    lookup[raw] = table["train_id"].fillna(IGNORE_INDEX).to_numpy(dtype=np.int64)
    return lookup


def palette(count: int) -> list[str]:
    """Colours that are far from one another, the same on every call.

    Each next colour is the one farthest, in the perceptual space OKLab (Ottosson 2020),
    from all before it; so ``palette(n)`` begins every longer palette. Very dark and very
    light colours are left out: they vanish on a black or white page. Beyond about two
    thousand colours the eye is lost anyway, and a fixed shuffle of all colours follows.

    Args:
        count: Number of colours.

    Returns:
        ``count`` strings "#rrggbb", distinct up to 250,000 or so and then repeated.

    Examples:
        >>> len(set(palette(1284))), palette(1284)[:9] == palette(9)
        (1284, True)
    """
    spread = _spread_colors()
    if count <= len(spread):
        return list(spread[:count])
    taken = set(spread)
    colors = [*spread, *(color for color in _all_colors() if color not in taken)]
    return (colors * -(-count // len(colors)))[:count]


def oklab(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Converts sRGB 0..1 (N, 3) to OKLab (N, 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: npt.NDArray[np.float64] = np.cbrt(linear @ to_cones.T) @ to_lab.T
    return lab


def _candidates(levels: int) -> npt.NDArray[np.uint8]:
    """An even grid over RGB without its dark and light ends, (N, 3) uint8."""
    steps = np.linspace(0, 255, levels).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = oklab(grid / 255.0)[:, 0]
    kept: npt.NDArray[np.uint8] = grid[(lightness > 0.35) & (lightness < 0.93)]
    return kept


def _hex(colors: npt.NDArray[np.uint8]) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors.tolist()]


@lru_cache(maxsize=1)
def _spread_colors() -> tuple[str, ...]:
    """Greedy farthest-point order over a coarse grid, first 2048."""
    grid = _candidates(18)
    points = oklab(grid / 255.0)
    points[:, 1:] *= 2.0  # hue and chroma tell classes apart better than lightness does
    distance = np.full(len(points), np.inf)
    # The grid colour nearest to a middle blue; then farthest-first.
    chosen = [int(np.abs(grid.astype(np.int64) - np.array([31, 119, 180])).sum(axis=1).argmin())]
    while len(chosen) < min(2048, len(points)):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return tuple(_hex(grid[chosen]))


@lru_cache(maxsize=1)
def _all_colors() -> tuple[str, ...]:
    """A fine grid in an order fixed by a seed."""
    grid = _candidates(68)
    return tuple(_hex(grid[np.random.default_rng(0).permutation(len(grid))]))


def _validated(table: pd.DataFrame) -> pd.DataFrame:
    """Checks and normalises a vocabulary table; see ``Vocabulary``."""
    missing = [column for column in REQUIRED_COLUMNS if column not in table]
    if missing:
        raise DataError(f"the vocabulary lacks the column {missing[0]!r}; add it")
    table = table.reset_index(drop=True).copy()
    if len(table) == 0:
        raise DataError("the vocabulary has no class; add at least one row")
    for column in _INTEGER_COLUMNS:
        try:
            table[column] = table[column].astype(np.int64)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"vocabulary column {column!r} holds something else than whole numbers; correct it"
            ) from error
        if (table[column] < 0).any():
            raise DataError(f"vocabulary column {column!r} has a negative value; correct it")
    if not np.array_equal(table["class_id"].to_numpy(), np.arange(len(table))):
        raise DataError("vocabulary column 'class_id' must be 0..C-1 in order; sort and renumber")
    for column in ("name", "group", "supercategory", "color"):
        table[column] = table[column].astype(str)
    _check_rows(table["name"], [name.strip() == "" for name in table["name"]], "is empty")
    bad = [_COLOR.fullmatch(color) is None for color in table["color"]]
    _check_rows(table["color"], bad, 'is not of the form "#rrggbb"')
    return table


def _check_rows(column: pd.Series[str], bad: Sequence[bool], complaint: str) -> None:
    if any(bad):
        row = list(bad).index(True)
        raise DataError(f"vocabulary class {row}: {column.name} {column[row]!r} {complaint}")


def _whole_numbers(
    column: pd.Series[str], path: Path | str, name: str, *, blank_allowed: bool
) -> pd.Series[int]:
    """Parses strings as non-negative Int64; blanks become NA where allowed."""
    text = [value.strip() for value in column]
    for row, value in enumerate(text):
        if not (value.isascii() and value.isdigit()) and not (blank_allowed and value == ""):
            raise DataError(
                f"{path} line {row + 2}: {name} {value!r} is not a whole number; correct it"
            )
        if len(value) > 9 or int(value or 0) > MAX_RAW_ID:
            raise DataError(
                f"{path} line {row + 2}: {name} {value} is over {MAX_RAW_ID}; use smaller ids"
            )
    numbers = [int(value) if value else None for value in text]
    parsed: pd.Series[int] = pd.Series(numbers, dtype="Int64", index=column.index)
    return parsed
