"""Beside and below the class map: the classes listed, and the pictures that show them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from app import data_pictures, frames, gallery, map_points, picks, shell

CHART, LIST, STRIP, DETAIL = "map_chart", "map_list", "map_strip", "map_detail"
"""Keys of the page's fragments: what changes draws only those that show it."""

RINGS = "map_rings"
"""In the session: whether the chart rings the chosen class itself."""

_PICKED = "map_picked"
FIND = "map_find"
"""Key of the field that is searched by."""

_MOST_CLOSE = 200


class Listed(NamedTuple):
    """The classes that are singled out.

    Attributes:
        ids: Selected in the map, else found; empty where none is.
        picked: Whether they were selected.
        searched: Whether a search is on.
    """

    ids: list[int]
    picked: bool
    searched: bool


def listed(points: pd.DataFrame, path: str) -> Listed:
    """The classes selected in the map of a run, else those found."""
    text = str(st.session_state.get(FIND) or "")
    of, ids = st.session_state.get(_PICKED) or ("", [])
    if of == path and ids:
        return Listed(list(ids), True, bool(text.strip()))
    return Listed(map_points.hits(points, text), False, bool(text.strip()))


def picked(path: str, ids: list[int]) -> None:
    """From a callback: one class was clicked in the map, or several circled, or none is left."""
    before = st.session_state.get(_PICKED)
    st.session_state[_PICKED] = (path, ids) if len(ids) > 1 else None
    if len(ids) > 1:
        st.rerun([LIST, STRIP])
    picks.take(ids[0] if ids else None, DETAIL, *([LIST, STRIP] if before else []))


def searched() -> None:
    """From a callback: other words are searched; the map flies to what they find."""
    st.rerun([LIST, CHART, STRIP])


def show(points: pd.DataFrame, names: dict[int, str], path: str, *, height: int) -> None:
    """Lists the classes selected, else those found, else those closest to another.

    Args:
        points: All classes of the map.
        names: Of all classes, by id.
        path: Of the run.
        height: Of the table, in pixels.
    """
    found = listed(points, path)
    count = len(found.ids)
    if found.ids or found.searched:
        rows = points[points["class_id"].isin(found.ids)]
        title = f"{count:,} class{'es' * (count != 1)} {'selected' if found.picked else 'found'}"
    elif "nearest_distance" in points:
        rows, title = points.nsmallest(_MOST_CLOSE, "nearest_distance"), "Closest to another class"
    else:
        rows, title = points, f"{len(points):,} classes"
    _heading(title, let_go=found.picked, back=found.searched)
    _table(rows, names, height, scores_first=bool(found.ids))


def _heading(title: str, *, let_go: bool, back: bool) -> None:
    def forget() -> None:
        st.session_state[_PICKED] = None
        st.rerun([LIST, STRIP])

    def back_to_all() -> None:
        st.session_state[FIND] = ""
        searched()

    with st.container(horizontal=True, vertical_alignment="center", height="content"):
        st.markdown(f"**{title}**", width="stretch")
        if let_go:
            st.button("Let go", key="map_let_go", on_click=forget, type="tertiary")
        if back:
            st.button("Back to all", key="map_back", on_click=back_to_all, type="tertiary")


def _table(rows: pd.DataFrame, names: dict[int, str], height: int, *, scores_first: bool) -> None:
    if "nearest_class_id" in rows:
        near = [names.get(int(other), "") for other in rows["nearest_class_id"].fillna(-1)]
        rows = rows.assign(nearest=near)
    scores, neighbours = ["iou", "train_images"], ["nearest", "nearest_distance"]
    order = [*scores, *neighbours] if scores_first else [*neighbours, *scores]
    view = rows[["class_id", "name", *(name for name in order if name in rows)]]
    key = f"map_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        chosen = frames.selected_class(st.session_state.get(key), view)
        picks.take(chosen, DETAIL, *([CHART] if st.session_state.get(RINGS) else []))

    shell.pick_table(
        view,
        pick,
        key=key,
        height=min(height, 35 * (len(view) + 1) + 3),
        columns=_columns(),
    )


def _columns() -> dict[str, Any]:
    # Together as wide as the list is in a window of 1440 pixels: nothing is cut that is compared.
    column = st.column_config
    return {
        "class_id": None,
        "name": column.TextColumn("Class", width=132),
        "iou": column.NumberColumn("IoU", width=50, format="%.2f"),
        "train_images": column.NumberColumn(
            "Trained on", width=75, help="Training images that show it."
        ),
        "nearest": column.TextColumn("Nearest other class", width=132),
        "nearest_distance": column.NumberColumn(
            "Distance", width=65, format="%.3f", help="True distance of unit vectors, 0 to 2."
        ),
    }


def pictures(run: shell.Context, split: str, class_ids: tuple[int, ...]) -> None:
    """A strip of the kept pictures that show some of the classes, in pages.

    Args:
        run: The open run.
        split: The evaluated split in view.
        class_ids: The classes.
    """
    index = data_pictures.picture_index(run.path, split)
    if not index.ids:
        return
    found = map_points.pictures_of(index, class_ids)
    if found.empty:
        st.caption("None of the pictures kept with this run shows these classes.")
        return
    key = f"map_strip_{abs(hash((run.path, split, class_ids)))}"
    pages = -(-len(found) // gallery.PAGE)
    at = min(int(st.session_state.get(key, 0)), pages - 1)

    def turn(by: int) -> None:
        st.session_state[key] = (at + by) % pages

    shown = found.iloc[at * gallery.PAGE : (at + 1) * gallery.PAGE]
    first, last = at * gallery.PAGE + 1, at * gallery.PAGE + len(shown)
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
    labelled = [
        (str(row["image_id"]), _label(int(row["classes"]), row["iou"]))
        for row in shown.to_dict("records")
    ]
    gallery.show(run, split, labelled, key="map_gallery")


def _label(classes: int, iou: object) -> str:
    many = f"{classes} · " if classes > 1 else ""
    return f"{many}IoU {shell.number(iou, 2)}"
