"""A trained model as one file for onnxruntime or PyTorch, without this library."""

from __future__ import annotations

from workbench.export.loading import ExportedModel, load_exported
from workbench.export.write import FORMATS, Report, export_model

__all__ = ["FORMATS", "ExportedModel", "Report", "export_model", "load_exported"]
