"""The parts of a run directory that training leaves: checkpoints and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.errors import RunError
from workbench.runs import checkpoints, readers
from workbench.runs.atomic import atomic_file, write_parquet
from workbench.runs.checkpoints import Checkpoint
from workbench.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

PROJECTION_COLUMNS: Final = (
    "step",
    "class_id",
    "umap2_x",
    "umap2_y",
    "umap3_x",
    "umap3_y",
    "umap3_z",
    "pca_x",
    "pca_y",
    "pca_z",
)
"""Columns of `embeddings/projection.parquet`: one row per step and class."""


class CheckpointFiles(RunFolder):
    """Reads and writes `checkpoints/`."""

    def save_checkpoint(
        self,
        step: int,
        *,
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor] | None,
        trainer: Mapping[str, Any],
    ) -> Path:
        """Writes a checkpoint, whole or not at all, and points `last` to it.

        Args:
            step: Number of optimiser steps done.
            model: The model's tensors, any device and type.
            optimizer: The optimiser's tensors under flat names; None leaves them out.
            trainer: The rest of the trainer's state as plain JSON values.

        Returns:
            The checkpoint's folder.
        """
        return checkpoints.save(
            self._checkpoints, step, model=model, optimizer=optimizer, trainer=trainer
        )

    def load_checkpoint(self, which: str | int = checkpoints.LAST) -> Checkpoint:
        """Reads a checkpoint to the CPU.

        Args:
            which: "last", "best" or a step.

        Returns:
            The state saved.

        Raises:
            RunError: There is no such checkpoint, or it is damaged.
        """
        return checkpoints.load(self._checkpoints, which)

    def checkpoint_shapes(self, which: str | int = checkpoints.LAST) -> dict[str, tuple[int, ...]]:
        """Reads what a checkpoint's model consists of, without its numbers and without torch.

        Args:
            which: As for `load_checkpoint`.

        Returns:
            The shape of each of its tensors.

        Raises:
            RunError: There is no such checkpoint, or its file is cut short or no such file.
        """
        return checkpoints.tensor_shapes(self._checkpoints, which)

    def has_checkpoint(self) -> bool:
        """Says whether there is a whole checkpoint to go on from."""
        return bool(self.checkpoint_steps())

    def checkpoint_steps(self) -> list[int]:
        """Lists the steps of all whole checkpoints, oldest first."""
        return checkpoints.steps(self._checkpoints)

    def mark_best(self, step: int) -> None:
        """Points `best` to a saved step.

        Raises:
            RunError: There is no whole checkpoint of that step.
        """
        checkpoints.write_pointer(self._checkpoints, checkpoints.BEST, step)

    def best_step(self) -> int | None:
        """Returns the step `best` points to, if any."""
        return checkpoints.read_pointer(self._checkpoints, checkpoints.BEST)

    def prune_checkpoints(self, keep: int = 2) -> list[int]:
        """Removes old checkpoints, but never those `last` and `best` point to.

        Args:
            keep: How many of the newest stay.

        Returns:
            The steps removed.
        """
        return checkpoints.prune(self._checkpoints, keep)

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"


class EmbeddingFiles(RunFolder):
    """Reads and writes `embeddings/`."""

    def write_embeddings(self, step: int, table: Tensor) -> None:
        """Keeps the class table of one moment of training.

        Args:
            step: Number of optimiser steps done.
            table: (C, D), as the distance uses it.
        """
        with atomic_file(self._embeddings / f"{checkpoints.step_name(step)}.safetensors") as path:
            checkpoints.save_tensors(path, {"table": table})

    def embedding_steps(self) -> list[int]:
        """Lists the steps with a class table, oldest first."""
        found = (
            checkpoints.parse_step(path.stem) for path in self._embeddings.glob("*.safetensors")
        )
        return sorted(step for step in found if step is not None)

    def read_embeddings(self, step: int | None = None) -> Tensor:
        """Reads a class table.

        Args:
            step: The moment of training; None for the last one kept.

        Returns:
            (C, D), on the CPU, in the type it was written.

        Raises:
            RunError: There is none, or it is damaged.
        """
        path, remedy = self._table_file(step)
        tensors = checkpoints.load_tensors(path, remedy=remedy)
        if "table" not in tensors or tensors["table"].ndim != 2:
            raise readers.broken(path, "no two-dimensional tensor 'table'", remedy)
        return tensors["table"]

    def read_points(self, step: int | None = None) -> NDArray[np.float32]:
        """Reads a class table as numbers, without torch, which takes seconds to load.

        Args:
            step: The moment of training; None for the last one kept.

        Returns:
            (C, D).

        Raises:
            RunError: As in `read_embeddings`.
        """
        path, remedy = self._table_file(step)
        return checkpoints.load_table(path, "table", remedy=remedy)

    def write_projection(self, projection: pd.DataFrame) -> None:
        """Keeps the maps of the class table.

        Args:
            projection: Columns `PROJECTION_COLUMNS`, and any more.

        Raises:
            ValueError: A column is missing.
        """
        absent = [name for name in PROJECTION_COLUMNS if name not in projection]
        if absent:
            raise ValueError(f"the projection lacks the columns {absent}")
        write_parquet(self._embeddings / "projection.parquet", projection)

    def read_projection(self) -> pd.DataFrame:
        """Reads the maps of the class table.

        Raises:
            RunError: They were not made yet, or the file is damaged.
        """
        remedy = f"make it with: workbench project {self.path}"
        path = self._embeddings / "projection.parquet"
        projection = readers.read_parquet(path, remedy=remedy)
        if not set(PROJECTION_COLUMNS) <= set(projection.columns):
            raise readers.broken(path, "columns are missing", remedy)
        return projection

    def _table_file(self, step: int | None) -> tuple[Path, str]:
        """The file of a class table, and what to do where it is not."""
        known = self.embedding_steps()
        if step is None and not known:
            raise RunError(
                f"{self._embeddings} holds no class table; train a model with class embeddings"
            )
        chosen = known[-1] if step is None else step
        remedy = f"steps with a class table: {', '.join(map(str, known)) or 'none'}"
        return self._embeddings / f"{checkpoints.step_name(chosen)}.safetensors", remedy

    @property
    def _embeddings(self) -> Path:
        return self.path / "embeddings"
