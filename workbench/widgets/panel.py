"""What the widgets share: a box that leaves a still picture where no kernel runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from workbench.runs import RunDirectory

_VIEW = "application/vnd.jupyter.widget-view+json"


class Panel:
    """Something to look at in Jupyter: controls about one figure.

    Attributes:
        figure: The figure, which changes in place.
        box: What is shown; set by the subclass. None where nothing changes (any more).
    """

    figure: Any
    box: Any

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """The live widget, and the figure as it is now for a reader without a kernel."""
        shown = still(go.Figure(self.figure).update_layout(width=None))
        if self.box is None:
            return shown
        view = self.box._repr_mimebundle_()[_VIEW]
        return {"text/plain": repr(self), _VIEW: view, "text/html": shown["text/html"]}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.figure.data)} traces>"


def still(plot: go.Figure) -> dict[str, Any]:
    """A figure as plotly displays it: its script, 5 MB, goes along with the first one only.

    `Figure._repr_mimebundle_` would send the script again each time.
    """
    shown: Any = pio.renderers._build_mime_bundle(plot.to_dict())
    if "text/html" not in shown:  # Jupyter's own renderer: take plotly.js from the network
        shown["text/html"] = plot.to_html(full_html=False, include_plotlyjs="cdn")
    return dict(shown)


def open_run(run: RunDirectory | Path | str) -> RunDirectory:
    """A run by itself or by its folder."""
    return run if isinstance(run, RunDirectory) else RunDirectory.open(run)


def control(kind: str, description: str, **options: Any) -> Any:  # noqa: ANN401
    """One ipywidgets control with room for its description."""
    if kind != "Button":
        options["style"] = {"description_width": "initial"}
    # A figure is redrawn where the mouse lets go, not at every point on the way.
    if kind.endswith("Slider") and "continuous_update" not in options:
        options["continuous_update"] = False
    return getattr(ipywidgets, kind)(description=description, **options)


def table_html(rows: pd.DataFrame, *, limit: int = 200) -> str:
    """A table as HTML that scrolls, numbers to three digits."""
    shown = rows.head(limit)
    text = shown.to_html(index=False, float_format="{:.3f}".format, border=0, escape=True)
    more = f"<p>{len(rows) - limit} more</p>" if len(rows) > limit else ""
    return f'<div style="max-height:16em;overflow:auto">{text}{more}</div>'
