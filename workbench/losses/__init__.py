"""Losses: network output and mask in, (sum, count) out."""

from __future__ import annotations

from workbench.losses.cross_entropy import (
    LossTerms,
    dense_cross_entropy,
    nearest_cross_entropy,
    streaming_cross_entropy,
)
from workbench.losses.modules import (
    LOSSES,
    SegmentationLoss,
    build_loss,
    get_loss,
    register_loss,
)
from workbench.losses.pixel_sampling import interpolate_at, sample_pixels, select_pixels, upsample
from workbench.losses.regularizers import separation_penalty

__all__ = [
    "LOSSES",
    "LossTerms",
    "SegmentationLoss",
    "build_loss",
    "dense_cross_entropy",
    "get_loss",
    "interpolate_at",
    "nearest_cross_entropy",
    "register_loss",
    "sample_pixels",
    "select_pixels",
    "separation_penalty",
    "streaming_cross_entropy",
    "upsample",
]
