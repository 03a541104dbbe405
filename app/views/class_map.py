"""Class map: the learned class embeddings laid out so that near classes lie near."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import class_detail, data, frames, shell, state
from workbench import charts

_LAYOUTS = {"UMAP 2D": "umap2", "UMAP 3D": "umap3", "PCA 2D": "pca2", "PCA 3D": "pca3"}
_HEIGHT = 640


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Class map")
    projection = data.projection(run.path)
    if projection is None:
        shell.explain_missing(
            "The class embeddings of this run have not been laid out yet. Do it once:",
            run.command("project"),
        )
        st.stop()
    scores = None if run.split is None else data.per_class(run.path, run.split)
    table = data.vocabulary(run.path) if scores is None else scores
    if table is None:
        shell.explain_missing("The class table of this run cannot be read.", None)
        st.stop()
    ids = [int(class_id) for class_id in table["class_id"]]
    state.seed("class", [None, *ids], None, int)
    points, color_by, text = _controls(projection, table)
    found = frames.matches(points, text) if text.strip() else pd.Series(False, index=points.index)
    chosen = st.session_state[state.widget_key("class")]
    left, right = shell.stack("map", [3, 2])
    with left:
        rings = [int(class_id) for class_id in points.loc[found, "class_id"]]
        picked = _map(points, color_by, rings if chosen is None else [*rings, int(chosen)])
    with right:
        _list(points, picked, rings, text)
    chosen = st.session_state[state.widget_key("class")]
    state.publish("class", chosen)
    st.session_state[state.widget_key("class")] = chosen
    if chosen is not None and scores is not None and run.split is not None:
        st.divider()
        class_detail.show(run, run.split, scores, int(chosen))


def _controls(projection: pd.DataFrame, table: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    """The row of choices: (points, column to colour by, text to find)."""
    colors = [name for name in ("iou", "train_images") if name in table]
    colors += frames.attributes(table)
    wording = {"iou": "IoU", "train_images": "frequency"}
    state.seed("layout", list(_LAYOUTS), "UMAP 2D", str)
    state.seed("color", colors, colors[0], str)
    steps = sorted(int(step) for step in projection["step"].unique())
    columns = shell.flow("filters_map", [2.2, 1.2, 1.6] + [1.4] * (len(steps) > 1))
    layout = columns[0].segmented_control(
        "Layout", list(_LAYOUTS), key=state.widget_key("layout"), required=True
    )
    color_by = columns[1].selectbox(
        "Colour",
        colors,
        format_func=lambda name: wording.get(name, name.replace("_", " ")),
        key=state.widget_key("color"),
    )
    text = columns[2].text_input("Find", placeholder="words of a name, or an id", key="map_find")
    state.publish("layout", layout)
    state.publish("color", color_by)
    step = steps[-1]
    if len(steps) > 1:
        step = columns[3].select_slider("Training step", steps, value=step, key="map_step")
    points = frames.map_points(projection, table, _LAYOUTS[layout or "UMAP 2D"], step)
    return points, color_by, text


def _map(points: pd.DataFrame, color_by: str, rings: Sequence[int]) -> list[int]:
    """Draws the map; returns the classes selected in it."""
    flat = "z" not in points
    layout = str(st.session_state[state.widget_key("layout")])
    figure = charts.class_map(
        points,
        color_by=color_by,
        highlight=rings,
        isotropic=layout.startswith("PCA"),
        height=_HEIGHT,
        dark=shell.dark(),
    )
    if not flat:
        shell.show_plot(figure, "map_3d", toolbar=True)
        st.caption("Drag to turn. Selecting works in two dimensions.")
        return []

    def pick() -> None:
        ids = frames.selected_ids(st.session_state.get("map_2d"))
        if len(ids) == 1:
            state.choose("class", ids[0])

    event = shell.show_plot(
        figure, "map_2d", on_select=pick, modes=("points", "box", "lasso"), toolbar=True
    )
    st.caption("Circle classes to list them, or click one. Double-click to let go.")
    return frames.selected_ids(event)


def _list(points: pd.DataFrame, picked: list[int], found: list[int], text: str) -> None:
    """Classes selected, else found, else those closest to another."""
    listed = len(picked) > 1 or bool(text.strip())
    if len(picked) > 1:
        title, rows = f"{len(picked):,} classes selected", points[points["class_id"].isin(picked)]
    elif text.strip():
        title, rows = f"{len(found):,} classes found", points[points["class_id"].isin(found)]
    elif "nearest_distance" in points:
        title, rows = "Closest to another class", points.nsmallest(200, "nearest_distance")
    else:
        title, rows = f"{len(points):,} classes", points
    st.markdown(f"**{title}**")
    names = frames.labels(points)
    if "nearest_class_id" in rows:
        near = [names.get(int(other), "") for other in rows["nearest_class_id"].fillna(-1)]
        rows = rows.assign(nearest=near)
    scores, neighbours = ["iou", "train_images"], ["nearest", "nearest_distance"]
    order = [*scores, *neighbours] if listed else [*neighbours, *scores]
    view = rows[["class_id", "name", *(name for name in order if name in rows)]]
    key = f"map_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        state.choose("class", frames.selected_row(st.session_state.get(key), view, "class_id"))

    st.dataframe(
        view,
        key=key,
        on_select=pick,
        selection_mode="single-row",
        hide_index=True,
        width="stretch",
        height=min(_HEIGHT - 40, 36 * (len(view) + 1)),
        placeholder="–",
        column_config=_columns(),
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
        "nearest_distance": column.NumberColumn("Distance", width=70, format="%.3f"),
    }


if __name__ == "__main__":
    page()
