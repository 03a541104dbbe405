"""What an exported file says of itself, and the class table as its graph takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from torch import Tensor

from workbench.distances import get_distance
from workbench.errors import DataError
from workbench.inference.class_sets import check_fit
from workbench.runs.class_file import ClassSet
from workbench.runs.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from workbench.vocabulary import Vocabulary

KEY: Final = "workbench"
"""Of the metadata: in ONNX a property, in pt2 the name of an extra file."""

LEAST_SIDE: Final = 64
"""Pixels that a side of a picture has at least, where the size is left open."""

_VERSION: Final = 1

Table: TypeAlias = dict[str, Tensor]


def table_of(classes: ClassSet) -> Table:
    """A class table as the inputs of an exported graph, by name.

    The temperature of the linear distance is multiplied into the rows: it changes what the
    bias is worth. That of the others changes no label and no distance.
    """
    if get_distance(classes.distance).normalized:
        return {"class_embeddings": classes.weight.contiguous()}
    if classes.bias is None:
        raise DataError("the classes have no 'bias', which the linear distance needs")
    return {
        "class_embeddings": (classes.weight * classes.temperature).contiguous(),
        "class_bias": classes.bias.contiguous(),
    }


def to_text(
    classes: ClassSet | None,
    vocabulary: Vocabulary,
    *,
    distance: str,
    size: tuple[int, int] | None,
    source: str,
    step: int | None,
) -> str:
    """The metadata, as JSON.

    Args:
        classes: Of the model; None for a dense one.
        vocabulary: Row = class id.
        distance: Of the model.
        size: (H, W) of all pictures, None for any.
        source: Name of the run.
        step: Its training step.
    """
    facts = {
        "version": _VERSION,
        "classes": len(vocabulary),
        "embedding_dim": None if classes is None else classes.dim,
        "distance": "dense" if classes is None else distance,
        "temperature": None if classes is None else classes.temperature,
        "size": size,
        "least_side": None if size else LEAST_SIDE,
        "source_run": source,
        "source_step": step,
        "vocabulary": json.loads(vocabulary_to_json(vocabulary)),
    }
    return json.dumps(facts, ensure_ascii=False, allow_nan=False)


def from_text(text: str, label: str) -> tuple[dict[str, Any], Vocabulary]:
    """Reads what ``to_text`` wrote.

    Args:
        text: From anywhere.
        label: How errors call the file.

    Raises:
        DataError: It is something else.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{label} was not made by workbench export; export it again") from error
    if not isinstance(facts, dict) or facts.get("version") != _VERSION:
        raise DataError(f"{label}: 'version' of the metadata is not {_VERSION}; export it again")
    count = facts.get("classes")
    if not isinstance(count, int) or not isinstance(facts.get("distance"), str):
        raise DataError(f"{label}: 'classes' or 'distance' is missing; export it again")
    try:
        vocabulary = vocabulary_from_json(json.dumps(facts.pop("vocabulary", None)), count)
    except DataError as error:
        raise DataError(f"{label}: {error}; export it again") from error
    return facts, vocabulary


def fitting_table(classes: ClassSet, facts: Mapping[str, Any], label: str) -> Table:
    """The inputs for other classes than those that were exported.

    Raises:
        DataError: They do not fit the model.
    """
    if facts["distance"] == "dense":
        raise DataError(f"{label} is a dense model: its classes cannot be replaced")
    check_fit(classes, dim=facts["embedding_dim"], distance=facts["distance"])
    return table_of(classes)
