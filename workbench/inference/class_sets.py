"""The classes of a model as a value: taken out of a run, checked against a model, put to use."""

from __future__ import annotations

from typing import Literal

import torch

from workbench.distances import ClassEmbeddings, get_distance
from workbench.errors import DataError, RunError
from workbench.inference.loading import load_model
from workbench.models import SegmentationModel
from workbench.runs import RunDirectory
from workbench.runs.class_file import ClassSet
from workbench.vocabulary import Vocabulary

__all__ = [
    "ClassSet",
    "check_fit",
    "class_set",
    "classes_of",
    "classes_of_run",
    "embeddings_of",
    "fitted",
]


def class_set(
    classes: ClassEmbeddings,
    distance: str,
    vocabulary: Vocabulary,
    *,
    source: str = "",
    step: int | None = None,
) -> ClassSet:
    """A model's classes as a value, on the CPU, in fp32.

    Args:
        classes: Of a model's output or table.
        distance: The model's distance.
        vocabulary: Row = class id.
        source: Name of the run.
        step: Its training step.
    """
    bias = None if classes.bias is None else classes.bias.detach().cpu().float()
    return ClassSet(
        weight=classes.weight.detach().cpu().float(),
        bias=bias,
        temperature=float(classes.temperature.detach()),
        distance=distance,
        vocabulary=vocabulary,
        source=source,
        step=step,
    )


def classes_of_run(
    run: RunDirectory, checkpoint: Literal["last", "best"] | int = "last"
) -> ClassSet:
    """The classes a run learned.

    Raises:
        RunError: No such checkpoint, or the run's model is dense: its classes are no rows.
    """
    model, step = load_model(run, checkpoint)
    return classes_of(model, run.vocabulary(), source=run.name, step=step, label=str(run.path))


def classes_of(
    model: SegmentationModel,
    vocabulary: Vocabulary,
    *,
    source: str,
    step: int | None,
    label: str,
) -> ClassSet:
    """The classes of a loaded model.

    Args:
        model: Trained.
        vocabulary: Row = class id.
        source: Name of its run.
        step: Its training step.
        label: How the error calls it.

    Raises:
        RunError: It is dense: its classes are no rows.
    """
    if model.table is None:
        raise RunError(
            f"{label}: loss.name is dense, so there are no class embeddings to export; "
            "train with the loss nearest or streaming"
        )
    return class_set(model.table(), model.distance, vocabulary, source=source, step=step)


def fitted(classes: ClassSet, model: SegmentationModel, *, label: str) -> ClassEmbeddings:
    """Classes as a model's searches take them, on its device; errors as in ``check_fit``."""
    if model.table is None:
        raise DataError(
            f"{label}: this run's model is dense and has no class embeddings; "
            "give a run trained with the loss nearest or streaming"
        )
    check_fit(classes, dim=int(model.table.weight.shape[1]), distance=model.distance, label=label)
    device = model.table.weight.device
    weight, bias, temperature = embeddings_of(classes)
    return ClassEmbeddings(
        weight.to(device), None if bias is None else bias.to(device), temperature.to(device)
    )


def embeddings_of(classes: ClassSet) -> ClassEmbeddings:
    """The table in the form that searches and losses take."""
    return ClassEmbeddings(classes.weight, classes.bias, torch.tensor(classes.temperature))


def check_fit(classes: ClassSet, *, dim: int, distance: str, label: str = "the classes") -> None:
    """Makes sure that classes can be used with a model.

    Args:
        classes: From a file.
        dim: Length of the model's embeddings.
        distance: The model's distance.
        label: How the error calls the classes.

    Raises:
        DataError: Another embedding length, distance, or a bias where there must be none.
    """
    for field, theirs, ours in (
        ("embedding_dim", classes.dim, dim),
        ("distance", classes.distance, distance),
    ):
        if theirs != ours:
            raise DataError(
                f"{label}: {field} is {theirs}, the run's is {ours}; take classes that were "
                "exported from this run"
            )
    if (classes.bias is not None) == get_distance(distance).normalized:
        raise DataError(
            f"{label}: 'bias' does not go with the {distance} distance; export the classes again"
        )
