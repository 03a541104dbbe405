"""Rows of the vocabulary for classes that are added or merged."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.vocabulary import Vocabulary, palette

ADDED: Final = "added"
"""Group of a class that was added by hand."""


def new_row(vocabulary: Vocabulary, name: str) -> dict[str, Any]:
    """What the vocabulary says about an added class."""
    return {
        "class_id": len(vocabulary),
        "name": name,
        "group": ADDED,
        "supercategory": "",
        "color": _free_color(vocabulary),
        "train_images": 0,
        "train_pixels": 0,
    }


def _free_color(vocabulary: Vocabulary) -> str:
    """The colour of the palette that is farthest from all in use."""
    spare = palette(2048)
    points = np.array([list(bytes.fromhex(color[1:])) for color in spare], dtype=np.float32)
    used = vocabulary.colors.astype(np.float32)
    apart = np.full(len(points), np.inf)
    for start in range(0, len(used), 1024):
        part = _squared_distances(points, used[start : start + 1024])
        apart = np.minimum(apart, part.min(axis=1))
    return spare[int(apart.argmax())]


def _squared_distances(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    return np.asarray(squares - 2 * one @ other.T, dtype=np.float32)


def with_row(table: pd.DataFrame, row: dict[str, Any]) -> pd.DataFrame:
    """The table with one row more; attributes the row lacks are empty."""
    columns = {}
    for column in table:
        values = table[column]
        numeric = pd.api.types.is_numeric_dtype(values)
        value = row.get(str(column), np.nan if numeric else "")
        columns[column] = [*values, value]
    return pd.DataFrame(columns)


def merged_row(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """What the vocabulary says about a class made of several: what they all share, and counts."""
    merged: dict[str, Any] = {}
    for column in rows:
        values = rows[column]
        if values.nunique(dropna=False) == 1:
            merged[str(column)] = values.iloc[0]
        else:
            merged[str(column)] = np.nan if pd.api.types.is_numeric_dtype(values) else ""
    leader = rows.iloc[int(rows["train_pixels"].to_numpy().argmax())]
    merged |= {"name": name, "group": leader["group"], "color": leader["color"]}
    merged["class_id"] = int(rows["class_id"].iloc[0])
    merged["train_images"] = int(rows["train_images"].max())
    merged["train_pixels"] = int(rows["train_pixels"].sum())
    return merged
