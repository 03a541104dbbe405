"""What all parts of a run directory share: where it is and what it is called."""

from __future__ import annotations

from pathlib import Path


def unused_path(folder: Path | str, name: str) -> Path:
    """A place for a new run: ``folder/name``, or with the first number that is free.

    Training refuses a folder that holds a run; a notebook's cell is run again and again.

    Args:
        folder: Where the runs are; need not exist.
        name: Of the run.

    Returns:
        ``folder/name``, ``folder/name-2``, ``folder/name-3``, ...
    """
    place, number = Path(folder) / name, 2
    while place.exists():
        place, number = Path(folder) / f"{name}-{number}", number + 1
    return place


class RunFolder:
    """A folder on disk; the parts of `RunDirectory` derive from it.

    Attributes:
        path: The run's folder, as the user gave it.
    """

    def __init__(self, path: Path | str) -> None:
        """Remembers the folder; nothing is read or created."""
        self.path = Path(path)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def __repr__(self) -> str:
        """Shows the class and the folder."""
        return f"{type(self).__name__}({str(self.path)!r})"
