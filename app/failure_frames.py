"""Pure functions of the page on failing classes: tables in, tables and sentences out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from app import frames
from app.pictures import PictureIndex
from workbench.evaluation import failures
from workbench.evaluation.gains import joint_gain, miou_gains
from workbench.evaluation.iou import Counts, miou, ratio

Name = Callable[[int], str]

_WORTH_A_LOOK = 0.03  # of the wrong pixels of the worst picture


class Overview(NamedTuple):
    """All classes with what failing costs, and the sums.

    Attributes:
        table: One row per class; see `class_table`.
        reasons: See `by_kind`: a row per reason code.
        groups: The same per group.
        miou: Mean IoU as it is.
        gain: What mending every failing class at once would add to it.
    """

    table: pd.DataFrame
    reasons: pd.DataFrame
    groups: pd.DataFrame
    miou: float
    gain: float

    @property
    def failing(self) -> pd.DataFrame:
        """The classes with a reason code, the largest gain first."""
        return self.table[self.table["reason"] != ""]


class Margin(NamedTuple):
    """How far two classes are from one another.

    Attributes:
        distance: Euclidean between unit vectors, 0 to 2.
        rank: 1 = the other is the nearest of all classes.
        closer_than: Share of all classes that keep more distance from their nearest.
    """

    distance: float
    rank: int
    closer_than: float


def counts_of(table: pd.DataFrame) -> Counts:
    """The pixel counts in a class table whose rows are the class ids in order."""
    return Counts(*(table[name].to_numpy(dtype=np.int64) for name in Counts._fields))


def class_table(per_class: pd.DataFrame, confusions: pd.DataFrame | None) -> pd.DataFrame:
    """The class table with what failing costs and who is to blame.

    Args:
        per_class: As the evaluation writes it; newer columns may be missing.
        confusions: truth, predicted, pixels; without them gains are not known.

    Returns:
        The rows, largest gain first, with the columns ``gain`` (mean IoU), ``missed``,
        ``false_alarms`` (pixels), ``taken_by`` (class id or -1), ``taken_share`` (0..1),
        ``boundary_share`` (of the wrong pixels, NaN where not counted) and
        ``unverified_share`` (of the false alarms, NaN where not counted); reason "" = fine.
    """
    table = per_class.sort_values("class_id", ignore_index=True)
    counts = counts_of(table)
    missed = counts.truth_pixels - counts.intersection
    false_alarms = counts.predicted_pixels - counts.intersection
    if {"swallowed_by", "swallowed_share"} <= set(table):
        rival = failures.Rival(
            table["swallowed_by"].to_numpy(dtype=np.int64),
            table["swallowed_share"].to_numpy(dtype=np.float64),
        )
    elif confusions is not None:
        rival = failures.strongest_rival(confusions, counts.truth_pixels)
    else:
        rival = failures.Rival(np.full(len(table), -1), np.zeros(len(table)))
    unknown = np.full(len(table), np.nan)
    gains = unknown if confusions is None else miou_gains(counts, confusions)
    table = table.assign(
        reason=table["reason"].fillna("").astype(str),
        gain=gains,
        missed=missed,
        false_alarms=false_alarms,
        taken_by=rival.class_id,
        taken_share=rival.share,
        boundary_share=_share(table, "boundary_errors", missed + false_alarms),
        unverified_share=_share(table, "unverified_pixels", false_alarms),
    )
    return table.sort_values(["gain", "iou", "class_id"], ascending=[False, True, True])


def _share(
    table: pd.DataFrame, column: str, whole: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    if column not in table:
        return np.full(len(table), np.nan)
    return ratio(table[column].to_numpy(dtype=np.int64), whole)


def overview(per_class: pd.DataFrame, confusions: pd.DataFrame | None) -> Overview:
    """All that the page shows before a class is chosen; arguments as in `class_table`."""
    table = class_table(per_class, confusions)
    counts = counts_of(table.sort_values("class_id"))
    failing = table.loc[table["reason"] != "", "class_id"].tolist()
    gain = float("nan") if confusions is None else joint_gain(counts, confusions, failing)
    return Overview(
        table,
        by_kind(table, "reason", counts, confusions),
        by_kind(table, "group", counts, confusions),
        miou(counts),
        gain,
    )


def by_kind(
    table: pd.DataFrame, column: str, counts: Counts, confusions: pd.DataFrame | None
) -> pd.DataFrame:
    """How many classes fail for each reason or in each group, and what mending them brings.

    Args:
        table: From `class_table`.
        column: "reason" or "group".
        counts: Of all classes.
        confusions: Without them gains are NaN.

    Returns:
        Columns kind, classes, gain (mean IoU if all classes of the kind were mended at once)
        and share (of what is missing to a mean IoU of 1); largest gain first.
    """
    failing = table[table["reason"] != ""]
    missing = 1 - miou(counts)
    rows = []
    for kind, part in failing.groupby(column, sort=False):
        gain = float("nan")
        if confusions is not None:
            gain = joint_gain(counts, confusions, part["class_id"].tolist())
        rows.append((str(kind), len(part), gain, gain / missing if missing > 0 else 0.0))
    found = pd.DataFrame(rows, columns=["kind", "classes", "gain", "share"])
    return found.sort_values(["gain", "classes"], ascending=False, ignore_index=True)


def margin(
    points: npt.NDArray[np.float32],
    nearest: npt.NDArray[np.float64],
    class_id: int,
    other: int,
) -> Margin | None:
    """How close a class lies to another; None where one of them has no embedding.

    Args:
        points: (C, D) rows of unit length.
        nearest: (C,) distance of each class to its nearest other; NaN where not known.
        class_id: The class.
        other: The class it is compared with.
    """
    if class_id == other or not (0 <= class_id < len(points) and 0 <= other < len(points)):
        return None
    near = frames.nearest_classes(points, class_id)
    row = near[near["class_id"] == other].iloc[0]
    distance = float(row["distance"])
    known = nearest[np.isfinite(nearest)]
    share = float((known > distance).mean()) if len(known) else float("nan")
    return Margin(distance, int(row["rank"]), share)


def compared_with(row: Mapping[Any, Any], victims: pd.DataFrame) -> int:
    """The class that a failing class is best compared with; -1 if it is confused with none.

    Args:
        row: Of `class_table`.
        victims: Whose pixels it takes, from `frames.taken_as`.
    """
    takes = row["reason"] in ("mostly_false_alarms", "unverified_false_alarms", "absent_from_val")
    if takes and len(victims):
        return int(victims["class_id"].iloc[0])
    taken_by = int(row["taken_by"])
    if taken_by < 0 and len(victims):
        return int(victims["class_id"].iloc[0])
    return taken_by


def worst_images(index: PictureIndex, class_id: int, limit: int) -> pd.DataFrame:
    """The kept pictures with most wrong pixels of a class.

    Returns:
        Columns image_id, iou, missed, false_alarms; the most wrong pixels first. Pictures with
        next to none, beside the worst, are left out.
    """
    rows = np.flatnonzero(index.class_id == class_id)
    missed = index.truth_pixels[rows] - index.right_pixels[rows]
    false_alarms = index.predicted_pixels[rows] - index.right_pixels[rows]
    wrong = missed + false_alarms
    least = max(1.0, _WORTH_A_LOOK * float(wrong.max(initial=0)))
    order = np.lexsort((index.at[rows], -wrong))  # the ids are sorted
    order = order[wrong[order] >= least][:limit]
    return pd.DataFrame(
        {
            "image_id": pd.Series([index.ids[at] for at in index.at[rows][order]], dtype=object),
            "iou": index.iou[rows][order],
            "missed": missed[order],
            "false_alarms": false_alarms[order],
        }
    )


def rows(failing: pd.DataFrame, names: Mapping[int, str], *, counted: bool) -> pd.DataFrame:
    """Failing classes as the page shows them, index and order kept.

    Args:
        failing: Rows of `class_table`.
        names: Of all classes, by id.
        counted: Whether training images were counted at all.

    Returns:
        One column a column of the page; those that an evaluation knows nothing of are left out.
    """
    view = pd.DataFrame(
        {
            "name": failing["name"],
            "gain": failing["gain"],
            "iou": failing["iou"],
            "reason": [frames.reason_text(code) for code in failing["reason"]],
            "taken_by": [names.get(int(other), "") for other in failing["taken_by"]],
            "taken_share": failing["taken_share"].where(failing["taken_by"] >= 0),
            "train_images": failing["train_images"] if counted else None,
            "group": failing["group"],
            "val_images": failing["val_images"],
            "precision": failing["precision"],
            "recall": failing["recall"],
            "boundary_share": failing["boundary_share"],
            "unverified_share": failing["unverified_share"],
            "class_id": failing["class_id"],
        },
        index=failing.index,
    )
    optional = [name for name in ("boundary_share", "unverified_share") if view[name].isna().all()]
    return view.drop(columns=optional)


def export(table: pd.DataFrame, names: Mapping[int, str]) -> pd.DataFrame:
    """The table for a spreadsheet: all columns, codes also in words, no cell a formula.

    Args:
        table: Rows of `class_table`.
        names: Of all classes, by id.
    """
    front = pd.DataFrame(
        {
            "class_id": table["class_id"],
            "name": table["name"],
            "reason": table["reason"],
            "reason_in_words": [frames.reason_text(code) for code in table["reason"]],
            "miou_gain": table["gain"],
            "iou": table["iou"],
            "taken_by_name": [names.get(int(other), "") for other in table["taken_by"]],
            "nearest_class_name": [
                names.get(int(other), "") if pd.notna(other) else ""
                for other in table["nearest_class_id"]
            ],
        }
    )
    rest = [name for name in table if name not in {*front, "gain", "swallowed_by", "color"}]
    whole = pd.concat([front, table[rest]], axis=1)
    safe: pd.DataFrame = whole.rename(columns=frames.no_formula).map(frames.no_formula)
    return safe
