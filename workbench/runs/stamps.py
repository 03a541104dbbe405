"""What tells whether a part of a run has changed since it was read: a stat per file.

A folder's own modification time changes whenever something in it is renamed into place or
removed, which is how all artifacts are written; so tens of thousands of pictures cost one
stat, and a reader that is asked on every click need not list anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from workbench.runs.names import id_to_name

Stamp = tuple[tuple[str, int, int, int], ...]
"""(name, modification time in ns, size, inode) of all that is there."""

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "settings": ("config.yaml", "environment.json", "vocabulary.parquet"),
    "config": ("config.yaml",),
    "environment": ("environment.json",),
    "vocabulary": ("vocabulary.parquet",),
    "status": ("status.json",),
    "metrics": ("metrics.jsonl",),
    "checkpoints": ("checkpoints", "checkpoints/last", "checkpoints/best"),
    "embeddings": ("embeddings",),
    "evaluations": ("evaluation",),
}
"""Parts of a run, and what is looked at for each."""

SPLIT_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "summary": ("summary.json",),
    "tables": (
        "summary.json",
        "per_class.parquet",
        "per_image_class.parquet",
        "confusions.parquet",
    ),
    "pictures": ("images", "truth", "predictions"),
}
"""Parts of one evaluated split."""


def stamp(run: Path | str, *parts: str, split: str | None = None) -> Stamp:
    """Stamps parts of a run; equal stamps mean that nothing of them was written meanwhile.

    Args:
        run: The run's folder, which need not exist.
        parts: Keys of `PARTS`, or with a split also of `SPLIT_PARTS`.
        split: The evaluated split that is meant.

    Raises:
        ValueError: There is no such part.
    """
    root = os.fspath(run)
    names: dict[str, None] = {}
    for part in parts:
        if part in PARTS:
            names.update(dict.fromkeys(PARTS[part]))
        elif part in SPLIT_PARTS and split is not None:
            folder = f"evaluation/{id_to_name(split)}"
            names.update({f"{folder}/{name}": None for name in SPLIT_PARTS[part]})
        else:
            known = ", ".join((*PARTS, *SPLIT_PARTS))
            raise ValueError(f"no part of a run or of a split: {part!r}; choose from {known}")
    found = []
    for name in names:
        try:
            stat = os.stat(f"{root}/{name}")
        except OSError:
            continue
        found.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
