"""The run directory: everything one training leaves, in one folder.

```
config.yaml  environment.json  vocabulary.parquet  status.json  metrics.jsonl  tensorboard/
bad_batch.json (the images of the step whose loss stopped the training, if one did)
checkpoints/step_000500/  checkpoints/last, best
embeddings/step_000500.safetensors  embeddings/projection.parquet
evaluation/<split>/  summary.json  per_class.parquet  per_image_class.parquet
                     confusions.parquet  images/ truth/ predictions/
```
Only this package knows these names. A run opens whatever moment its writer was killed at:
a reader gets the last whole state, or a `RunError` of one line.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import yaml

from workbench.errors import RunError, WorkbenchError
from workbench.runs import lock, readers
from workbench.runs.artifacts import CheckpointFiles, EmbeddingFiles
from workbench.runs.atomic import (
    abandoned,
    atomic_directory,
    remove_leftovers,
    write_json,
    write_text,
)
from workbench.runs.environment import describe_environment
from workbench.runs.results import EvaluationFiles
from workbench.runs.states import StateFiles
from workbench.vocabulary import Vocabulary

MARKERS: Final = ("config.yaml", "status.json", "vocabulary.parquet", "evaluation")
"""A folder with any of these is a run."""
NAMES: Final = frozenset(
    {
        *("config.yaml", "environment.json", "vocabulary.parquet", "status.json"),
        *(
            "metrics.jsonl",
            "bad_batch.json",
            "tensorboard",
            "checkpoints",
            "embeddings",
            "evaluation",
        ),
    }
)
"""All a run has at its top."""


class RunDirectory(StateFiles, CheckpointFiles, EmbeddingFiles, EvaluationFiles):
    """Reads and writes one run; make it with `create` (to write) or `open` (to read).

    Examples:
        >>> run = RunDirectory.open("runs/demo")
        >>> run.evaluations(), len(run.vocabulary())
        (['val'], 1284)
        >>> run.read_per_class("val")["class_id"].tolist() == list(range(1284))
        True
    """

    def __init__(self, path: Path | str) -> None:
        """Remembers the folder; use `create` or `open`."""
        super().__init__(path)
        self._lock: int | None = None

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        config: Mapping[str, Any],
        vocabulary: Vocabulary,
        resume: bool = False,
    ) -> Self:
        """Makes a run directory, or takes up an existing one.

        Args:
            path: The run's folder.
            config: All settings as plain YAML values.
            vocabulary: The classes.
            resume: Whether the folder may hold a run already, to go on with. Its settings
                are replaced by `config`; its classes must be the same.

        Returns:
            The run, not locked.

        Raises:
            RunError: The folder holds a run and `resume` is False, or other files, or is
                being written, or has other classes.
        """
        run = cls(path)
        run.check_vacant(resume=resume)  # before the lock, which tidies the folder
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{path} cannot be made ({error.strerror}); choose another folder for the run"
            ) from error
        with run.lock():
            run.check_vacant(resume=resume)
            run._check_classes(vocabulary)
            vocabulary.to_parquet(run.path / "vocabulary.parquet")
            write_json(run.path / "environment.json", describe_environment())
            write_text(run.path / "config.yaml", _to_yaml(config))
        return run

    @classmethod
    @contextmanager
    def create_whole(
        cls, path: Path | str, *, config: Mapping[str, Any], vocabulary: Vocabulary
    ) -> Iterator[Self]:
        """Makes a run that appears at `path` on a clean exit, whole, or never.

        For what needs no look at while it is written. What an earlier call for the same path
        has left behind is removed if its process is dead and, as the process may be another
        machine's, its lock free.

        Args:
            path: The run's folder; must not exist, or be empty.
            config: All settings as plain YAML values.
            vocabulary: The classes.

        Yields:
            The run at a temporary place, locked until it has its own.

        Raises:
            RunError: The folder is not empty.
        """
        target = Path(path)
        cls._check_free(target)
        for leftover in abandoned(target):
            if lock.is_locked(leftover) is False:
                shutil.rmtree(leftover, ignore_errors=True)
        with ExitStack() as locked, atomic_directory(target, sync=False) as temporary:
            run = cls.create(temporary, config=config, vocabulary=vocabulary)
            locked.enter_context(run.lock())
            yield run
            cls._check_free(target)

    @staticmethod
    def _check_free(target: Path) -> None:
        if target.is_dir() and not any(target.iterdir()):
            return
        if target.exists():
            raise RunError(f"{target} is there already; choose a new folder for the run")

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Opens a run to read it, finished or not.

        Args:
            path: The run's folder.

        Returns:
            The run. What it lacks shows when it is asked for.

        Raises:
            RunError: The folder does not exist or is no run.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(f"{path} does not exist; give the folder of a run")
        if not run.is_run():
            raise RunError(f"{path} is no run folder (it has none of {', '.join(MARKERS)})")
        return run

    def is_run(self) -> bool:
        """Says whether the folder looks like a run."""
        return any((self.path / marker).exists() for marker in MARKERS)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the right to write; whoever writes, holds it.

        Taking it removes what killed writers left half done. The object that holds it may
        take it again (an evaluation within training).

        Raises:
            RunError: Another process, or another object of this one, writes to the run.
        """
        if self._lock is not None:
            yield
            return
        self._lock = lock.acquire(self.path)
        try:
            remove_leftovers(self.path)
            yield
        finally:
            descriptor, self._lock = self._lock, None
            lock.release(descriptor)

    def config(self) -> dict[str, Any]:
        """Reads the settings.

        Raises:
            RunError: The file is absent or damaged.
        """
        return readers.read_yaml(self.path / "config.yaml", remedy="train into this folder first")

    def environment(self) -> dict[str, Any]:
        """Reads what the run was made with; errors as in `config`."""
        path = self.path / "environment.json"
        return readers.read_json(path, remedy="train into this folder first")

    def vocabulary(self) -> Vocabulary:
        """Reads the classes; errors as in `config`."""
        path = self.path / "vocabulary.parquet"
        remedy = "train into this folder first"
        if not path.is_file():
            raise readers.missing(path, "no such file", remedy)
        try:
            return Vocabulary.from_parquet(path)
        except (WorkbenchError, OSError, ValueError, KeyError) as error:
            raise readers.broken(path, error, remedy) from error

    def check_vacant(self, *, resume: bool) -> None:
        """Makes sure that a new run, or with `resume` the run itself, may be written here.

        Raises:
            RunError: The folder holds a run already and `resume` is False, or other files.
        """
        if self.is_run():
            if not resume:
                raise RunError(
                    f"{self.path} holds a run already; go on with it by --resume, "
                    "or choose another folder"
                )
            return
        strangers = self.path.iterdir() if self.path.is_dir() else iter(())
        for item in strangers:
            if item.name[0] != ".":
                raise RunError(
                    f"{self.path} is no run and not empty (it has {item.name}); "
                    "choose a new folder for the run"
                )

    def _check_classes(self, vocabulary: Vocabulary) -> None:
        if not (self.path / "vocabulary.parquet").exists():
            return
        known = self.vocabulary()
        if known.names != vocabulary.names:
            raise RunError(
                f"{self.path} was trained on other classes ({len(known)}, now "
                f"{len(vocabulary)}); choose another folder or the dataset it had"
            )


def _to_yaml(config: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
