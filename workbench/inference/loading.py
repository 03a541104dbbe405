"""From a run directory back to a model."""

from __future__ import annotations

import dataclasses
from typing import Literal

from workbench import config
from workbench.losses import get_loss
from workbench.models import SegmentationModel, build_model
from workbench.runs import RunDirectory


def build_from_config(run_config: config.Run, classes: int) -> SegmentationModel:
    """The model a configuration describes, with or without a class table as its loss needs."""
    return build_model(
        run_config.model, classes, class_table=get_loss(run_config.loss.name).uses_class_table
    )


def load_model(
    run: RunDirectory, checkpoint: Literal["last", "best"] | int = "last"
) -> tuple[SegmentationModel, int]:
    """The trained model of a run, in evaluation mode, on the CPU, in fp32.

    Args:
        run: With a checkpoint.
        checkpoint: Which one.

    Returns:
        (model, the step it was saved at).

    Raises:
        RunError: No such checkpoint, or it does not fit the configuration.
    """
    run_config = config.from_dict(run.config())
    # Weights come from the checkpoint: nothing to download for a pretrained backbone.
    offline = dataclasses.replace(
        run_config, model=dataclasses.replace(run_config.model, pretrained=False)
    )
    model = build_from_config(offline, len(run.vocabulary()))
    state = run.load_checkpoint(checkpoint)
    model.load_weights(state.model)
    return model.eval(), state.step
