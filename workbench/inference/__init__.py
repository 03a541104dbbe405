"""Using a trained model: labels of pictures, models back from run directories."""

from __future__ import annotations

from workbench.inference.bands import Band, segment_bands
from workbench.inference.loading import build_from_config, load_model
from workbench.inference.predict import labels_of, predict_labels
from workbench.inference.scaled import at_scales
from workbench.inference.tiles import Tiling
from workbench.inference.views import Views, parse_scales

__all__ = [
    "Band",
    "Tiling",
    "Views",
    "at_scales",
    "build_from_config",
    "labels_of",
    "load_model",
    "parse_scales",
    "predict_labels",
    "segment_bands",
]
