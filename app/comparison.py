"""Two runs against each other, as the Overview shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import data, data_compare, frames, links, picks, shell, state
from workbench import charts
from workbench.evaluation import compare

_GAINS, _LOSSES, _MOVED, _ALL = "Biggest gains", "Biggest losses", "Biggest drift", "All classes"
_GROUPS, _IOU, _DRIFT = "Groups", "Classes", "Drift"
_CHOSEN = "compare_chosen"
_HEIGHT = 440
_LISTED = 50


def show(run: shell.Context) -> None:
    """Draws the choice of a second run, and what changed between the two.

    Args:
        run: The open run, A.
    """
    others = {info.name: str(info.path) for info in run.runs if info.name != run.name}
    if others:
        st.subheader("Compare two runs")
        _explore(run, others)


@st.fragment
def _explore(run: shell.Context, others: Mapping[str, str]) -> None:
    """The choice and what comes of it; another run draws nothing else of the page again."""
    with state.url(fragment=True):
        state.seed("compare", [None, *others], None, str)
        with shell.flow("filters_compare", [1, 2])[0]:
            other = st.selectbox(
                f"Compare {shell.plain(run.name)} with",
                list(others),
                index=None,
                placeholder="no other run",
                key=state.widget_key("compare"),
            )
        state.publish("compare", other)
        if other is not None:
            _compare(run, other, others[other])


def _compare(run: shell.Context, other: str, path: str) -> None:
    splits = data.splits(path)
    split = run.split if run.split in splits else next(iter(splits), None)
    for name, where, of in ((run.name, run.path, run.split), (other, path, split)):
        if of is None or data.per_class(where, of) is None:
            said = (
                f"{shell.plain(name)} has not been evaluated yet, so there is nothing to compare."
            )
            shell.explain_missing(said, None)
            return
    both = data_compare.both(run.path, str(run.split), path, str(split))
    if both is None:
        return
    _say_what_is_compared(run, other, split, both)
    if both.aligned.table.empty:
        shell.explain_missing("The two runs have no class of the same name.", None)
        return
    _numbers(run.name, other, both)
    left, right = shell.stack("compare", [1, 1])
    with left:
        _chart(both, (run.name, other))
    with right:
        _tables(both.aligned.table, (run.name, other))
    table = data.per_class(run.path, str(run.split))
    ids = [] if table is None else [int(class_id) for class_id in table["class_id"]]
    _chosen(both.aligned.table, ids)


def _say_what_is_compared(
    run: shell.Context, other: str, split: str | None, both: data_compare.Both
) -> None:
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


def _numbers(name: str, other: str, both: data_compare.Both) -> None:
    whole = both.whole
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


@st.fragment
def _chart(both: data_compare.Both, names: tuple[str, str]) -> None:
    """One chart at a time: each takes as long to draw as all the rest."""
    # The groups first: five bars, which are there at once and say where to look.
    options = [_GROUPS, _IOU, *([_DRIFT] if both.drift is not None else [])]
    wanted = st.segmented_control(
        "Chart", options, default=_GROUPS, key="compare_chart", label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    table = both.aligned.table
    if wanted == _GROUPS:
        figure = charts.change_bars(both.groups, height=280, dark=shell.dark())
        shell.show_plot(figure, "compare_groups")
        st.caption("Change of each group, with its 95 % interval.")
    elif wanted == _DRIFT and both.drift is not None:
        _show_drift(table, both.drift, both.widths)
    else:
        figure = charts.iou_against_iou(table, names=names, height=_HEIGHT, dark=shell.dark())
        _pickable(figure, "compare_iou")
        st.caption("Above the line the other run is better. Click a class to follow it.")
    if both.drift is None:
        st.caption("One of the runs has no class embeddings, so there is no drift to measure.")


def _show_drift(table: pd.DataFrame, drift: compare.Drift, widths: tuple[int, int]) -> None:
    figure = charts.drift_against_change(
        table, chance=drift.chance, height=_HEIGHT - 60, dark=shell.dark()
    )
    _pickable(figure, "compare_drift")
    text = (
        "How far each class embedding moved. One table is turned onto the other first "
        "(Procrustes), as a rotation changes no prediction. Tables without anything in common "
        f"would drift {drift.chance:.2f}."
    )
    if drift.padded:
        text += (
            f" The embeddings have {widths[0]} and {widths[1]} dimensions: the narrower "
            "is filled up with zeros, so drift also holds what it has no room for."
        )
    st.caption(text)


def _pickable(figure: go.Figure, key: str) -> None:
    def pick() -> None:
        ids = frames.selected_ids(st.session_state.get(key))
        picks.take(ids[0] if ids else None, _CHOSEN)

    picks.undim(figure)
    shell.show_plot(figure, key, on_select=pick, toolbar=True)


@st.fragment
def _tables(table: pd.DataFrame, names: tuple[str, str]) -> None:
    options = [_GAINS, _LOSSES, *([_MOVED] if "drift" in table else []), _ALL]
    wanted = st.segmented_control(
        "List", options, default=_GAINS, key="compare_list", label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    rows = table
    if wanted == _LOSSES:
        rows = compare.smallest(table, count=_LISTED)
    elif wanted == _MOVED and "drift" in table:
        rows = compare.biggest(table, "drift", count=_LISTED)
    elif wanted != _ALL:
        rows = compare.biggest(table, count=_LISTED)
    kept = ["class_id", "name", "iou_a", "iou_b", "change", "drift", "group", "train_images"]
    view = rows[[name for name in kept if name in rows]]
    key = f"compare_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        picks.take(frames.selected_class(st.session_state.get(key), view), _CHOSEN)

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
        "iou_a": column.NumberColumn(
            "IoU here", format="%.3f", width=70, help=shell.plain(names[0])
        ),
        "iou_b": column.NumberColumn(
            "IoU there", format="%.3f", width=70, help=shell.plain(names[1])
        ),
        "change": column.NumberColumn("Change", format="%+.3f", width=70),
        "drift": column.NumberColumn(
            "Drift", format="%.3f", width=60, help="Of the class embedding, 0 to 2."
        ),
        "group": column.TextColumn("Group", width=80),
        "train_images": column.NumberColumn("Trained on", width=80),
    }


@st.fragment(key=_CHOSEN)
def _chosen(table: pd.DataFrame, ids: list[int]) -> None:
    """The chosen class in one line, with the way to its pages; a click draws only this again."""
    with state.url(fragment=True):
        chosen = picks.seed(ids)
        rows = table[table["class_id"] == chosen]
        if len(rows):
            _line(rows.iloc[0].to_dict(), int(rows["class_id"].iloc[0]))
        picks.ring(chosen)


def _line(row: dict[Any, Any], chosen: int) -> None:
    drift = row.get("drift", np.nan)
    moved = f", drift {drift:.3f}" if pd.notna(drift) else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{shell.plain(row['name'])}** · class {chosen} · IoU {shell.number(row['iou_a'])} "
            f"→ {shell.number(row['iou_b'])} ({_signed(float(row['change']))}){moved}",
            width="stretch",
        )
        links.to(links.CLASSES, "Its page", class_id=chosen)
        links.to(links.CLASS_MAP, "In the map", class_id=chosen)
