"""Charts with one point a class, and what they share: points, rings, keys of colour."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.chart_style import LEGEND_ABOVE, MUTED, OUTLINE, figure
from workbench.colors import MISSING, ColorKey, color_key

ACCENT: Final = "#f2a33a"
"""Colour of the one thing that is picked out."""

SVG_LIMIT: Final = 6000
"""Points; beyond it WebGL draws faster, below it SVG also works without a GPU."""


def hover_texts(table: pd.DataFrame, key: ColorKey | None = None) -> list[str]:
    """What a class says when the pointer rests on it, as escaped plotly HTML.

    Args:
        table: Columns name and, where known, class_id, group, iou, train_images.
        key: The quantity shown in colour, named last if it is not among the above.
    """
    lines = [f"<b>{html.escape(str(name))}</b>" for name in table["name"]]
    parts: list[tuple[str, Sequence[str]]] = []
    if "class_id" in table:
        parts.append(("class", [str(value) for value in table["class_id"]]))
    if "iou" in table:
        parts.append(("IoU", color_key(table, "iou").labels))
    if "train_images" in table:
        parts.append(("training images", [f"{int(v):,}" for v in table["train_images"].fillna(0)]))
    if "group" in table:
        parts.append(("group", [str(value) for value in table["group"]]))
    if key is not None and key.title not in {label for label, _ in parts}:
        parts.append((key.title, key.labels))
    for label, values in parts:
        said = {value: f"<br>{html.escape(label)} {html.escape(value)}" for value in set(values)}
        lines = [line + said[value] for line, value in zip(lines, values, strict=True)]
    return lines


def add_key(plot: go.Figure, key: ColorKey, *, dark: bool = False, three: bool = False) -> None:
    """Explains the colours: a colour bar for a number, a legend for categories.

    The classes are one trace with a colour array, so the key hangs on empty traces.
    """
    kind = go.Scatter3d if three else go.Scatter
    spot: dict[str, Any] = {"x": [None], "y": [None]} | ({"z": [None]} if three else {})
    title = html.escape(key.title)
    if key.ramp:
        scale = [[at / (len(key.ramp) - 1), color] for at, color in enumerate(key.ramp)]
        bar = {
            "title": {"text": title, "side": "top", "font": {"size": 13}},
            "tickvals": [at for at, _ in key.ticks],
            "ticktext": [html.escape(label) for _, label in key.ticks],
            "tickfont": {"size": 12, "color": MUTED[dark]},
            "thickness": 10,
            "len": 0.85,
            "outlinewidth": 0,
            "xpad": 6,
        }
        marker = {"color": [0.0], "cmin": 0, "cmax": 1, "colorscale": scale, "colorbar": bar}
        marker |= {"showscale": True}
        plot.add_trace(kind(**spot, mode="markers", marker=marker, showlegend=False))
        return
    for label, color in key.entries if len(key.entries) > 1 else []:
        marker = {"color": color, "size": 9, "line": {"width": 1, "color": OUTLINE}}
        name = html.escape(label)
        plot.add_trace(kind(**spot, mode="markers", marker=marker, name=name, showlegend=True))
    plot.update_layout(
        legend={"title": {"text": title}, "itemclick": False, "itemdoubleclick": False}
    )


def iou_against_images(
    per_class: pd.DataFrame,
    *,
    count: str = "train_images",
    unit: str = "training images",
    color_by: str = "group",
    highlight: int | None = None,
    height: int = 420,
    dark: bool = False,
) -> go.Figure:
    """IoU of every scored class against how often it was seen (log axis).

    Args:
        per_class: Columns class_id, name, group, iou and ``count``; unscored rows are left out.
        count: Column of how often a class was seen, by default in training.
        unit: What is counted, for the axis.
        color_by: Column that colours the points.
        highlight: class_id to ring.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure whose first trace holds all classes, ``customdata`` = [class_id].
    """
    rows = per_class[per_class["iou"].notna()]
    # A logarithm has no zero: classes never seen in training stand left of 1.
    x = rows[count].astype(float).clip(lower=0.4)
    plot = class_scatter(
        rows, x, rows["iou"], color_by=color_by, highlight=highlight, height=height, dark=dark
    )
    _add_median(plot, x, rows["iou"], dark)
    top = int(np.log10(max(10.0, float(x.max()) if len(x) else 10.0)))
    ticks = [0.4] * bool((x < 1).any()) + [10.0**power for power in range(top + 1)]
    names = ["0" if tick < 1 else f"{int(tick):,}" for tick in ticks]
    plot.update_xaxes(type="log", title_text=f"{unit} (log scale)", tickvals=ticks, ticktext=names)
    plot.update_yaxes(title_text="IoU", range=[-0.03, 1.03])
    return plot


def class_scatter(
    table: pd.DataFrame,
    x: pd.Series,
    y: pd.Series,
    *,
    color_by: str,
    highlight: int | None,
    height: int,
    dark: bool,
    hover: Sequence[str] | None = None,
) -> go.Figure:
    """One point a class, the colours explained above the plot.

    Args:
        table: Rows of classes with class_id and ``color_by``.
        x: Abscissa of each row.
        y: Ordinate of each row.
        color_by: Column that colours the points.
        highlight: class_id to ring.
        height: Pixels.
        dark: Whether it will stand on dark paper.
        hover: What each point says, as escaped plotly HTML; ``hover_texts`` if None.

    Returns:
        A figure whose first trace holds all classes, ``customdata`` = [class_id].
    """
    key = color_key(table, color_by)
    plot = figure(height=height, dark=dark, layout={"hovermode": "closest"})
    plot.add_trace(point_trace({"x": x, "y": y}, table, key, size=7, hover=hover))
    at = table["class_id"] == highlight
    if highlight is not None and at.any():
        plot.add_trace(ring({"x": x[at], "y": y[at]}))
    add_key(plot, key, dark=dark)
    plot.update_layout(legend=LEGEND_ABOVE)
    return plot


def _add_median(plot: go.Figure, x: pd.Series, y: pd.Series, dark: bool) -> None:
    """The median over ten-fold steps cut in three: what a class may expect at its frequency."""
    if len(x) < 30:
        return
    bins = (np.log10(x) * 3).round()
    middle = pd.DataFrame({"x": x, "y": y}).groupby(bins).agg(["median", "size"])
    middle = middle[middle["x"]["size"] >= 5]
    plot.add_scatter(
        x=middle["x"]["median"],
        y=middle["y"]["median"],
        mode="lines",
        showlegend=False,
        line={"color": MUTED[dark], "width": 2, "dash": "dot"},
        hovertemplate="median IoU %{y:.2f}<extra></extra>",
    )


def point_trace(
    coordinates: Mapping[str, Any],
    table: pd.DataFrame,
    key: ColorKey,
    *,
    size: float,
    hover: Sequence[str] | None = None,
) -> go.Scatter | go.Scattergl | go.Scatter3d:
    """All classes as one trace: colour codes in an array, the class id in customdata.

    Args:
        coordinates: x, y and for three dimensions z.
        table: Rows of classes, with class_id.
        key: Their colours.
        size: Of a point, in pixels.
        hover: What each says, escaped; `hover_texts` of the table if None.
    """
    common: dict[str, Any] = {
        "mode": "markers",
        "customdata": table[["class_id"]].to_numpy(),
        "hovertext": hover_texts(table, key) if hover is None else list(hover),
        "hoverinfo": "text",
        "showlegend": False,
    }
    # Numbers into a list of colours: plotly checks a thousand colour names one by one, which
    # takes longer than all the rest of a page.
    codes, shades = pd.factorize(pd.Series(key.colors, dtype=object))
    palette = [*shades, MISSING, MISSING]  # never without two, which a colour scale needs
    marker: dict[str, Any] = {
        "color": codes,
        "cmin": 0,
        "cmax": len(palette) - 1,
        "colorscale": [[at / (len(palette) - 1), color] for at, color in enumerate(palette)],
    }
    if "z" in coordinates:
        marker |= {"size": size * 0.6, "opacity": 0.95}
        # WebGL draws outlines without transparency, so this grey is darker than the others.
        marker |= {"line": {"width": 1, "color": "#6b727c"}}
        return go.Scatter3d(**coordinates, **common, marker=marker)
    kind = go.Scatter if len(table) <= SVG_LIMIT else go.Scattergl
    marker |= {"size": size, "opacity": 0.85, "line": {"width": 0}}
    return kind(
        **coordinates,
        **common,
        marker=marker,
        selected={"marker": {"opacity": 1.0}},
        unselected={"marker": {"opacity": 0.35}},
    )


def ring(coordinates: Mapping[str, Any]) -> go.Scatter | go.Scatter3d:
    """A ring round picked classes, deaf to the pointer."""
    marker: dict[str, Any] = {
        "symbol": "circle-open",
        "size": 15,
        "color": ACCENT,
        "line": {"width": 3, "color": ACCENT},
    }
    kind = go.Scatter3d if "z" in coordinates else go.Scatter
    return kind(**coordinates, mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
