"""Charts: a table goes in, a plotly figure comes out.

Used by the app and by the notebooks alike, so nothing here knows of widgets or Streamlit.
Backgrounds are transparent and grid lines half-transparent grey, so that a figure sits on
white and on dark paper; ``dark`` only chooses the colour of the text. Names come from
datasets and are escaped: plotly would read them as HTML.
"""

from __future__ import annotations

from workbench.chart_style import figure, template
from workbench.charts.class_map import class_map, class_map_movie
from workbench.charts.classes import iou_against_images
from workbench.charts.compare import change_bars, drift_against_change, iou_against_iou
from workbench.charts.failures import margin_histogram
from workbench.charts.idea import circle_panes, sphere
from workbench.charts.memory import bytes_text, memory_against_classes, memory_bars, part_colors
from workbench.charts.overlay import pixel_panes, prediction_panes
from workbench.charts.pictures import mask_gallery
from workbench.charts.tables import class_frequencies, table_bars, table_lines
from workbench.charts.training import (
    curve,
    group_bars,
    iou_histogram,
    smooth,
    training_panels,
)

__all__ = [
    "bytes_text",
    "change_bars",
    "circle_panes",
    "class_frequencies",
    "class_map",
    "class_map_movie",
    "curve",
    "drift_against_change",
    "figure",
    "group_bars",
    "iou_against_images",
    "iou_against_iou",
    "iou_histogram",
    "margin_histogram",
    "mask_gallery",
    "memory_against_classes",
    "memory_bars",
    "part_colors",
    "pixel_panes",
    "prediction_panes",
    "smooth",
    "sphere",
    "table_bars",
    "table_lines",
    "template",
    "training_panels",
]
