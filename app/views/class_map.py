"""Class map: the learned class embeddings laid out so that near classes lie near."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import (
    class_detail,
    data,
    frames,
    map_list,
    map_pixel,
    map_points,
    picks,
    shell,
    state,
)
from workbench import charts
from workbench.charts.classes import SVG_LIMIT

_LAYOUTS = {"UMAP 2D": "umap2", "UMAP 3D": "umap3", "PCA 2D": "pca2", "PCA 3D": "pca3"}
_SHARES = [0.0, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05]  # 0 = no edges
_MOUSE = {"Pick": "pan", "Circle": "lasso", "Box": "select"}
_HEIGHT = 640


@dataclass(frozen=True)
class _Base:
    """What the parts of the page share, made once a page.

    Attributes:
        run: The open run.
        projection: Its maps.
        table: Its classes, with scores where it was evaluated.
        laid_out: Those of them that are in the maps.
        names: Of all classes, by id.
        colors: Columns to colour by.
        steps: Of the training, that have a map.
    """

    run: shell.Context
    projection: pd.DataFrame
    table: pd.DataFrame
    laid_out: pd.DataFrame
    names: dict[int, str]
    colors: list[str]
    steps: list[int]


def _base(run: shell.Context, projection: pd.DataFrame, table: pd.DataFrame) -> _Base:
    colors = [name for name in ("iou", "train_images") if name in table]
    colors += frames.attributes(table)
    colors += ["reason"] * ("reason" in table and "reason" not in colors)
    return _Base(
        run,
        projection,
        table,
        table[table["class_id"].isin(projection["class_id"])],
        frames.labels(table),
        colors,
        sorted(int(step) for step in projection["step"].unique()),
    )


@dataclass(frozen=True)
class _Choices:
    """What the row of controls says.

    Attributes:
        layout: Key of the layout, "umap2".
        color: Column to colour by.
        text: What to find.
        step: Training step.
        share: Least share of a confusion that is drawn; 0 draws none.
        play: Whether the training is played.
        drag: What dragging does in a flat map, in plotly's words.
    """

    layout: str
    color: str
    text: str
    step: int
    share: float
    play: bool
    drag: str

    @property
    def flat(self) -> bool:
        return self.layout.endswith("2")


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Class map")
    projection = data.projection(run.path)
    if projection is None or projection.empty:
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
    base = _base(run, projection, table)
    picks.seed([int(class_id) for class_id in table["class_id"]])
    top = st.container()
    left, right = shell.stack("map", [3, 2])
    with left:
        _chart(base, top)
    with right:
        _list(base)
    _strip(base)
    _detail(run, table, scores)


@st.fragment(key=map_list.CHART)
def _chart(base: _Base, top: DeltaGenerator) -> None:
    """Controls and map; drawn again where what is seen in it changes."""
    with state.url(fragment=True):
        counts = None
        if base.run.split is not None:
            counts = data.confusions(base.run.path, base.run.split)
        with top:
            choices = _controls(base, edges=counts is not None)
        points = frames.map_points(base.projection, base.table, choices.layout, choices.step)
        if choices.color == "reason":
            points["reason"] = [frames.reason_text(code) for code in points["reason"]]
        _map(base, points, choices, counts)


@st.fragment(key=map_list.LIST)
def _list(base: _Base) -> None:
    """The classes selected, found or closest to one another, beside the map."""
    map_list.show(base.laid_out, base.names, base.run.path, height=_HEIGHT - 40)


@st.fragment(key=map_list.STRIP)
def _strip(base: _Base) -> None:
    """The pictures that show the classes selected or found, below the map."""
    found = map_list.listed(base.laid_out, base.run.path)
    if found.ids and base.run.split is not None:
        map_list.pictures(base.run, base.run.split, tuple(found.ids))


@st.fragment(key=map_list.DETAIL)
def _detail(run: shell.Context, table: pd.DataFrame, scores: pd.DataFrame | None) -> None:
    """The chosen class; a click on a row or a point draws only this again."""
    with state.url(fragment=True):
        chosen = picks.seed([int(class_id) for class_id in table["class_id"]])
        if chosen is not None and scores is not None and run.split is not None:
            st.divider()
            class_detail.show(run, run.split, scores, chosen)
        picks.ring(chosen)


def _controls(base: _Base, *, edges: bool) -> _Choices:
    """The row of choices."""
    wording = {"iou": "IoU", "train_images": "frequency", "reason": "trouble"}
    colors, steps = base.colors, base.steps
    state.seed("layout", list(_LAYOUTS), "UMAP 2D", str)
    state.seed("color", colors, colors[0], str)
    state.seed("step", steps, steps[-1], int)
    state.seed("edges", _SHARES, 0.0, float)
    columns = shell.flow("filters_map", [2.2, 1.2, 1.6])
    layout = columns[0].segmented_control(
        "Layout", list(_LAYOUTS), key=state.widget_key("layout"), required=True
    )
    layout = layout or "UMAP 2D"
    color = columns[1].selectbox(
        "Colour",
        colors,
        format_func=lambda name: wording.get(name, name.replace("_", " ")),
        key=state.widget_key("color"),
    )
    text = columns[2].text_input(
        "Find",
        placeholder="words of a name, or an id",
        key=map_list.FIND,
        on_change=map_list.searched,
    )
    drag, step, share, play = _second_row(steps, layout, edges=edges)
    for name, value in (("layout", layout), ("color", color), ("edges", share or None)):
        state.publish(name, value)
    state.publish("step", None if step == steps[-1] else step)
    return _Choices(_LAYOUTS[layout], color, text, step, share, play, drag)


def _second_row(steps: list[int], layout: str, *, edges: bool) -> tuple[str, int, float, bool]:
    """What dragging does, training step, share of the confusions drawn, whether to play."""
    step, share = steps[-1], 0.0
    moves = len(steps) > 1
    flat = layout.endswith("2D")
    play = moves and flat and bool(st.session_state.get("map_play"))
    columns = iter(
        shell.flow("filters_map_more", [1.3] + [1.6] * moves + [1.4] * edges + [1] * moves)
    )
    state.seed("mouse", list(_MOUSE), "Pick", str)
    mouse = next(columns).segmented_control(
        "Mouse",
        list(_MOUSE),
        key=state.widget_key("mouse"),
        required=True,
        disabled=play or not flat,
        help="Pick: click a class, drag to move, turn the wheel to zoom. Circle and box select "
        "several.",
    )
    state.publish("mouse", None if mouse == "Pick" else mouse)
    if moves:
        step = next(columns).select_slider(
            "Training step",
            steps,
            key=state.widget_key("step"),
            format_func=lambda value: f"{value:,}",
            disabled=play,
        )
    if edges:
        share = next(columns).select_slider(
            "Confusions drawn from",
            _SHARES,
            format_func=lambda value: f"{value:.0%} of a class" if value else "none",
            key=state.widget_key("edges"),
            help="Draws a line from each class to those that take at least this share of its "
            "pixels.",
            disabled=play,
        )
    if moves:
        next(columns).toggle("Play the training", key="map_play", disabled=not flat)
    return _MOUSE[mouse or "Pick"], step, share, play


def _map(base: _Base, points: pd.DataFrame, choices: _Choices, counts: pd.DataFrame | None) -> None:
    """Draws the map."""
    chosen = st.session_state[state.widget_key("class")]
    hits = map_points.hits(points, choices.text)
    # In a flat map the browser rings the chosen class: the chart would start anew, without zoom
    # and selection.
    itself = choices.play or not choices.flat or len(points) > SVG_LIMIT
    st.session_state[map_list.RINGS] = itself
    ringed = [*hits, int(chosen)] if itself and chosen is not None else hits
    view = map_points.extent(base.projection, choices.layout)
    if choices.play:
        _movie(base, points, choices, ringed)
        return
    near: list[int] = []
    goal = map_points.target(points, choices.text, chosen)
    if goal is not None:
        view, near = map_points.around(points, goal)
    edges = None
    if choices.share and counts is not None:
        edges = map_points.confusion_edges(counts, choices.share)
    pixel = map_pixel.chosen(base.run)
    figure = charts.class_map(
        points,
        color_by=choices.color,
        highlight=ringed,
        label=near,
        edges=None if edges is None else edges.table,
        pixel=None if pixel is None else map_points.pixel_place(points, pixel.nearest),
        view=view,
        isotropic=choices.layout.startswith("pca"),
        drag=choices.drag,
        height=_HEIGHT,
        dark=shell.dark(),
    )
    if choices.flat:
        _selectable(figure, base.run.path, choices.drag)
    else:
        shell.show_plot(figure, "map_3d", toolbar=True)
    _say(choices, edges, None if pixel is None else map_pixel.caption(pixel, base.names))


def _selectable(figure: go.Figure, path: str, drag: str) -> None:
    """The flat map; what is selected in it is remembered until it is let go."""

    def pick() -> None:
        map_list.picked(path, frames.selected_ids(st.session_state.get("map_2d")))

    if drag == "pan":
        picks.undim(figure)
    shell.show_plot(
        figure, "map_2d", on_select=pick, modes=("points", "box", "lasso"), toolbar=True
    )


def _movie(base: _Base, points: pd.DataFrame, choices: _Choices, ringed: list[int]) -> None:
    table = points.drop(columns=[axis for axis in "xyz" if axis in points])
    figure = charts.class_map_movie(
        map_points.movie_steps(base.projection, table, choices.layout),
        color_by=choices.color,
        highlight=ringed,
        view=map_points.extent(base.projection, choices.layout),
        isotropic=choices.layout.startswith("pca"),
        height=_HEIGHT + 60,
        dark=shell.dark(),
    )
    shell.show_plot(figure, "map_movie", toolbar=True)
    st.caption("Colours show how the trained classes score. Switch playing off to select.")


def _say(
    choices: _Choices,
    edges: map_points.Edges | None,
    pixel: str | None,
) -> None:
    """What the map means, and what it does not."""
    if choices.flat:
        lines = ["Click a class, or circle several to list them with their pictures."]
    else:
        lines = ["Drag to turn. Selecting and playing work in two dimensions."]
    if choices.layout.startswith("umap"):
        lines.append(
            "UMAP keeps neighbourhoods: how far apart distant groups lie means little. True "
            "distances stand in the table."
        )
    else:
        lines.append(
            "PCA shows the directions in which the classes differ most, of all steps on the axes "
            "of the last."
        )
    if edges is not None:
        drawn = len(edges.table)
        most = f"the {drawn:,} largest of {edges.total:,}" if drawn < edges.total else f"{drawn:,}"
        lines.append(f"Red lines: {most} confusions from {choices.share:.0%} of a class's pixels.")
    st.caption(" ".join(lines))
    if pixel is not None:
        st.caption(pixel)


if __name__ == "__main__":
    page()
