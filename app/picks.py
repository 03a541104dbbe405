"""A click in a table or a chart: the chosen class is drawn, and nothing else again.

What shows the chosen class is a fragment with a key. Tables and charts lie in other fragments
and call ``take`` from their callbacks, so that only the named fragments run.
"""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import state
from app.assets import asset
from workbench.charts.classes import ACCENT

# The style must reach the charts, which lie outside of the component.
_component = st.components.v2.component(
    "workbench_ring",
    html="<span></span>",
    css=f""".scatterlayer .point.wb-ring {{ stroke: {ACCENT} !important;
      stroke-width: 6px !important; stroke-opacity: 1 !important; opacity: 1 !important;
      paint-order: stroke; }}""",
    js=asset("ring.js"),
    isolate_styles=False,
)


def seed(ids: list[int]) -> int | None:
    """The chosen class, from the URL or the session; publishes it for the other pages.

    Args:
        ids: Of all classes.
    """
    return state.keep("class", [None, *ids], None, int)


def take(class_id: int | None, *fragments: str) -> None:
    """Chooses a class from a callback; None leaves the choice as it is.

    Args:
        class_id: The class.
        fragments: Keys of those to draw again, in this order, and no others.
    """
    if class_id is not None:
        state.choose("class", class_id)
    st.rerun(list(fragments))


def undim(figure: go.Figure) -> None:
    """Keeps a click from dimming all other points: the ring shows what was picked."""
    traces: Any = figure.data
    for trace in traces:
        if trace.customdata is not None:  # not a helper trace
            trace.unselected = {"marker": {"opacity": trace.marker.opacity}}


def ring(class_id: int | None) -> None:
    """Rings a class in all flat charts of the page, which are not drawn again for it."""
    _component(key="class_ring", data={"class_id": class_id})
