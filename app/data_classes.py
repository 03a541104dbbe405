"""Class tables in and out: of a run's model, and of class files. Part of the door to artifacts."""

from __future__ import annotations

import shlex

import streamlit as st

from app import data, data_pictures
from workbench.errors import WorkbenchError
from workbench.runs import RunDirectory, Stamp, stamp
from workbench.runs.class_file import (
    SUFFIX,
    ClassSet,
    class_file_bytes,
    parse_class_file,
)

__all__ = [
    "SUFFIX",
    "UNREADABLE",
    "Stamp",
    "class_file_bytes",
    "model_classes",
    "parse_class_file",
    "why_not",
]

UNREADABLE = (
    "The checkpoint of this run cannot be read, or does not fit its settings. "
    "See what is wrong with it:"
)


def model_classes(path: str) -> ClassSet | None:
    """The classes a run learned, with their names; None where it has none or no checkpoint."""
    return _model_classes(path, stamp(path, "config", "vocabulary", "checkpoints"))


@st.cache_resource(show_spinner=False, max_entries=4)
def _model_classes(path: str, stamp: Stamp) -> ClassSet | None:
    from workbench.inference.class_sets import class_set  # loads torch

    loaded = data.model(path)
    if loaded is None or loaded.classes is None:
        return None
    run = RunDirectory(path)
    try:
        return class_set(
            loaded.classes, loaded.distance, run.vocabulary(), source=run.name, step=loaded.step
        )
    except (WorkbenchError, OSError, ValueError):
        return None


def why_not(path: str) -> tuple[str, str | None] | None:
    """Why the classes of a run cannot be edited, and the command that would change it.

    Reads a few bytes of the checkpoint, not the network: that is asked only once it is loaded,
    see ``data_pictures.warm_up``.

    Returns:
        None where they can.
    """
    if not data.is_run(path):
        return ("This run is no longer there. Choose another one in the sidebar.", None)
    if not data_pictures.has_model(path):
        return (
            "This run keeps no checkpoint (it was imported, or training has not saved one yet). "
            "Adding a class needs the network, so classes cannot be edited here.",
            None,
        )
    found = _has_table(path, stamp(path, "checkpoints"))
    if (
        found is None
        or data.vocabulary(path) is None
        or (data_pictures.is_warm(path) and data.model(path) is None)
    ):
        return (UNREADABLE, f"workbench vocabulary export {shlex.quote(path)} classes{SUFFIX}")
    if found:
        return None
    return (
        "This run's model is dense: each class is an output of the network, not a row of a table "
        "that could be changed without training. Train with the loss nearest or streaming:",
        "workbench train --preset default --loss.name streaming --run runs/NAME",
    )


@st.cache_data(show_spinner=False, max_entries=64)
def _has_table(path: str, stamp: Stamp) -> bool | None:
    """Whether the newest network has a class table; None where it cannot be read."""
    try:
        return "table.weight" in RunDirectory(path).checkpoint_shapes()
    except (WorkbenchError, OSError):
        return None
