"""The common look of all charts: transparent paper, light grid, no decoration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import plotly.graph_objects as go

from workbench.colors import CATEGORIES

GRID: Final = "rgba(128,134,145,0.22)"
OUTLINE: Final = "rgba(128,134,145,0.55)"
TEXT: Final = {False: "#2b3440", True: "#dfe4ea"}
MUTED: Final = {False: "#5b6675", True: "#9aa5b3"}
STAR: Final[dict[str, Any]] = {
    **{"symbol": "star", "size": 18, "color": "#ffd84d"},
    "line": {"width": 2, "color": "#2b3440"},
}
"""The marker of a chosen pixel, wherever one is shown."""
LEGEND_ABOVE: Final[dict[str, Any]] = {
    **{"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
    "title": {"text": ""},
}
"""A legend in one line over the plot, without a title."""
_FONT = "Source Sans, Source Sans Pro, Inter, Helvetica, Arial, sans-serif"


@lru_cache(maxsize=2)
def template(dark: bool = False) -> go.layout.Template:
    """The common look: transparent paper, light grid, no decoration."""
    axis = {
        "gridcolor": GRID,
        "linecolor": OUTLINE,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": GRID,
        "ticklen": 4,
        "title": {"standoff": 8, "font": {"size": 13, "color": MUTED[dark]}},
        "tickfont": {"size": 12, "color": MUTED[dark]},
        "automargin": True,
    }
    layout = go.Layout(
        font={"family": _FONT, "size": 13, "color": TEXT[dark]},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=list(CATEGORIES),
        margin={"l": 12, "r": 12, "t": 12, "b": 12},
        xaxis=axis,
        yaxis=axis,
        hoverlabel={"font": {"family": _FONT, "size": 13}, "align": "left"},
        legend={"font": {"size": 12}, "itemsizing": "constant", "bgcolor": "rgba(0,0,0,0)"},
    )
    return go.layout.Template(layout=layout)


def figure(
    *, height: int, dark: bool = False, layout: Mapping[str, Any] | None = None
) -> go.Figure:
    """An empty figure in the common look.

    Args:
        height: Pixels.
        dark: Whether it will stand on dark paper.
        layout: Further layout properties, in place of those of the look.
    """
    look: dict[str, Any] = {
        "template": template(dark),
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 16, "b": 8},
        "dragmode": "pan",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": OUTLINE, "activecolor": MUTED[dark]},
        "xaxis": {"gridcolor": GRID},
        "yaxis": {"gridcolor": GRID},
    }
    # All at once: plotly is slow to update a layout that is there.
    return go.Figure(layout=look | dict(layout or {}))
