"""Charts of what a number of classes costs in memory."""

from __future__ import annotations

import html
import itertools
import math
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.chart_style import LEGEND_ABOVE, OUTLINE, figure
from workbench.colors import CATEGORIES

HEADS: Final = {"dense": CATEGORIES[1], "embedding": CATEGORIES[0]}
_MIB: Final = 2**20
_TICKS: Final = {
    2**20: "1 MiB",
    10 * 2**20: "10 MiB",
    100 * 2**20: "100 MiB",
    2**30: "1 GiB",
    10 * 2**30: "10 GiB",
    100 * 2**30: "100 GiB",
    2**40: "1 TiB",
    10 * 2**40: "10 TiB",
}


def memory_against_classes(
    curves: pd.DataFrame,
    measured: pd.DataFrame,
    *,
    classes: int,
    limit: int | None = None,
    height: int = 420,
    dark: bool = False,
) -> go.Figure:
    """Memory of both heads against the number of classes, both axes on a log scale.

    Args:
        curves: Columns head, classes, bytes: the formula.
        measured: Columns head, method, classes, bytes: measurements of the same setting.
        classes: The chosen number of classes, marked.
        limit: Bytes of this machine, a line; None draws none.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    plot = figure(height=height, dark=dark, layout={"hovermode": "closest"})
    _add_curves(plot, curves, classes)
    _add_measured(plot, measured)
    plot.add_vline(x=classes, line={"color": OUTLINE, "width": 1, "dash": "dot"})
    if limit is not None:
        _add_limit(plot, limit, [int(curves["classes"].min()), int(curves["classes"].max())])
    plot.update_layout(legend=LEGEND_ABOVE)
    plot.update_xaxes(
        type="log",
        title_text="classes",
        range=[0.95, max(6.12, math.log10(classes) + 0.12)],
        tickvals=[10**power for power in range(1, 7)],
        ticktext=["10", "100", "1,000", "10,000", "100,000", "1,000,000"],
    )
    plot.update_yaxes(
        type="log",
        title_text="memory above the network",
        tickvals=list(_TICKS),
        ticktext=list(_TICKS.values()),
    )
    return plot


def _add_curves(plot: go.Figure, curves: pd.DataFrame, classes: int) -> None:
    """The formula of each head, with its value at the chosen number of classes."""
    here = curves[curves["classes"] == classes]
    for head, part in curves.groupby("head", sort=False):
        plot.add_scatter(
            x=part["classes"],
            y=part["bytes"],
            mode="lines",
            name=f"{html.escape(str(head))} head, formula",
            line={"color": HEADS.get(str(head), CATEGORIES[2]), "width": 2.5},
            customdata=np.array([bytes_text(value) for value in part["bytes"]], dtype=object),
            hovertemplate="%{x:,} classes: %{customdata}<extra></extra>",
        )
        chosen = here[here["head"] == head]
        upper = bool((chosen["bytes"] >= here["bytes"].max()).any())
        plot.add_scatter(
            x=chosen["classes"],
            y=chosen["bytes"],
            mode="markers+text",
            text=[f"<b>{bytes_text(value)}</b> " for value in chosen["bytes"]],
            textposition="top left" if upper else "bottom right",
            marker={"color": HEADS.get(str(head), CATEGORIES[2]), "size": 11},
            hoverinfo="skip",
            showlegend=False,
        )


def _add_measured(plot: go.Figure, measured: pd.DataFrame) -> None:
    """Measurements, a sign for each method."""
    symbols = itertools.cycle(("x", "diamond-open", "circle-open"))
    for method, part in measured.groupby("method", sort=False):
        plot.add_scatter(
            x=part["classes"],
            y=part["bytes"],
            mode="markers",
            name=f"{html.escape(str(method))}, measured",
            marker={
                "color": HEADS.get(str(part["head"].iloc[0]), CATEGORIES[2]),
                "size": 10,
                "symbol": next(symbols),
                "line": {"width": 2},
            },
            customdata=np.array([bytes_text(value) for value in part["bytes"]], dtype=object),
            hovertemplate="%{x:,} classes, measured: %{customdata}<extra></extra>",
        )


def _add_limit(plot: go.Figure, limit: int, ends: list[int]) -> None:
    """A line at the memory of this machine."""
    # A trace: lines of the layout have no label on a log axis.
    plot.add_scatter(
        x=ends,
        y=[limit, limit],
        mode="lines+text",
        line={"color": OUTLINE, "width": 1, "dash": "dash"},
        text=[f"  memory of this machine, {bytes_text(limit)}", ""],
        textposition="top right",
        hoverinfo="skip",
        showlegend=False,
    )


def memory_bars(parts: pd.DataFrame, *, height: int = 190, dark: bool = False) -> go.Figure:
    """What the memory of each head consists of, stacked.

    Args:
        parts: Columns head, name, bytes.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    plot = figure(height=height, dark=dark, layout={"barmode": "stack", "bargap": 0.35})
    unit = 2**30 if parts.groupby("head")["bytes"].sum().max() >= 2**30 else _MIB
    columns = (parts["head"], parts["name"], parts["bytes"].astype(float))
    for head, name, value, color in zip(*columns, part_colors(len(parts)), strict=True):
        plot.add_bar(
            x=[value / unit],
            y=np.array([html.escape(str(head))], dtype=object),
            orientation="h",
            name=html.escape(str(name)),
            marker={"color": color},
            customdata=np.array([bytes_text(value)], dtype=object),
            hovertemplate=f"{html.escape(str(name))}: %{{customdata}}<extra></extra>",
            showlegend=False,
        )
    sums = parts.groupby("head", sort=False)["bytes"].sum()
    plot.add_scatter(
        x=sums / unit,
        y=np.array([html.escape(str(head)) for head in sums.index], dtype=object),
        mode="text",
        text=[f"  {bytes_text(int(value))}" for value in sums],
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    top = float(sums.max()) / unit
    plot.update_xaxes(
        title_text="GiB" if unit == 2**30 else "MiB", range=[0, top * 1.2], tickformat=",~g"
    )
    plot.update_yaxes(showgrid=False, ticks="", autorange="reversed", tickfont={"size": 13})
    return plot


def part_colors(count: int) -> list[str]:
    """The colours of the parts in :func:`memory_bars`, for a legend elsewhere."""
    return list(itertools.islice(itertools.cycle(CATEGORIES), count))


def bytes_text(value: float) -> str:
    """Bytes as people say them: 65.3 MiB, 7.7 GiB."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (_MIB, "MiB"), (2**10, "KiB")):
        if value >= unit:
            number = value / unit
            return f"{number:,.0f} {name}" if number >= 99.5 else f"{number:#.3g} {name}"
    return f"{value:.0f} B"
