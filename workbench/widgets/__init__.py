"""Interactive views of a run for Jupyter, one line each: ``PredictionViewer("runs/mine")``.

They are ipywidgets about figures from :mod:`workbench.charts`. Where no kernel runs, as in a
notebook exported to HTML, the figure as it was last shown stands in their place.
"""

from __future__ import annotations

from workbench.widgets.class_map import ClassMap
from workbench.widgets.idea import PixelAmongClasses
from workbench.widgets.pictures import PredictionViewer
from workbench.widgets.pixels import PixelInspector
from workbench.widgets.training import TrainingMonitor

__all__ = [
    "ClassMap",
    "PixelAmongClasses",
    "PixelInspector",
    "PredictionViewer",
    "TrainingMonitor",
]
