"""Using a trained model: labels of pictures, models back from run directories."""

from __future__ import annotations

from workbench.inference.loading import build_from_config, load_model
from workbench.inference.predict import labels_of, predict_labels
from workbench.inference.scaled import at_scale

__all__ = ["at_scale", "build_from_config", "labels_of", "load_model", "predict_labels"]
