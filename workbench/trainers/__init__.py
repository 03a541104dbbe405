"""Training: one loop, hooks beside it, and a run directory at the end.

Examples:
    Two steps on a small generated dataset; the flags of the command line are these fields.

    >>> from tempfile import TemporaryDirectory
    >>> from workbench.config import from_overrides
    >>> from workbench.datasets import prepare, write_sample
    >>> from workbench.presets import get_preset
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_sample("shapeworld", f"{folder}/data", images=8, val_images=2, classes=40)
    ...     _ = prepare("shapeworld", f"{folder}/data", workers=1)
    ...     flags = {"data.root": f"{folder}/data", "train.steps": "2"}
    ...     run = train(from_overrides(get_preset("smoke"), flags), f"{folder}/run")
    ...     run.metrics()["step"].tolist()
    [1, 2]
"""

from __future__ import annotations

from workbench.trainers.train import train
from workbench.trainers.trainer import Trainer

__all__ = ["Trainer", "train"]
