"""Using a trained model: labels of pictures, models back from run directories."""

from __future__ import annotations

from workbench.inference.loading import build_from_config, load_model
from workbench.inference.predict import labels_of, predict_labels

__all__ = ["build_from_config", "labels_of", "load_model", "predict_labels"]
