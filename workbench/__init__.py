"""Semantic segmentation for any number of classes, at the memory of a few.

The network gives every pixel a small embedding and every class a point; a pixel's
class is the nearest point (Jain et al., "Scaling Semantic Segmentation Beyond 1K
Classes on a Single GPU", ICCV 2021). Data flows one way::

    datasets -> models -> losses -> trainers -> evaluation -> runs -> charts -> app

Importing this package is quick: torchvision, timm, umap and plotly are imported by
the functions that need them.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.segmenter import Segmentation, Segmenter

try:
    __version__ = version("segmentation-workbench")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Segmentation", "Segmenter", "__version__"]


def __getattr__(name: str) -> object:
    """Loads torch and the rest only for who asks for a model."""
    if name in ("Segmentation", "Segmenter"):
        from workbench import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
