"""What the Vocabulary page shows, as pure functions; no Streamlit, all tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:  # torch takes seconds to load: only where something was edited
    from workbench.inference.vocabulary_edits import Edit, Lookup

MOST_MARKS: Final = 200
MOST_PIXELS: Final = 20_000
"""Pixels of one class that are looked at: more hardly move a mean."""

Ids = npt.NDArray[np.int64]


class Mark(NamedTuple):
    """A pixel (both corners the same) or a box, corners included, from the top left.

    Attributes:
        x0: Left column.
        y0: Top row.
        x1: Right column.
        y1: Bottom row.
    """

    x0: int
    y0: int
    x1: int
    y1: int


def read_marks(value: object, picture: str, width: int, height: int) -> list[Mark] | None:
    """Reads what the browser sent; None if it is about another picture or makes no sense.

    Args:
        value: ``{"picture": ..., "marks": [[x, y] or [x0, y0, x1, y1], ...]}``, or anything.
        picture: The picture in view.
        width: Of the picture.
        height: Of the picture.
    """
    if not isinstance(value, Mapping) or value.get("picture") != picture:
        return None
    sent = value.get("marks")
    if not isinstance(sent, Sequence) or isinstance(sent, str) or len(sent) > MOST_MARKS:
        return None
    marks: dict[Mark, None] = {}
    for one in sent:
        if not isinstance(one, Sequence) or isinstance(one, str) or len(one) not in (2, 4):
            return None
        if not all(type(number) in (int, float) and number == number for number in one):
            return None
        # Clipped before the conversion: infinity is no int.
        xs = sorted(int(max(0, min(width - 1, x))) for x in (one[0], one[-2]))
        ys = sorted(int(max(0, min(height - 1, y))) for y in (one[1], one[-1]))
        marks[Mark(xs[0], ys[0], xs[1], ys[1])] = None
    return list(marks)


def mask_of(marks: Sequence[Mark], width: int, height: int) -> npt.NDArray[np.bool_]:
    """(H, W): the pixels that are marked, each once."""
    mask = np.zeros((height, width), dtype=bool)
    for mark in marks:
        mask[mark.y0 : mark.y1 + 1, mark.x0 : mark.x1 + 1] = True
    return mask


def thinned(mask: npt.NDArray[np.bool_], most: int = MOST_PIXELS) -> npt.NDArray[np.bool_]:
    """The mask with at most so many pixels, evenly taken."""
    found = np.flatnonzero(mask)
    if len(found) <= most:
        return mask
    kept = np.zeros(mask.size, dtype=bool)
    kept[found[np.linspace(0, len(found) - 1, most).round().astype(np.int64)]] = True
    return kept.reshape(mask.shape)


def describe_marks(marks: Sequence[Mark], width: int, height: int) -> str:
    """Marks in words: "3 pixels and 1 box, 423 pixels in all"."""
    points = sum(mark.x0 == mark.x1 and mark.y0 == mark.y1 for mark in marks)
    boxes = len(marks) - points
    parts = [f"{points} pixel{'s' * (points != 1)}"] if points else []
    parts += [f"{boxes} box{'es' * (boxes != 1)}"] if boxes else []
    total = int(mask_of(marks, width, height).sum())
    return " and ".join(parts) + (f", {total:,} pixels in all" if boxes else "")


def moved(before: Ids, after: Ids, lookup: Lookup) -> pd.DataFrame:
    """Where two label maps disagree, once the old ids are read as new ones.

    Args:
        before: (H, W) ids of the old classes.
        after: (H, W) ids of the new classes.
        lookup: New id of each old class, negative = none.

    Returns:
        One row per pair of classes, most pixels first: before, after, pixels.
    """
    from workbench.inference.vocabulary_edits import remap

    differs = remap(before, lookup) != after
    pairs = pd.DataFrame({"before": before[differs], "after": after[differs]})
    counted = pairs.groupby(["before", "after"]).size().rename("pixels").reset_index()
    return counted.sort_values(
        ["pixels", "before", "after"], ascending=[False, True, True], ignore_index=True
    ).astype(np.int64)


def side(pairs: pd.DataFrame, column: str, labels: Ids, limit: int = 8) -> pd.DataFrame:
    """Pixels lost (``before``) or won (``after``) by each class.

    Args:
        pairs: From ``moved``.
        column: "before" or "after".
        labels: The label map that the column is about.
        limit: Most rows.

    Returns:
        class_id, pixels, share (of its pixels in ``labels``), most pixels first.
    """
    sums = pairs.groupby(column)["pixels"].sum()
    rows = sums.sort_values(ascending=False, kind="stable").head(limit)
    total = np.bincount(labels[labels >= 0], minlength=int(labels.max(initial=0)) + 1)
    ids = rows.index.to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {
            "class_id": ids,
            "pixels": rows.to_numpy(dtype=np.int64),
            "share": rows.to_numpy(dtype=np.float64) / np.maximum(1, total[ids]),
        }
    )


def present(labels: Ids, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The classes of a label map for the browser, most pixels first: id, name, color, share."""
    counts = np.bincount(labels[(labels >= 0) & (labels < len(table))], minlength=len(table))
    ids = np.flatnonzero(counts)
    ids = ids[np.argsort(-counts[ids], kind="stable")]
    names, colors = table["name"].to_numpy()[ids], table["color"].to_numpy()[ids]
    shares = counts[ids] / max(1, labels.size)
    return [
        {"id": int(one), "name": str(name), "color": str(color), "share": float(share)}
        for one, name, color, share in zip(ids, names, colors, shares, strict=True)
    ]


def find_pictures(ids: Sequence[str], text: str) -> list[str]:
    """Pictures whose id holds the text, whatever its case."""
    wanted = text.strip().lower()
    return [one for one in ids if wanted in one.lower()] if wanted else list(ids)


def edit_text(edit: Edit) -> str:
    """An edit in words; names in it are untrusted."""
    from workbench.inference.vocabulary_edits import Add, Load, Merge, Rename

    if isinstance(edit, Add):
        count = len(edit.embeddings)
        return f"Added {edit.name}, from {count:,} pixel{'s' * (count != 1)}"
    if isinstance(edit, Rename):
        return f"Renamed class {edit.class_id} to {edit.name}"
    if isinstance(edit, Merge):
        return f"Merged {len(edit.class_ids):,} classes into {edit.name}"
    if isinstance(edit, Load):
        return f"Took the {len(edit.classes):,} classes of a file"
    count = len(edit.class_ids)
    return f"Kept {count:,} class{'es' * (count != 1)}, left the others out"
