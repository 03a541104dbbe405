"""A model by whatever a person calls it: a run's folder, a shared folder, a name on the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple

from workbench.inference.loading import load_model
from workbench.models import SegmentationModel
from workbench.runs import RunDirectory
from workbench.runs.shared_folder import is_shared
from workbench.vocabulary import Vocabulary

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


class Source(NamedTuple):
    """A model with its classes.

    Attributes:
        model: In evaluation mode, on the CPU, in fp32.
        vocabulary: Row = class id.
        name: What it was called.
        step: Its training step; None if it is not known.
    """

    model: SegmentationModel
    vocabulary: Vocabulary
    name: str
    step: int | None

    @property
    def title(self) -> str:
        """The name as others may read it: what a folder is called, but not where it lies."""
        path = Path(self.name)
        return path.name if path.exists() else self.name


def load_source(name: str, checkpoint: Literal["last", "best"] | int = "last") -> Source:
    """Loads a model.

    Args:
        name: Folder of a run or of a shared model; else, if it looks like NAME/MODEL, of the hub.
        checkpoint: Which one of a run; a shared model has only one.

    Raises:
        RunError: There is no such model, or it is damaged.
    """
    path = Path(name)
    if is_shared(path) or (not path.exists() and _HUB_NAME.fullmatch(name)):
        from workbench.sharing.model import SharedModel

        shared = SharedModel.from_pretrained(name)
        return Source(shared.model, shared.vocabulary, name, shared.facts.step)
    run = RunDirectory.open(path)
    model, step = load_model(run, checkpoint)
    return Source(model, run.vocabulary(), run.name, step)
