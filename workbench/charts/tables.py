"""Charts of small tables, and of how often the classes of a dataset occur."""

from __future__ import annotations

import html
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.chart_style import LEGEND_ABOVE, MUTED, figure
from workbench.charts.classes import add_key
from workbench.colors import CATEGORIES, ColorKey, category_key

_NAMED: Final = 45
"""Up to so many classes every bar has its name."""


def class_frequencies(
    table: pd.DataFrame, *, count: str = "pixels", height: int = 380, dark: bool = False
) -> go.Figure:
    """How often each class occurs, most frequent first, on a logarithmic axis.

    Bars take the colour of the class's group; of its supercategory where there is one group.

    Args:
        table: Columns name, group, supercategory and ``count``, as
            ``workbench.datasets.stats.class_table`` makes it.
        count: "pixels" or "images".
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure whose first trace holds all classes that occur; how many do not, it says.
    """
    rows = table[table[count] > 0].sort_values(count, ascending=False, kind="stable")
    plot = figure(height=height, dark=dark, layout={"bargap": 0.15, "hovermode": "closest"})
    key = _bar_colors(rows)
    named = len(rows) <= _NAMED
    names = [html.escape(str(name)) for name in rows["name"]]
    plot.add_bar(
        x=np.array(names, dtype=object) if named else np.arange(1, len(rows) + 1),
        y=rows[count],
        marker={"color": key.colors if key else CATEGORIES[0], "line": {"width": 0}},
        customdata=np.array(names, dtype=object),
        hovertemplate=f"%{{customdata}}: %{{y:,}} {html.escape(count)}<extra></extra>",
        showlegend=False,
    )
    if key:
        add_key(plot, key, dark=dark)
        plot.update_layout(legend=LEGEND_ABOVE)
    absent = len(table) - len(rows)
    if absent:
        text = f"{absent} of {len(table)} classes do not occur"
        font = {"size": 13, "color": MUTED[dark]}
        plot.add_annotation(text=text, showarrow=False, xref="paper", yref="paper", font=font)
        plot.update_annotations(x=1, y=1, xanchor="right", yanchor="top")
    plot.update_xaxes(title_text="" if named else "classes, most frequent first", showgrid=False)
    plot.update_yaxes(type="log", title_text=f"{count} (log scale)", dtick=1, tickformat=",")
    if named:
        plot.update_xaxes(tickangle=-50, type="category")
    return plot


def _bar_colors(rows: pd.DataFrame) -> ColorKey | None:
    for column in ("group", "supercategory"):
        if 1 < rows[column].nunique() <= len(CATEGORIES):
            return category_key(rows[column], column)
    return None


def table_bars(
    table: pd.DataFrame, *, value: str = "IoU", height: int = 320, dark: bool = False
) -> go.Figure:
    """Bars side by side: what several methods reach on the same things.

    Args:
        table: Numbers; the index are the things, the columns the methods. NaN has no bar.
        value: What the numbers are, for the axis.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    plot = figure(height=height, dark=dark, layout={"barmode": "group", "bargap": 0.25})
    things = np.array([html.escape(str(name)) for name in table.index], dtype=object)
    for place, column in enumerate(table.columns):
        plot.add_bar(
            x=things,
            y=table[column],
            name=html.escape(str(column)),
            marker={"color": CATEGORIES[place % len(CATEGORIES)], "cornerradius": 2},
            hovertemplate="%{x}: %{y:.3f}<extra>" + html.escape(str(column)) + "</extra>",
        )
    plot.update_xaxes(showgrid=False, type="category")
    return _finish(plot, value)


def table_lines(
    table: pd.DataFrame, *, x: str, value: str = "IoU", height: int = 340, dark: bool = False
) -> go.Figure:
    """Lines: how several things change with a quantity.

    Args:
        table: Numbers; the index is the quantity, the columns the things. NaN is a gap.
        x: What the index is, with its unit.
        value: What the numbers are.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    plot = figure(height=height, dark=dark, layout={"hovermode": "x unified"})
    for place, column in enumerate(table.columns):
        color = CATEGORIES[place % len(CATEGORIES)]
        plot.add_scatter(
            x=table.index.to_numpy(),
            y=table[column],
            name=html.escape(str(column)),
            mode="lines+markers",
            line={"color": color, "width": 2.5},
            marker={"size": 8},
            hovertemplate="%{y:.3f}",
        )
    plot.update_xaxes(title_text=html.escape(x))
    return _finish(plot, value)


def _finish(plot: go.Figure, value: str) -> go.Figure:
    plot.update_yaxes(title_text=html.escape(value), rangemode="tozero")
    plot.update_layout(legend=LEGEND_ABOVE, showlegend=True)
    return plot
