"""Pure functions from run tables to what a page shows; no Streamlit, all tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.class_search import matching_classes
from workbench.evaluation import failures
from workbench.runs import PER_CLASS_COLUMNS

BEST_FIRST: Final = "Best first"
WORST_FIRST: Final = "Worst first"
BY_NAME: Final = "By name"
ORDERS: Final = (WORST_FIRST, BEST_FIRST, BY_NAME)

REASONS: Final = {code: reason.words for code, reason in failures.REASONS.items()}
"""Reason codes of the evaluation in words; an unknown code is shown with spaces."""

_FORMULA_SIGNS: Final = ("=", "+", "-", "@")  # what a spreadsheet runs begins so
_BASE_COLUMNS = frozenset(
    (*PER_CLASS_COLUMNS, "color", "swallowed_by", "description")
) - {"group", "supercategory"}  # fmt: skip
_MOST_VALUES = 64  # an attribute with more is an identifier, not a category


def selected_ids(event: Mapping[str, Any] | None) -> list[int]:
    """Class ids in a plotly selection, in its order, each once.

    Args:
        event: What ``st.plotly_chart(on_select=...)`` returns; points carry the class id as
            ``customdata`` (a number, or a list that starts with it), helper traces carry none.
    """
    points = ((event or {}).get("selection") or {}).get("points") or []
    found: dict[int, None] = {}
    for point in points:
        value = point.get("customdata")
        if isinstance(value, Mapping):  # a typed array arrives as {"0": id}
            value = list(value.values())
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[0] if value else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[int(value)] = None
    return list(found)


def selected_row(event: Mapping[str, Any] | None, table: pd.DataFrame, column: str) -> object:
    """The value of a column in the row picked in ``st.dataframe``; None without one.

    A row is picked by its check box or, where cells can be selected, by any of its cells.
    """
    selection = (event or {}).get("selection") or {}
    cells = selection.get("cells") or []
    rows = selection.get("rows") or [cell[0] for cell in cells]
    if not rows or not 0 <= rows[0] < len(table):
        return None
    return table[column].iloc[rows[0]]


def selected_class(event: Mapping[str, Any] | None, table: pd.DataFrame) -> int | None:
    """The id of the class picked in ``st.dataframe``, as Python counts; None without one."""
    picked = selected_row(event, table, "class_id")
    return None if picked is None else int(str(picked))


def filter_classes(
    table: pd.DataFrame,
    *,
    text: str = "",
    groups: Sequence[str] = (),
    supercategories: Sequence[str] = (),
    reasons: Sequence[str] = (),
) -> pd.DataFrame:
    """Rows that meet all filters; an empty filter lets everything through."""
    keep = matching_classes(table, text)
    for column, wanted in (
        ("group", groups),
        ("supercategory", supercategories),
        ("reason", reasons),
    ):
        if wanted:
            keep &= table[column].astype(str).isin(list(wanted))
    return table[keep]


def labels(table: pd.DataFrame) -> dict[int, str]:
    """A text for each class id to pick it by: the name, with the id where names repeat."""
    twice = table["name"].duplicated(keep=False)
    return {
        int(class_id): f"{name} ({class_id})" if repeated else str(name)
        for class_id, name, repeated in zip(table["class_id"], table["name"], twice, strict=True)
    }


def reason_text(code: object) -> str:
    """A reason code in words; "" for a class that does well."""
    text = "" if code is None or code != code else str(code)
    return REASONS.get(text, text.replace("_", " "))


def attributes(table: pd.DataFrame) -> list[str]:
    """Columns to colour by beside IoU and frequency: group, supercategory, shape, hue, ..."""
    found = []
    for name in table:
        if name in _BASE_COLUMNS or pd.api.types.is_numeric_dtype(table[name]):
            continue
        values = table[name].dropna().astype(str)
        if 2 <= values[values != ""].nunique() <= _MOST_VALUES:
            found.append(str(name))
    return sorted(found, key=lambda name: (name != "group", name != "supercategory"))


def has_train_counts(table: pd.DataFrame) -> bool:
    """Whether training images were counted at all; a vocabulary without counts has zeros."""
    return bool((table["train_images"] > 0).any())


def group_scores(per_class: pd.DataFrame) -> pd.DataFrame:
    """Mean IoU of each group over its classes present in truth.

    Returns:
        Columns group, miou (NaN where none is present), classes (present in truth), of which
        the known groups come first, rare to frequent.
    """
    order = ["rare", "common", "frequent", "stuff"]
    rows = []
    for group, part in per_class.groupby("group", sort=False):
        present = part[part["truth_pixels"] > 0]
        rows.append((str(group), present["iou"].mean(), len(present)))
    rows.sort(key=lambda row: (order.index(row[0]) if row[0] in order else len(order), row[0]))
    return pd.DataFrame(rows, columns=["group", "miou", "classes"])


def taken_for(confusions: pd.DataFrame, class_id: int, limit: int = 8) -> pd.DataFrame:
    """Which other classes the pixels of a class are given.

    Returns:
        Columns class_id, pixels, share (of the class's labelled pixels), largest first.
    """
    return _largest(confusions, "truth", "predicted", class_id, limit)


def taken_as(confusions: pd.DataFrame, class_id: int, limit: int = 8) -> pd.DataFrame:
    """Which other classes' pixels are given this class.

    Returns:
        Columns class_id, pixels, share (of all pixels given this class), largest first.
    """
    return _largest(confusions, "predicted", "truth", class_id, limit)


def _largest(
    confusions: pd.DataFrame, own: str, other: str, class_id: int, limit: int
) -> pd.DataFrame:
    rows = np.flatnonzero(confusions[own].to_numpy() == class_id)
    ids = confusions[other].to_numpy(dtype=np.int64)[rows]
    pixels = confusions["pixels"].to_numpy(dtype=np.int64)[rows]
    total = max(1, int(pixels.sum()))
    ids, pixels = ids[ids != class_id], pixels[ids != class_id]
    first = np.argsort(-pixels, kind="stable")[:limit]
    return pd.DataFrame(
        {"class_id": ids[first], "pixels": pixels[first], "share": pixels[first] / total}
    )


def classes_in_view(
    truth: npt.NDArray[np.int64], prediction: npt.NDArray[np.int64], table: pd.DataFrame
) -> pd.DataFrame:
    """The classes of one picture, those in its truth first, each part largest first.

    Args:
        truth: (H, W) train ids, negative = ignored.
        prediction: (H, W) train ids; pixels where the truth is ignored do not count.
        table: Vocabulary, row = class id.

    Returns:
        Columns class_id, name, color, truth_pixels, predicted_pixels, iou (in this picture);
        the classes that are only predicted come last.
    """
    count = len(table)
    known = (truth >= 0) & (truth < count) & (prediction >= 0) & (prediction < count)
    wanted, given = truth[known], prediction[known]
    in_truth = np.bincount(wanted, minlength=count)
    in_prediction = np.bincount(given, minlength=count)
    both = np.bincount(wanted[wanted == given], minlength=count)
    ids = np.flatnonzero(in_truth + in_prediction)
    union = in_truth[ids] + in_prediction[ids] - both[ids]
    view = pd.DataFrame(
        {
            "class_id": ids,
            "name": table["name"].to_numpy()[ids],
            "color": table["color"].to_numpy()[ids],
            "truth_pixels": in_truth[ids],
            "predicted_pixels": in_prediction[ids],
            "iou": both[ids] / union,
        }
    )
    order = np.lexsort((-view["predicted_pixels"], -view["truth_pixels"]))
    return view.iloc[order].reset_index(drop=True)


def nearest_classes(points: npt.NDArray[np.float32], class_id: int) -> pd.DataFrame:
    """All other classes by distance to one class.

    Args:
        points: (C, D) rows of unit length.
        class_id: The class to start from.

    Returns:
        Columns class_id, distance (Euclidean between unit vectors, 0..2), rank (1 = nearest).
    """
    distance = np.linalg.norm(points - points[class_id], axis=1)
    order = np.argsort(distance, kind="stable")
    order = order[order != class_id]
    return pd.DataFrame(
        {
            "class_id": order.astype(np.int64),
            "distance": distance[order].astype(np.float64),
            "rank": np.arange(1, len(order) + 1),
        }
    )


def map_points(
    projection: pd.DataFrame, table: pd.DataFrame, layout: str, step: int | None = None
) -> pd.DataFrame:
    """Coordinates of one layout at one step, joined with the class table.

    Args:
        projection: ``embeddings/projection.parquet``.
        table: Class rows to colour by.
        layout: "umap2", "umap3", "pca2" or "pca3".
        step: Training step; None for the last.

    Returns:
        The table's rows that have a point, with x, y and, in three dimensions, z.
    """
    last = int(projection["step"].max()) if step is None else step
    rows = projection[projection["step"] == last]
    columns = {column: axis for axis, column in axes_of(layout).items()}
    points = rows[["class_id", *columns]].rename(columns=columns)
    return table.merge(points, on="class_id", how="inner").dropna(subset=[*columns.values()])


def axes_of(layout: str) -> dict[str, str]:
    """Column of the projection for each axis of a layout ("umap2", "umap3", "pca2", "pca3")."""
    prefix = layout if layout.startswith("umap") else "pca"
    return {axis: f"{prefix}_{axis}" for axis in ("xyz" if layout.endswith("3") else "xy")}


def no_formula(value: object) -> object:
    """A cell that no spreadsheet runs: text that would be a formula gets a sign before it."""
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())  # spreadsheets read past white space before a formula
    return f"'{line}" if line.startswith(_FORMULA_SIGNS) else line


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it may be shown: the browser offers to save every table as CSV, as it is."""
    kinds = pd.api.types
    safe = table.copy(deep=False)
    for name in table:
        column = table[name]
        if kinds.is_numeric_dtype(column) or kinds.is_datetime64_any_dtype(column):
            continue
        starts = column.astype("str").str.lstrip().str.startswith(_FORMULA_SIGNS)
        if starts.any():
            safe[name] = column.astype("object").map(no_formula)
    return safe
