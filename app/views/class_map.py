"""Class map: the learned class embeddings laid out so that near classes lie near."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import class_detail, data, frames, map_list, map_pixel, map_points, shell, state
from workbench import charts

_LAYOUTS = {"UMAP 2D": "umap2", "UMAP 3D": "umap3", "PCA 2D": "pca2", "PCA 3D": "pca3"}
_SHARES = [0.0, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05]  # 0 = no edges
_MOUSE = {"Pick": "pan", "Circle": "lasso", "Box": "select"}
_HEIGHT = 640


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
    _explore(run, projection, table, scores)


@st.fragment
def _explore(
    run: shell.Context,
    projection: pd.DataFrame,
    table: pd.DataFrame,
    scores: pd.DataFrame | None,
) -> None:
    """Controls, map, list and detail; a click in it draws nothing else again."""
    with state.url(fragment=True):
        ids = [int(class_id) for class_id in table["class_id"]]
        state.seed("class", [None, *ids], None, int)
        counts = None if run.split is None else data.confusions(run.path, run.split)
        choices = _controls(projection, table, edges=counts is not None)
        points = frames.map_points(projection, table, choices.layout, choices.step)
        if choices.color == "reason":
            points["reason"] = [frames.reason_text(code) for code in points["reason"]]
        hits = _hits(points, choices.text)
        left, right = shell.stack("map", [3, 2])
        strip, below = st.container(), st.container()
        chosen = st.session_state[state.widget_key("class")]
        state.publish("class", chosen)
        st.session_state[state.widget_key("class")] = chosen
        # First what a click asks for: the map is slower to draw, and was there before.
        if chosen is not None and scores is not None and run.split is not None:
            with below:
                st.divider()
                class_detail.show(run, run.split, scores, int(chosen))
        with left:
            picked = _map(run, projection, points, choices, hits, counts)
        with right:
            listed = map_list.show(points, picked, hits, choices.text, height=_HEIGHT - 40)
        if listed and run.split is not None:
            with strip:
                map_list.pictures(run, run.split, tuple(listed))


def _hits(points: pd.DataFrame, text: str) -> list[int]:
    if not text.strip():
        return []
    found = points.loc[frames.matches(points, text), "class_id"]
    return [int(class_id) for class_id in found]


def _controls(projection: pd.DataFrame, table: pd.DataFrame, *, edges: bool) -> _Choices:
    """The row of choices."""
    colors = [name for name in ("iou", "train_images") if name in table]
    colors += frames.attributes(table)
    colors += ["reason"] * ("reason" in table and "reason" not in colors)
    wording = {"iou": "IoU", "train_images": "frequency", "reason": "trouble"}
    steps = sorted(int(step) for step in projection["step"].unique())
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
    text = columns[2].text_input("Find", placeholder="words of a name, or an id", key="map_find")
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


def _map(
    run: shell.Context,
    projection: pd.DataFrame,
    points: pd.DataFrame,
    choices: _Choices,
    hits: list[int],
    counts: pd.DataFrame | None,
) -> list[int]:
    """Draws the map; returns the classes selected in it."""
    if choices.play:
        _movie(projection, points, choices, hits)
        return []
    # The chart starts anew, without zoom and selection, whenever anything in it changes. A class
    # clicked in it is therefore not ringed as well: plotly already shows it picked out.
    setting = (run.path, *vars(choices).values())
    clicked, when = st.session_state.get("map_clicked") or (None, None)
    chosen = st.session_state[state.widget_key("class")]
    ringed = chosen if chosen != clicked or when != setting else None
    goal = map_points.target(points, choices.text, ringed)
    view = map_points.extent(projection, choices.layout)
    near: list[int] = []
    if goal is not None:
        view, near = map_points.around(points, goal)
    edges = None
    if choices.share and counts is not None:
        edges = map_points.confusion_edges(counts, choices.share)
    pixel = map_pixel.chosen(run)
    figure = charts.class_map(
        points,
        color_by=choices.color,
        highlight=[*hits, *([] if ringed is None else [int(ringed)])],
        label=near,
        edges=None if edges is None else edges.table,
        pixel=None if pixel is None else map_points.pixel_place(points, pixel.nearest),
        view=view,
        isotropic=choices.layout.startswith("pca"),
        drag=choices.drag,
        height=_HEIGHT,
        dark=shell.dark(),
    )
    picked: list[int] = []
    if choices.flat:
        picked = _selectable(figure, setting)
    else:
        shell.show_plot(figure, "map_3d", toolbar=True)
    _say(points, choices, edges, pixel)
    return picked


def _selectable(figure: go.Figure, setting: tuple[object, ...]) -> list[int]:
    """The flat map; remembers what was selected until it is let go."""

    def pick() -> None:
        ids = frames.selected_ids(st.session_state.get("map_2d"))
        st.session_state["map_picked"] = (setting[0], ids if len(ids) > 1 else [])
        st.session_state["map_clicked"] = None
        if len(ids) == 1:
            st.session_state["map_clicked"] = (ids[0], setting)
            state.choose("class", ids[0])

    shell.show_plot(
        figure, "map_2d", on_select=pick, modes=("points", "box", "lasso"), toolbar=True
    )
    of, ids = st.session_state.get("map_picked") or ("", [])
    return list(ids) if of == setting[0] else []


def _movie(
    projection: pd.DataFrame, points: pd.DataFrame, choices: _Choices, hits: list[int]
) -> None:
    chosen = st.session_state[state.widget_key("class")]
    table = points.drop(columns=[axis for axis in "xyz" if axis in points])
    figure = charts.class_map_movie(
        map_points.movie_steps(projection, table, choices.layout),
        color_by=choices.color,
        highlight=[*hits, *([] if chosen is None else [int(chosen)])],
        view=map_points.extent(projection, choices.layout),
        isotropic=choices.layout.startswith("pca"),
        height=_HEIGHT + 60,
        dark=shell.dark(),
    )
    shell.show_plot(figure, "map_movie", toolbar=True)
    st.caption("Colours show how the trained classes score. Switch playing off to select.")


def _say(
    points: pd.DataFrame,
    choices: _Choices,
    edges: map_points.Edges | None,
    pixel: map_pixel.Pixel | None,
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
        st.caption(map_pixel.caption(pixel, frames.labels(points)))


if __name__ == "__main__":
    page()
