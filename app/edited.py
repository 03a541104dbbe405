"""Classes edited in this browser session: which, what they became, and the way back.

The edits belong to a run and are never written to it. Any page may ask for the outcome: where
nothing was edited, that neither reads the network nor loads torch, which takes seconds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app import data, data_classes
from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.distances import ClassEmbeddings
    from workbench.inference.class_sets import ClassSet
    from workbench.inference.vocabulary_edits import Edit, Edited, Lookup

_KEY = "vocabulary_edits"
_versions = itertools.count(1)  # unlike in every session, so that it may name a cached thing


@dataclass
class _Session:
    """The edits of one run; ``edited`` is what they make of ``base``, in all."""

    base: ClassSet
    edited: Edited
    edits: list[Edit] = field(default_factory=list)
    version: int = 0


def edited_table(run_path: str) -> tuple[ClassEmbeddings, pd.DataFrame] | None:
    """The edited classes of a run, to predict with; None where nothing was edited.

    Returns:
        The class table, and the vocabulary: row = class id of that table. Ids differ from the
        run's own; ``edited_lookup`` turns the run's into these.
    """
    session = _session(run_path, begin=False)
    if session is None or not session.edits:
        return None
    from workbench.inference.class_sets import embeddings_of

    classes = session.edited.classes
    return embeddings_of(classes), classes.vocabulary.table


def edited_lookup(run_path: str) -> Lookup | None:
    """(C of the run,) new id of each of its classes, negative = none; None if not edited."""
    session = _session(run_path, begin=False)
    return session.edited.lookup if session is not None and session.edits else None


def names(run_path: str) -> pd.DataFrame | None:
    """The vocabulary as it is now, edited or not: row = class id."""
    session = _session(run_path, begin=False)
    if session is None or not session.edits:
        return data.vocabulary(run_path)
    return session.edited.classes.vocabulary.table


def current(run_path: str) -> Edited | None:
    """The classes as they are now, edited or not; None where the run has none to edit."""
    session = _session(run_path)
    return None if session is None else session.edited


def base(run_path: str) -> ClassSet | None:
    """The run's own classes."""
    session = _session(run_path)
    return None if session is None else session.base


def edits(run_path: str) -> list[Edit]:
    """The edits in their order."""
    session = _session(run_path, begin=False)
    return [] if session is None else list(session.edits)


def version(run_path: str) -> int:
    """A number that changes with every edit and undo; 0 before the first."""
    session = _session(run_path, begin=False)
    return 0 if session is None else session.version


def make(run_path: str, edit: Edit) -> Edited:
    """Makes an edit.

    Raises:
        DataError: It cannot be made, or the run's network is gone; nothing has changed then.
    """
    session = _session(run_path)
    if session is None:
        raise DataError(
            "the network of this run cannot be read, or does not fit its settings; nothing was "
            "changed"
        )
    from workbench.inference.vocabulary_edits import apply, remap

    step = apply(session.edited.classes, edit, margin=margin(run_path))
    session.edited = step._replace(lookup=remap(session.edited.lookup, step.lookup))
    session.edits.append(edit)
    session.version = next(_versions)
    return step


def undo(run_path: str, *, everything: bool = False) -> None:
    """Takes the last edit back, or all of them."""
    session = _session(run_path, begin=False)
    if session is None or not session.edits:
        return
    from workbench.inference.vocabulary_edits import replay

    session.edits = [] if everything else session.edits[:-1]
    session.edited = replay(session.base, session.edits, margin=margin(run_path))
    session.version = next(_versions)


def margin(run_path: str) -> float:
    """The separation margin the run was trained with."""
    from workbench.inference.vocabulary_edits import SEPARATION_MARGIN

    loss = data.config(run_path).get("loss")
    value = loss.get("separation_margin") if isinstance(loss, dict) else None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return float(value) if known and value is not None else SEPARATION_MARGIN


def _session(run_path: str, *, begin: bool = True) -> _Session | None:
    sessions: dict[str, _Session] = st.session_state.setdefault(_KEY, {})
    session = sessions.get(run_path)
    if session is None and not begin:
        return None  # nothing was edited: no need to load the model
    base = data_classes.model_classes(run_path)
    if base is None:
        return None
    from workbench.inference.vocabulary_edits import replay

    # Trained on meanwhile: pixels of the old network mean nothing to the new one.
    if session is None or not _same(session.base, base):
        if session is not None and session.edits:
            st.toast("The run has a new checkpoint; the edits of its classes were dropped.")
        session = sessions[run_path] = _Session(base, replay(base, []), version=next(_versions))
    return session


def _same(one: ClassSet, other: ClassSet) -> bool:
    if one is other:
        return True
    import torch

    return (
        one.step == other.step
        and one.weight.shape == other.weight.shape
        and torch.equal(one.weight, other.weight)
        and one.vocabulary.names == other.vocabulary.names
    )
