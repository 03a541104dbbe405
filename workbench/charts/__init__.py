"""Charts: a table goes in, a plotly figure comes out.

Used by the app and by the notebooks alike, so nothing here knows of widgets or Streamlit.
Backgrounds are transparent and grid lines half-transparent grey, so that a figure sits on
white and on dark paper; ``dark`` only chooses the colour of the text. Names come from
datasets and are escaped: plotly would read them as HTML.
"""

from __future__ import annotations

from workbench.chart_style import figure, template
from workbench.charts.classes import class_map, iou_against_images
from workbench.charts.training import curve, group_bars, iou_histogram, smooth

__all__ = [
    "class_map",
    "curve",
    "figure",
    "group_bars",
    "iou_against_images",
    "iou_histogram",
    "smooth",
    "template",
]
