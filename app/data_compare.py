"""Two runs side by side, worked out once for all sessions. Part of the door to artifacts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from app import data, frames
from workbench.evaluation import compare
from workbench.runs import Stamp, stamp

Points = npt.NDArray[np.float32]


class Both(NamedTuple):
    """What two runs have in common; shared between sessions: read it, do not change it.

    Attributes:
        aligned: Their classes side by side; the table has a column drift where both runs have
            class embeddings.
        whole: The change over all classes that both scored.
        groups: See ``compare.change_by_group``; the known groups first, rare to frequent.
        drift: How far the embeddings moved; None without them.
        widths: Dimensions of the embeddings of A and B.
    """

    aligned: compare.Aligned
    whole: compare.Paired
    groups: pd.DataFrame
    drift: compare.Drift | None
    widths: tuple[int, int]


def both(path_a: str, split_a: str, path_b: str, split_b: str) -> Both | None:
    """Compares two evaluations; None where one of them has no class table."""
    return _both(
        path_a,
        split_a,
        path_b,
        split_b,
        stamp(path_a, "vocabulary", "tables", "embeddings", split=split_a),
        stamp(path_b, "vocabulary", "tables", "embeddings", split=split_b),
    )


@st.cache_resource(show_spinner=False, max_entries=8)
def _both(
    path_a: str, split_a: str, path_b: str, split_b: str, stamp_a: Stamp, stamp_b: Stamp
) -> Both | None:
    a, b = data.per_class(path_a, split_a), data.per_class(path_b, split_b)
    if a is None or b is None:
        return None
    return side_by_side(a, b, data.class_points(path_a), data.class_points(path_b))


def side_by_side(
    a: pd.DataFrame, b: pd.DataFrame, points_a: Points | None, points_b: Points | None
) -> Both:
    """What two class tables, and two tables of embeddings where there are any, have in common."""
    aligned = compare.align_classes(a, b)
    table = aligned.table
    whole, groups = compare.paired_change(table), _by_group(table)
    if points_a is None or points_b is None or table.empty:
        return Both(aligned, whole, groups, None, (0, 0))
    ids_a, ids_b = table["class_id"].to_numpy(np.int64), table["class_id_b"].to_numpy(np.int64)
    if ids_a.max() >= len(points_a) or ids_b.max() >= len(points_b):
        # The table of embeddings is of other classes.
        return Both(aligned, whole, groups, None, (0, 0))
    moved = compare.drift(points_a[ids_a], points_b[ids_b])
    aligned = aligned._replace(table=table.assign(drift=moved.distance))
    return Both(aligned, whole, groups, moved, (points_a.shape[1], points_b.shape[1]))


def _by_group(table: pd.DataFrame) -> pd.DataFrame:
    scores = frames.group_scores(table.assign(iou=table["iou_a"], truth_pixels=1))
    order = list(scores["group"])
    groups = compare.change_by_group(table)
    return groups.sort_values("group", key=lambda names: names.map(order.index), ignore_index=True)
