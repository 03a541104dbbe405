"""From a run directory back to a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from workbench import config
from workbench.errors import RunError, first_line
from workbench.losses import get_loss
from workbench.models import SegmentationModel, build_model, build_outline
from workbench.runs import RunDirectory


def build_from_config(run_config: config.Run, classes: int) -> SegmentationModel:
    """The model a configuration describes, with or without a class table as its loss needs."""
    return build_model(
        run_config.model, classes, class_table=get_loss(run_config.loss.name).uses_class_table
    )


def with_weights(
    run_config: config.Run, classes: int, weights: Mapping[str, Tensor]
) -> SegmentationModel:
    """The model of a configuration with trained weights, for evaluation: on the CPU, in fp32.

    All of its weights are given: nothing is downloaded for a pretrained backbone.

    Raises:
        RunError: The weights do not fit the configuration.
    """
    bare = dataclasses.replace(run_config, model=run_config.model.without_start())
    model = build_from_config(bare, classes)
    model.load_weights(weights)
    return model.eval()


def with_foreign_weights(
    run_config: config.Run, classes: int, weights: Mapping[str, Tensor]
) -> SegmentationModel:
    """As ``with_weights``, where a stranger wrote the settings.

    Names and shapes are compared before memory is taken: settings can ask for any amount of it
    in a few digits, weights only for what their file has.

    Raises:
        RunError: The weights do not fit the configuration, or it cannot be built.
    """
    table = get_loss(run_config.loss.name).uses_class_table
    model = run_config.model
    if not table:  # D means nothing then, and nothing in the weights bounds it
        model = dataclasses.replace(model, embedding_dim=1)
    outline = build_outline(model, classes, class_table=table)
    if outline is not None:
        outline.load_weights(weights, assign=True)
    elif table and _shape(weights, "table.weight") != (classes, model.embedding_dim):
        raise RunError(
            "what was saved does not fit the model that the configuration describes: "
            f"table.weight is not {classes} x {model.embedding_dim}"
        )
    try:
        return with_weights(dataclasses.replace(run_config, model=model), classes, weights)
    except (RuntimeError, TypeError, MemoryError) as error:
        raise RunError(f"the model cannot be built: {first_line(error)[:200]}") from error


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(weights[name].shape) if name in weights else ()


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
    state = run.load_checkpoint(checkpoint)
    return with_weights(run_config, len(run.vocabulary()), state.model), state.step
