"""Charts of two runs against each other: A is the one in view, every change is B - A."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.chart_style import MUTED, figure
from workbench.charts.classes import class_scatter
from workbench.colors import category_colors


def iou_against_iou(
    table: pd.DataFrame,
    *,
    names: tuple[str, str],
    color_by: str = "group",
    highlight: int | None = None,
    height: int = 440,
    dark: bool = False,
) -> go.Figure:
    """Each class's IoU in B against that in A; above the diagonal B is better.

    Args:
        table: Columns class_id, name, group, iou_a, iou_b, change; unscored rows are left out.
        names: Of A and B, for the axes.
        color_by: Column that colours the points.
        highlight: class_id to ring.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure whose first trace holds all classes, ``customdata`` = [class_id].
    """
    rows = table[table["change"].notna()]
    plot = class_scatter(
        rows,
        rows["iou_a"],
        rows["iou_b"],
        color_by=color_by,
        highlight=highlight,
        height=height,
        dark=dark,
        hover=_hover(rows),
    )
    line = {"color": MUTED[dark], "width": 1.5, "dash": "dot"}
    plot.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line, layer="below")
    plot.update_xaxes(title_text=f"IoU in {_escaped(names[0])}", range=[-0.03, 1.03])
    plot.update_yaxes(title_text=f"IoU in {_escaped(names[1])}", range=[-0.03, 1.03])
    return plot


def drift_against_change(
    table: pd.DataFrame,
    *,
    chance: float,
    color_by: str = "group",
    highlight: int | None = None,
    height: int = 380,
    dark: bool = False,
) -> go.Figure:
    """How far each class embedding moved, and what that did to its IoU.

    Args:
        table: Columns class_id, name, group, change, drift; rows without either are left out.
        chance: Drift between tables that have nothing to do with each other; NaN leaves it out.
        color_by: Column that colours the points.
        highlight: class_id to ring.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure whose first trace holds all classes, ``customdata`` = [class_id].
    """
    rows = table[table["change"].notna() & table["drift"].notna()]
    plot = class_scatter(
        rows,
        rows["drift"],
        rows["change"],
        color_by=color_by,
        highlight=highlight,
        height=height,
        dark=dark,
        hover=_hover(rows),
    )
    plot.add_hline(y=0, line={"color": MUTED[dark], "width": 1.5, "dash": "dot"})
    if np.isfinite(chance):
        plot.add_vline(
            x=chance,
            line={"color": MUTED[dark], "width": 1.5, "dash": "dash"},
            annotation={"text": "unrelated tables", "font": {"color": MUTED[dark], "size": 12}},
            annotation_position="top left",
        )
    widest = np.nanmax([*rows["drift"], chance, 0.1])  # with room for the word at its line
    plot.update_xaxes(
        title_text="drift of the class embedding (distance of unit vectors)",
        range=[0, 1.06 * widest],
    )
    plot.update_yaxes(title_text="change of IoU")
    return plot


def change_bars(groups: pd.DataFrame, *, height: int = 240, dark: bool = False) -> go.Figure:
    """Mean change of IoU of each group, with its interval.

    Args:
        groups: Columns group, change, low, high, classes; a change of NaN has no bar.
        height: Pixels.
        dark: Whether it will stand on dark paper.
    """
    rows = groups.iloc[::-1]
    own = category_colors(rows["group"])
    colors = [own.get(str(group), MUTED[dark]) for group in rows["group"]]
    change = rows["change"].astype(float)
    labels = [
        f"{_escaped(group)}  ({int(count):,})"
        for group, count in zip(rows["group"], rows["classes"], strict=True)
    ]
    plot = figure(height=height, dark=dark, layout={"showlegend": False})
    plot.add_vline(x=0, line={"color": MUTED[dark], "width": 1.5, "dash": "dot"})
    plot.add_scatter(
        x=change,
        y=np.array(labels, dtype=object),
        mode="markers",
        marker={"size": 11, "color": colors},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": rows["high"] - change,
            "arrayminus": change - rows["low"],
            "color": MUTED[dark],
            "thickness": 1.6,
            "width": 5,
        },
        customdata=np.stack([rows["low"], rows["high"]], axis=1),
        hovertemplate="%{x:+.3f}, 95 %: %{customdata[0]:+.3f} to %{customdata[1]:+.3f}"
        "<extra></extra>",
    )
    plot.update_xaxes(title_text="mean change of IoU, 95 % interval", tickformat="+.3~f", nticks=6)
    plot.update_yaxes(showgrid=False, ticks="", tickfont={"size": 13}, type="category")
    return plot


def _hover(rows: pd.DataFrame) -> list[str]:
    drift = rows["drift"] if "drift" in rows else pd.Series(np.nan, index=rows.index)
    return [
        f"<b>{_escaped(name)}</b><br>class {class_id}<br>{_escaped(group)}"
        f"<br>IoU {before:.3f} → {after:.3f} ({after - before:+.3f})"
        + (f"<br>drift {moved:.3f}" if moved == moved else "")
        for name, class_id, group, before, after, moved in zip(
            rows["name"],
            rows["class_id"],
            rows["group"],
            rows["iou_a"],
            rows["iou_b"],
            drift,
            strict=True,
        )
    ]


def _escaped(text: object) -> str:
    return html.escape(str(text))
