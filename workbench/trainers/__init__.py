"""Training: one loop, hooks beside it, and a run directory at the end."""

from __future__ import annotations

from workbench.trainers.train import train
from workbench.trainers.trainer import Trainer

__all__ = ["Trainer", "train"]
