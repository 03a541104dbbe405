"""Beside and below the class map: the classes listed, and the pictures that show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import data, frames, links, map_points, shell, state

_MOST_CLOSE = 200
_PICTURES = 12  # a page of the strip


def show(
    points: pd.DataFrame, picked: Sequence[int], hits: Sequence[int], text: str, *, height: int
) -> list[int]:
    """Lists the classes selected, else those found, else those closest to another.

    Args:
        points: All classes of the map.
        picked: Those selected in it.
        hits: Those found.
        text: What was searched.
        height: Of the table, in pixels.

    Returns:
        The classes selected or found; empty where all are listed.
    """
    searched = bool(text.strip())
    if picked:
        listed, title = list(picked), f"{len(picked):,} classes selected"
    elif searched:
        listed, title = list(hits), f"{len(hits):,} class{'es' * (len(hits) != 1)} found"
    else:
        listed, title = [], "Closest to another class"
    if listed or searched:
        rows = points[points["class_id"].isin(listed)]
    elif "nearest_distance" in points:
        rows = points.nsmallest(_MOST_CLOSE, "nearest_distance")
    else:
        rows, title = points, f"{len(points):,} classes"
    _heading(title, let_go=bool(picked), back=searched)
    _table(points, rows, height, scores_first=bool(listed))
    return listed


def _heading(title: str, *, let_go: bool, back: bool) -> None:
    def forget() -> None:
        st.session_state["map_picked"] = None

    def back_to_all() -> None:
        st.session_state["map_find"] = ""

    with st.container(horizontal=True, vertical_alignment="center", height="content"):
        st.markdown(f"**{title}**", width="stretch")
        if let_go:
            st.button("Let go", key="map_let_go", on_click=forget, type="tertiary")
        if back:
            st.button("Back to all", key="map_back", on_click=back_to_all, type="tertiary")


def _table(points: pd.DataFrame, rows: pd.DataFrame, height: int, *, scores_first: bool) -> None:
    names = frames.labels(points)
    if "nearest_class_id" in rows:
        near = [names.get(int(other), "") for other in rows["nearest_class_id"].fillna(-1)]
        rows = rows.assign(nearest=near)
    scores, neighbours = ["iou", "train_images"], ["nearest", "nearest_distance"]
    order = [*scores, *neighbours] if scores_first else [*neighbours, *scores]
    view = rows[["class_id", "name", *(name for name in order if name in rows)]]
    key = f"map_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        state.choose("class", frames.selected_row(st.session_state.get(key), view, "class_id"))

    shell.pick_table(
        view,
        pick,
        key=key,
        height=min(height, 35 * (len(view) + 1) + 3),
        columns=_columns(),
    )


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "class_id": None,
        "name": column.TextColumn("Class", width=150),
        "iou": column.ProgressColumn("IoU", width=90, format="%.2f", min_value=0.0, max_value=1.0),
        "train_images": column.NumberColumn(
            "Trained on", width=80, help="Training images that show it."
        ),
        "nearest": column.TextColumn("Nearest other class", width=150),
        "nearest_distance": column.NumberColumn(
            "Distance", width=70, format="%.3f", help="True distance of unit vectors, 0 to 2."
        ),
    }


@st.fragment
def pictures(run: shell.Context, split: str, class_ids: tuple[int, ...]) -> None:
    """A strip of the kept pictures that show some of the classes, in pages.

    Args:
        run: The open run.
        split: The evaluated split in view.
        class_ids: The classes.
    """
    counts = data.per_image_class(run.path, split)
    kept = data.samples(run.path, split)
    if counts is None or not kept:
        return
    found = map_points.pictures_of(counts, kept, class_ids)
    if found.empty:
        st.caption("None of the pictures kept with this run shows these classes.")
        return
    key = f"map_strip_{abs(hash((run.path, split, class_ids)))}"
    pages = -(-len(found) // _PICTURES)
    at = min(int(st.session_state.get(key, 0)), pages - 1)

    def turn(by: int) -> None:
        st.session_state[key] = (at + by) % pages

    shown = found.iloc[at * _PICTURES : (at + 1) * _PICTURES]
    first, last = at * _PICTURES + 1, at * _PICTURES + len(shown)
    with st.container(horizontal=True, vertical_alignment="center"):
        few = "" if pages == 1 else f", {first:,} to {last:,}"
        st.markdown(
            f"**{len(found):,} picture{'s' * (len(found) != 1)} with these classes{few}** "
            ":small[:gray[most of them first: how many, and their mean IoU there]]",
            width="stretch",
        )
        if pages > 1:
            icons = (
                (":material/chevron_left:", -1, "map_before"),
                (":material/chevron_right:", 1, "map_after"),
            )
            for icon, by, name in icons:
                st.button("", icon=icon, key=name, on_click=turn, args=(by,), type="tertiary")
    _strip(shown, data.thumbnails(run.path, split, shown["image_id"]))


def _strip(shown: pd.DataFrame, urls: dict[str, str]) -> None:
    with st.container(horizontal=True, gap="small"):
        for row in shown.to_dict("records"):
            with st.container(width=112, gap=None):
                url = urls.get(str(row["image_id"]))
                if url is not None:
                    st.image(url, width=104)
                many = f"{row['classes']} · " if row["classes"] > 1 else ""
                label = f"{many}IoU {shell.number(row['iou'], 2)}"
                links.to(links.PREDICTIONS, label, image=str(row["image_id"]))
