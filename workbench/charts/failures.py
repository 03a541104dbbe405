"""Charts about classes that fail."""

from __future__ import annotations

import html

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from workbench.chart_style import MUTED, figure
from workbench.charts.classes import ACCENT

_BARS = 40


def margin_histogram(
    nearest: NDArray[np.floating],
    distance: float,
    label: str,
    *,
    height: int = 210,
    dark: bool = False,
) -> go.Figure:
    """How far apart two classes are, beside how far all classes keep from their nearest.

    Args:
        nearest: Distance of every class to its nearest other class; NaN is left out.
        distance: Of the pair in question.
        label: Written at the pair's line; any text.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    values = np.asarray(nearest, dtype=np.float64)
    values = values[np.isfinite(values)]
    top = max(float(values.max(initial=0.0)), distance) * 1.08 or 1.0
    counts, edges = np.histogram(values, bins=_BARS, range=(0.0, top))
    plot = figure(height=height, dark=dark, layout={"showlegend": False, "bargap": 0.08})
    plot.add_bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=edges[1] - edges[0],
        marker={"color": "#3f86b5", "opacity": 0.75, "line": {"width": 0}},
        hovertemplate="%{y} classes at about %{x:.2f}<extra></extra>",
    )
    plot.add_vline(x=distance, line={"color": ACCENT, "width": 3})
    right = distance < top / 2  # the text stands on the side with more room
    plot.add_annotation(
        x=distance,
        y=1,
        yref="paper",
        text=html.escape(label),
        showarrow=False,
        xanchor="left" if right else "right",
        yanchor="bottom",
        font={"size": 13, "color": MUTED[dark]},
    )
    plot.update_xaxes(title_text="distance to the nearest other class (unit vectors, 0 to 2)")
    plot.update_xaxes(range=[0, top])
    plot.update_yaxes(title_text="classes", rangemode="tozero")
    return plot
