"""What all parts of a run directory share: where it is and what it is called."""

from __future__ import annotations

from pathlib import Path


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
