"""The class map: embeddings laid out in two or three dimensions, still and in motion."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.chart_style import MUTED, OUTLINE, STAR, TEXT, figure
from workbench.charts.classes import add_key, point_trace, ring
from workbench.colors import ColorKey, color_key

EDGE: Final = "#d1495b"
"""Colour of confusions."""
_MOST_LABELS = 24  # beyond it labels cover one another
_LONGEST = 28  # characters of a label
_SECONDS_A_STEP = 0.9

View = Mapping[str, tuple[float, float]]
"""Range of each axis that is in view."""


def class_map(
    points: pd.DataFrame,
    *,
    color_by: str = "iou",
    highlight: Collection[int] = (),
    label: Collection[int] = (),
    edges: pd.DataFrame | None = None,
    pixel: Sequence[float] | None = None,
    view: View | None = None,
    isotropic: bool = True,
    drag: str = "lasso",
    height: int = 640,
    dark: bool = False,
) -> go.Figure:
    """The class embeddings laid out in two or three dimensions.

    Args:
        points: One row per class: class_id, name, x, y, for three dimensions z, and the
            columns to colour by and to show on hovering.
        color_by: Column that colours the points.
        highlight: class_ids to ring; they are named too where they are few.
        label: class_ids to name, in a lighter tone.
        edges: Confusions to draw: truth, predicted (class ids), share (0..1).
        pixel: Where a pixel's star goes, as long as there are axes.
        view: Range of each axis; all of the map if None.
        isotropic: Whether both axes of a flat map have the same scale, as a PCA needs; else
            the map fills its frame.
        drag: What dragging does in a flat map: "lasso", "select" or "pan".
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure whose first trace, but for the lines of the confusions below it, holds all
        classes, ``customdata`` = [class_id].
    """
    axes = ["x", "y", "z"] if "z" in points else ["x", "y"]
    key = color_key(points, color_by)
    lines = [] if edges is None or edges.empty else _edge_traces(points, edges, axes)
    plot = _canvas(points, key, height, dark, below=lines)
    named = points[points["class_id"].isin(list(label)) & ~points["class_id"].isin(list(highlight))]
    if len(named):
        plot.add_trace(_names(named.head(_MOST_LABELS), axes, MUTED[dark], 11, room=10))
    picked = points[points["class_id"].isin(list(highlight))]
    if len(picked):
        plot.add_trace(ring({axis: picked[axis] for axis in axes}))
        if len(picked) <= _MOST_LABELS:
            plot.add_trace(_names(picked, axes, TEXT[dark], 13, room=22))
    if pixel is not None and len(pixel) == len(axes):
        plot.add_trace(_star(dict(zip(axes, pixel, strict=True))))
    add_key(plot, key, dark=dark, three="z" in points)
    _set_axes(plot, axes, view, isotropic, drag)
    return plot


def class_map_movie(
    steps: Sequence[tuple[int, pd.DataFrame]],
    *,
    color_by: str = "iou",
    highlight: Collection[int] = (),
    view: View | None = None,
    isotropic: bool = True,
    height: int = 640,
    dark: bool = False,
) -> go.Figure:
    """A flat class map that plays the training in the browser, with a button and a slider.

    Args:
        steps: (training step, points as in `class_map`), first to last, the same classes each.
        color_by: As in `class_map`.
        highlight: As in `class_map`.
        view: As in `class_map`; wide enough for all steps.
        isotropic: As in `class_map`.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    _, first = steps[0]
    key = color_key(first, color_by)
    plot = _canvas(first, key, height, dark)
    picked = first["class_id"].isin(list(highlight)).to_numpy()
    plot.add_trace(ring({axis: first.loc[picked, axis] for axis in ("x", "y")}))
    # Movement between two steps is drawn only by SVG; WebGL jumps.
    smooth = isinstance(plot.data[0], go.Scatter)
    plot.frames = [
        go.Frame(name=f"{step}", traces=[0, 1], data=[_places(now), _places(now[picked])])
        for step, now in steps
    ]
    add_key(plot, key, dark=dark)
    _set_axes(plot, ["x", "y"], view, isotropic, "pan")
    _add_player(plot, [step for step, _ in steps], smooth=smooth, dark=dark)
    return plot


def _places(points: pd.DataFrame) -> go.Scatter:
    return go.Scatter(x=points["x"].to_numpy(np.float32), y=points["y"].to_numpy(np.float32))


def _canvas(
    points: pd.DataFrame,
    key: ColorKey,
    height: int,
    dark: bool,
    below: Sequence[go.Scatter | go.Scatter3d] = (),
) -> go.Figure:
    axes = ["x", "y", "z"] if "z" in points else ["x", "y"]
    plot = figure(height=height, dark=dark, layout={"hovermode": "closest", "uirevision": "map"})
    plot.add_traces(list(below))
    size = 8.0 if len(points) <= 2000 else 5.0
    plot.add_trace(point_trace({axis: points[axis] for axis in axes}, points, key, size=size))
    return plot


def _set_axes(
    plot: go.Figure, axes: Sequence[str], view: View | None, isotropic: bool, drag: str
) -> None:
    # The axes of a projection have no unit and no meaning of their own: leave them bare.
    ranges: dict[str, dict[str, Any]] = {}
    if view:
        ranges = {axis: {"range": list(view[axis])} for axis in axes}
    if "z" in axes:
        box: dict[str, Any] = {"visible": False, "showspikes": False}
        scene = {f"{axis}axis": box | ranges.get(axis, {}) for axis in axes}
        camera = {"eye": {"x": 1.2, "y": 1.2, "z": 0.8}}
        plot.update_layout(scene={**scene, "aspectmode": "cube", "camera": camera})
        plot.update_layout(dragmode="orbit")
        return
    bare: dict[str, Any] = {"visible": False, "showgrid": False, "title": {"text": ""}}
    plot.update_xaxes(**bare, **ranges.get("x", {}))
    plot.update_yaxes(**bare, **ranges.get("y", {}))
    if isotropic:
        plot.update_yaxes(scaleanchor="x")
    plot.update_layout(dragmode=drag)


def _edge_traces(
    points: pd.DataFrame, edges: pd.DataFrame, axes: Sequence[str]
) -> list[go.Scatter | go.Scatter3d]:
    """All confusions as one broken line, and unseen points amid them that say what they are."""
    at = points.set_index("class_id")
    rows = edges[edges["truth"].isin(at.index) & edges["predicted"].isin(at.index)]
    start, end = at.loc[rows["truth"], list(axes)], at.loc[rows["predicted"], list(axes)]
    gaps = np.full(len(rows), np.nan)
    lines: dict[str, Any] = {}
    middles: dict[str, Any] = {}
    for axis in axes:
        a, b = start[axis].to_numpy(np.float64), end[axis].to_numpy(np.float64)
        lines[axis] = np.stack([a, b, gaps], axis=1).ravel()
        middles[axis] = (a + b) / 2
    said = [
        f"<b>{html.escape(_short(truth))}</b> taken for "
        f"<b>{html.escape(_short(predicted))}</b>, {share:.0%}"
        for truth, predicted, share in zip(
            at.loc[rows["truth"], "name"],
            at.loc[rows["predicted"], "name"],
            rows["share"],
            strict=True,
        )
    ]
    kind = go.Scatter3d if "z" in axes else go.Scatter
    line = kind(
        **lines,
        mode="lines",
        line={"color": EDGE, "width": 1.4},
        opacity=0.55,
        hoverinfo="skip",
        name="confusions",
        showlegend=False,
    )
    middle = kind(
        **middles,
        mode="markers",
        marker={"size": 9, "color": EDGE, "opacity": 0.0},
        hovertext=said,
        hoverinfo="text",
        name="confusion",
        showlegend=False,
    )
    return [line, middle]


def _names(
    rows: pd.DataFrame, axes: Sequence[str], color: str, size: int, *, room: int
) -> go.Scatter | go.Scatter3d:
    """Names above classes, with room for a point or a ring of so many pixels between."""
    kind = go.Scatter3d if "z" in axes else go.Scatter
    places: dict[str, Any] = {axis: rows[axis] for axis in axes}
    return kind(
        **places,
        mode="markers+text",
        marker={"size": room, "opacity": 0.0},
        text=[html.escape(_short(name)) for name in rows["name"]],
        textposition="top center",
        textfont={"size": size, "color": color},
        hoverinfo="skip",
        showlegend=False,
    )


def _star(place: Mapping[str, float]) -> go.Scatter | go.Scatter3d:
    flat = "z" not in place
    places: dict[str, Any] = {axis: [value] for axis, value in place.items()}
    kind = go.Scatter if flat else go.Scatter3d
    return kind(
        **places,
        mode="markers",
        marker=STAR if flat else {**STAR, "symbol": "diamond", "size": 9},
        hovertext=["the pixel"],
        hoverinfo="text",
        name="pixel",
        showlegend=False,
    )


def _add_player(plot: go.Figure, steps: Sequence[int], *, smooth: bool, dark: bool) -> None:
    length = round(1000 * _SECONDS_A_STEP)
    glide = {"duration": length if smooth else 0, "easing": "linear"}
    play = {"frame": {"duration": length, "redraw": not smooth}, "transition": glide}
    jump: dict[str, Any] = {
        "frame": {"duration": 0, "redraw": not smooth},
        "transition": {"duration": 0},
    }
    jump |= {"mode": "immediate"}
    buttons = [
        {"label": "▶ Play", "method": "animate", "args": [None, {**play, "fromcurrent": True}]},
        {"label": "❚❚ Pause", "method": "animate", "args": [[None], jump]},
    ]
    font = {"color": TEXT[dark], "size": 12}
    look = {"bgcolor": "rgba(128,134,145,0.16)", "bordercolor": OUTLINE, "font": font}
    plot.update_layout(
        margin={"b": 84},
        updatemenus=[
            {
                **look,
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                "buttons": buttons,
                "x": 0,
                "xanchor": "left",
                "y": -0.045,
                "yanchor": "top",
                "pad": {"t": 0, "r": 8},
            }
        ],
        sliders=[
            {
                "active": 0,
                "steps": [
                    {"label": f"{step:,}", "method": "animate", "args": [[f"{step}"], jump]}
                    for step in steps
                ],
                "currentvalue": {"prefix": "step ", "font": font, "xanchor": "right"},
                "font": {"color": MUTED[dark], "size": 11},
                "bordercolor": OUTLINE,
                "tickcolor": OUTLINE,
                "bgcolor": "rgba(128,134,145,0.3)",
                "x": 0.24,
                "len": 0.74,
                "y": 0.03,
                "pad": {"t": 24},
                "transition": {"duration": 0},
            }
        ],
    )


def _short(name: object) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
