"""How the pictures for documents look, which matplotlib draws; charts have ``chart_style``."""

from __future__ import annotations

from typing import Final, Literal

from matplotlib.axes import Axes

TEXT: Final = "#2b3440"
MUTED: Final = "#5b6675"
GRID: Final = "#e4e7eb"
_LINE: Final = "#b4bac2"


def style_axes(axes: Axes, *, size: float, grid: Literal["x", "y", "both"] | None = "y") -> None:
    """Leaves of the frame the base line, and puts the grid behind what is drawn.

    Args:
        axes: Of a figure on white.
        size: Of the tick labels, in points.
        grid: Across which axes there are lines; None for none.
    """
    axes.set_facecolor("white")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)
    axes.tick_params(colors=MUTED, labelsize=size, length=0)
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
