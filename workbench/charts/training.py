"""Charts of a training and of its headline numbers."""

from __future__ import annotations

import html
import itertools
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.chart_style import MUTED, figure
from workbench.colors import CATEGORIES, IOU_RAMP, category_colors, sample_ramp


def smooth(values: pd.Series, rows: int) -> pd.Series:
    """Mean over a window of ``rows`` about each row, which does not lag behind a steep fall."""
    return values.rolling(max(1, rows), center=True, min_periods=1).mean()


def curve(
    metrics: pd.DataFrame,
    column: str,
    *,
    label: str,
    x: str = "step",
    unit: str = "training steps",
    height: int = 280,
    dark: bool = False,
) -> go.Figure:
    """One quantity over training: each record thin, their moving average thick.

    Args:
        metrics: Records of a run, with columns ``x`` and ``column``; rows without are skipped.
        column: What to draw.
        label: Axis title of the quantity, with its unit.
        x: Column of the horizontal axis.
        unit: Its axis title.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    rows = metrics[[x, column]].dropna()
    plot = figure(height=height, dark=dark, layout={"hovermode": "x unified", "showlegend": False})
    color = CATEGORIES[0]
    many = len(rows) > 40
    plot.add_scatter(
        x=rows[x],
        y=rows[column],
        mode="lines" if many else "lines+markers",
        line={"color": color, "width": 1 if many else 2},
        marker={"size": 6},
        opacity=0.35 if many else 1.0,
        hoverinfo="skip" if many else "all",
        hovertemplate="" if many else "%{y:.4g}<extra></extra>",
    )
    if many:
        plot.add_scatter(
            x=rows[x],
            y=smooth(rows[column], len(rows) // 25),
            mode="lines",
            line={"color": color, "width": 2.5},
            hovertemplate="%{y:.4g}<extra></extra>",
        )
    plot.update_xaxes(title_text=unit, showgrid=False, rangemode="tozero", tickformat=",")
    plot.update_yaxes(title_text=label, rangemode="tozero")
    return plot


def training_panels(
    metrics: pd.DataFrame, *, steps: int | None = None, height: int = 280, dark: bool = False
) -> go.Figure:
    """Loss and validation mIoU over training, side by side.

    Args:
        metrics: Records of a run: step, loss and, where it was evaluated, val_miou.
        steps: Where the training ends, for the axes; None takes the last record.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure of three traces: the loss of each record, its moving average, the mIoU.
    """
    plot = make_subplots(cols=2, horizontal_spacing=0.1)
    rows = metrics.reindex(columns=["step", "loss", "val_miou"]).astype(float)
    loss, scores = rows.dropna(subset="loss"), rows.dropna(subset="val_miou")
    line = {"color": CATEGORIES[0], "width": 1}
    said: dict[str, Any] = {"mode": "lines", "hovertemplate": "step %{x}: %{y:.4g}<extra></extra>"}
    plot.add_scatter(x=loss["step"], y=loss["loss"], opacity=0.4, line=line, **said, row=1, col=1)
    mean = smooth(loss["loss"], len(loss) // 25)
    thick = {**line, "width": 2.5}
    plot.add_scatter(x=loss["step"], y=mean, line=thick, **said, row=1, col=1)
    said["mode"] = "lines+markers"
    line = {"color": CATEGORIES[1], "width": 2}
    plot.add_scatter(x=scores["step"], y=scores["val_miou"], line=line, **said, row=1, col=2)
    base = figure(height=height, dark=dark, layout={"showlegend": False})
    plot.update_layout(base.layout.to_plotly_json())
    last = steps or max([1.0, *rows["step"].dropna()])
    plot.update_xaxes(title_text="training steps", range=[0, last], showgrid=False, tickformat=",")
    plot.update_yaxes(title_text="loss per pixel", rangemode="tozero", row=1, col=1)
    plot.update_yaxes(title_text="mean IoU (val)", rangemode="tozero", row=1, col=2)
    if scores.empty:
        note: dict[str, Any] = {
            "text": "not evaluated yet",
            "showarrow": False,
            "font": {"color": MUTED[dark]},
        }
        middle: dict[str, Any] = {"x": 0.5, "y": 0.5, "xref": "x2 domain", "yref": "y2 domain"}
        plot.add_annotation(**note, **middle)
    return plot


def group_bars(groups: pd.DataFrame, *, height: int = 280, dark: bool = False) -> go.Figure:
    """Mean IoU of each group of classes.

    Args:
        groups: Columns group, miou (0..1, NaN when the split has none), classes (scored).
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    rows = groups.iloc[::-1]
    names = [html.escape(str(group)) for group in rows["group"]]
    own = category_colors(rows["group"])
    colors = [own.get(str(group), MUTED[dark]) for group in rows["group"]]
    notes = [
        f"{miou:.3f}  ·  {int(count):,} classes" if np.isfinite(miou) else "no class in this split"
        for miou, count in zip(rows["miou"], rows["classes"], strict=True)
    ]
    plot = figure(height=height, dark=dark, layout={"showlegend": False, "bargap": 0.35})
    plot.add_bar(
        x=rows["miou"].fillna(0.0),
        y=np.array(names, dtype=object),
        orientation="h",
        marker={"color": colors, "cornerradius": 3},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        textfont={"size": 13},
        hoverinfo="skip",
    )
    top = float(rows["miou"].max()) if rows["miou"].notna().any() else 1.0
    # Room at the right of the longest bar for its note.
    plot.update_xaxes(
        title_text="mean IoU",
        range=[0, max(0.1, top * 1.6)],
        tickvals=[tick / 10 for tick in range(11) if tick / 10 <= max(0.1, top + 0.05)][::2],
    )
    plot.update_yaxes(showgrid=False, ticks="", tickfont={"size": 13})
    return plot


def iou_histogram(per_class: pd.DataFrame, *, height: int = 280, dark: bool = False) -> go.Figure:
    """How many classes reach which IoU; classes at exactly 0 have a bar of their own.

    Args:
        per_class: Column iou (0..1, NaN skipped).
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    iou = per_class["iou"].dropna().to_numpy()
    edges = np.linspace(0.0, 1.0, 21)
    positive = np.histogram(iou[iou > 0], edges)[0]
    middles = (edges[:-1] + edges[1:]) / 2
    x = np.concatenate(([-0.05], middles))
    counts = np.concatenate(([np.sum(iou == 0)], positive))
    spans = ["exactly 0"] + [f"{a:.2f}–{b:.2f}" for a, b in itertools.pairwise(edges)]
    plot = figure(height=height, dark=dark, layout={"showlegend": False, "bargap": 0.12})
    plot.add_bar(
        x=x,
        y=counts,
        marker={"color": sample_ramp(IOU_RAMP, np.clip(x, 0, 1)), "cornerradius": 2},
        customdata=np.array(spans, dtype=object),
        hovertemplate="IoU %{customdata}: %{y} classes<extra></extra>",
    )
    plot.update_xaxes(
        title_text="IoU",
        tickvals=[-0.05, 0.2, 0.4, 0.6, 0.8, 1.0],
        ticktext=["0", "0.2", "0.4", "0.6", "0.8", "1"],
        showgrid=False,
    )
    plot.update_yaxes(title_text="number of classes")
    return plot
