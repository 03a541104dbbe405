"""Two runs against each other, as the Overview shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from app import data, frames, links, shell, state
from workbench import charts
from workbench.evaluation import compare
from workbench.runs import RunInfo

Points = npt.NDArray[np.float32]

_GAINS, _LOSSES, _DRIFT, _ALL = "Biggest gains", "Biggest losses", "Biggest drift", "All classes"
_HEIGHT = 440
_LISTED = 50


class Both(NamedTuple):
    """What two runs have in common.

    Attributes:
        aligned: Their classes side by side; the table has a column drift where both runs have
            class embeddings.
        drift: How far those moved; None without embeddings.
        widths: Dimensions of the embeddings of A and B.
    """

    aligned: compare.Aligned
    drift: compare.Drift | None
    widths: tuple[int, int]


def show(run: shell.Context, runs: Sequence[RunInfo]) -> None:
    """Draws the choice of a second run, and what changed between the two.

    Args:
        run: The open run, A.
        runs: All runs.
    """
    others = [info.name for info in runs if info.name != run.name]
    if not others:
        return
    st.subheader("Compare two runs")
    state.seed("compare", [None, *others], None, str)
    with shell.flow("filters_compare", [1, 2])[0]:
        other = st.selectbox(
            f"Compare {shell.plain(run.name)} with",
            others,
            index=None,
            placeholder="no other run",
            key=state.widget_key("compare"),
        )
    state.publish("compare", other)
    if other is None:
        return
    path = str(next(info.path for info in runs if info.name == other))
    _compare(run, other, path)


def _compare(run: shell.Context, other: str, path: str) -> None:
    splits = data.splits(path)
    split = run.split if run.split in splits else next(iter(splits), None)
    a = None if run.split is None else data.per_class(run.path, run.split)
    b = None if split is None else data.per_class(path, split)
    if a is None or b is None:
        missing = run.name if a is None else other
        shell.explain_missing(
            f"{shell.plain(missing)} has not been evaluated yet, so there is nothing to compare.",
            None,
        )
        return
    both = _both(a, b, data.class_points(run.path), data.class_points(path))
    _say_what_is_compared(run, other, split, both)
    table = both.aligned.table
    if table.empty:
        shell.explain_missing("The two runs have no class of the same name.", None)
        return
    whole = _paired(table[["iou_a", "iou_b", "change"]])
    _numbers(run.name, other, whole, both)
    ids = [int(class_id) for class_id in a["class_id"]]
    state.seed("class", [None, *ids], None, int)
    left, right = shell.stack("compare", [1, 1])
    with left:
        _scatter(table, (run.name, other))
    with right:
        _tables(table, (run.name, other))
    _chosen(table)
    left, right = shell.stack("drift", [1, 1])
    with left:
        st.markdown("**Change of each group**")
        groups = _by_group(table[["group", "iou_a", "iou_b", "change"]])
        figure = charts.change_bars(groups, height=280, dark=shell.dark())
        shell.show_plot(figure, "compare_groups")
    with right:
        _drift(table, both)


def _both(
    a: pd.DataFrame, b: pd.DataFrame, points_a: Points | None, points_b: Points | None
) -> Both:
    aligned = compare.align_classes(a, b)
    table = aligned.table
    if points_a is None or points_b is None or table.empty:
        return Both(aligned, None, (0, 0))
    ids_a, ids_b = table["class_id"].to_numpy(np.int64), table["class_id_b"].to_numpy(np.int64)
    if ids_a.max() >= len(points_a) or ids_b.max() >= len(points_b):
        return Both(aligned, None, (0, 0))  # the table of embeddings is of other classes
    moved = compare.drift(points_a[ids_a], points_b[ids_b])
    table = table.assign(drift=moved.distance)
    widths = (points_a.shape[1], points_b.shape[1])
    return Both(aligned._replace(table=table), moved, widths)


@st.cache_data(show_spinner=False, max_entries=16)
def _paired(table: pd.DataFrame) -> compare.Paired:
    return compare.paired_change(table)


@st.cache_data(show_spinner=False, max_entries=16)
def _by_group(table: pd.DataFrame) -> pd.DataFrame:
    order = list(frames.group_scores(
        table.assign(iou=table["iou_a"], truth_pixels=1)
    )["group"])  # fmt: skip
    groups = compare.change_by_group(table)
    return groups.sort_values("group", key=lambda names: names.map(order.index), ignore_index=True)


def _say_what_is_compared(run: shell.Context, other: str, split: str | None, both: Both) -> None:
    aligned = both.aligned
    how = "by name" if aligned.by_name else "of one vocabulary"
    parts = [f"{len(aligned.table):,} classes {how} in both"]
    if aligned.by_name:
        parts += [
            f"{aligned.only_a:,} only in {shell.plain(run.name)}",
            f"{aligned.only_b:,} only in {shell.plain(other)}",
        ]
    if aligned.repeated:
        parts.append(f"{aligned.repeated:,} left out because their name repeats")
    if split != run.split:
        parts.append(
            f"not the same images: {shell.plain(run.split)} here, {shell.plain(split)} there"
        )
    st.caption(" · ".join(parts) + f". Every change is {shell.plain(other)} minus "
               f"{shell.plain(run.name)}.")  # fmt: skip


def _numbers(name: str, other: str, whole: compare.Paired, both: Both) -> None:
    columns = shell.flow("compare_numbers", [1, 1, 1, 1, 1])
    columns[0].metric(
        "Mean change",
        _signed(whole.change),
        help=f"Of IoU: from {whole.miou_a:.3f} to {whole.miou_b:.3f} over the {whole.classes:,} "
        "classes that both runs scored.",
    )
    columns[1].metric("Better", f"{whole.wins:,}")
    columns[2].metric("Worse", f"{whole.losses:,}")
    columns[3].metric("Same", f"{whole.ties:,}", help="IoU agrees to three decimals.")
    median = None if both.drift is None else float(np.nanmedian(both.drift.distance))
    columns[4].metric(
        "Median drift",
        shell.number(median),
        help="Distance of a class embedding from its twin, both of unit length, after one table "
        "is turned onto the other.",
    )
    if whole.classes:
        st.markdown(
            _verdict(name, other, whole),
            help="Paired bootstrap over classes: how far the mean would move had other classes "
            "of the same kind been scored. It does not hold what another training would give.",
        )


def _verdict(name: str, other: str, whole: compare.Paired) -> str:
    interval = f"95 % interval of the mean change: {_signed(whole.low)} to {_signed(whole.high)}."
    if whole.low <= 0 <= whole.high:
        return f"{interval} No clear difference: it holds 0."
    better = other if whole.change > 0 else name
    return (
        f"{interval} {shell.plain(better)} is better by more than the choice of classes explains."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\u2212") if np.isfinite(value) else "–"


def _scatter(table: pd.DataFrame, names: tuple[str, str]) -> None:
    def pick() -> None:
        _choose(frames.selected_ids(st.session_state.get("compare_iou")))

    st.caption("Above the line the other run is better. Click a class to follow it.")
    figure = charts.iou_against_iou(
        table, names=names, highlight=_class(), height=_HEIGHT, dark=shell.dark()
    )
    shell.show_plot(figure, "compare_iou", on_select=pick, toolbar=True)


def _tables(table: pd.DataFrame, names: tuple[str, str]) -> None:
    options = [_GAINS, _LOSSES, *([_DRIFT] if "drift" in table else []), _ALL]
    wanted = st.segmented_control(
        "List", options, default=_GAINS, key="compare_list", label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    rows = table
    if wanted == _LOSSES:
        rows = compare.smallest(table, count=_LISTED)
    elif wanted == _DRIFT and "drift" in table:
        rows = compare.biggest(table, "drift", count=_LISTED)
    elif wanted != _ALL:
        rows = compare.biggest(table, count=_LISTED)
    kept = ["class_id", "name", "iou_a", "iou_b", "change", "drift", "group", "train_images"]
    view = rows[[name for name in kept if name in rows]]
    key = f"compare_table_{wanted}"

    def pick() -> None:
        class_id = frames.selected_row(st.session_state.get(key), view, "class_id")
        _choose([] if class_id is None else [int(str(class_id))])

    if view.empty:
        st.caption("There is none.")
        return
    shell.pick_table(
        view,
        pick,
        key=key,
        height=min(_HEIGHT - 20, 35 * (len(view) + 1) + 3),
        columns=_columns(names),
    )


def _columns(names: tuple[str, str]) -> dict[str, Any]:
    column = st.column_config
    return {
        "class_id": None,
        "name": column.TextColumn("Class", width=160),
        "iou_a": column.NumberColumn("IoU here", format="%.3f", width=70, help=names[0]),
        "iou_b": column.NumberColumn("IoU there", format="%.3f", width=70, help=names[1]),
        "change": column.NumberColumn("Change", format="%+.3f", width=70),
        "drift": column.NumberColumn(
            "Drift", format="%.3f", width=60, help="Of the class embedding, 0 to 2."
        ),
        "group": column.TextColumn("Group", width=80),
        "train_images": column.NumberColumn("Trained on", width=80),
    }


def _chosen(table: pd.DataFrame) -> None:
    """The chosen class in one line, with the way to its pages."""
    chosen = _class()
    state.publish("class", chosen)
    st.session_state[state.widget_key("class")] = chosen
    rows = table[table["class_id"] == chosen]
    if chosen is None or rows.empty:
        return
    row = rows.iloc[0]
    moved = f", drift {row['drift']:.3f}" if "drift" in rows and pd.notna(row["drift"]) else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{shell.plain(row['name'])}** · class {chosen} · IoU {shell.number(row['iou_a'])} "
            f"→ {shell.number(row['iou_b'])} ({_signed(float(row['change']))}){moved}",
            width="stretch",
        )
        links.to(links.CLASSES, "Its page", class_id=chosen)
        links.to(links.CLASS_MAP, "In the map", class_id=chosen)


def _drift(table: pd.DataFrame, both: Both) -> None:
    def pick() -> None:
        _choose(frames.selected_ids(st.session_state.get("compare_drift")))

    st.markdown("**Drift of the class embeddings**")
    if both.drift is None:
        st.caption("One of the runs has no class embeddings, so there is no drift to measure.")
        return
    figure = charts.drift_against_change(
        table, chance=both.drift.chance, highlight=_class(), height=320, dark=shell.dark()
    )
    shell.show_plot(figure, "compare_drift", on_select=pick)
    text = (
        "One table is turned onto the other first (Procrustes), as a rotation changes no "
        f"prediction. Tables without anything in common would drift {both.drift.chance:.2f}."
    )
    if both.drift.padded:
        text += (
            f" The embeddings have {both.widths[0]} and {both.widths[1]} dimensions: the narrower "
            "is filled up with zeros, so drift also holds what it has no room for."
        )
    st.caption(text)


def _class() -> int | None:
    chosen = st.session_state.get(state.widget_key("class"))
    return None if chosen is None else int(chosen)


def _choose(ids: Sequence[int]) -> None:
    if ids:
        state.choose("class", ids[0])
