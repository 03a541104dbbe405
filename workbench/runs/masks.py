"""Label maps as image files: 16-bit PNG, or 32-bit TIFF where 16 bits are too few."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.constants import IGNORE_INDEX, IGNORE_ON_DISK
from workbench.runs import readers
from workbench.runs.atomic import write_bytes

SUFFIXES: Final = (".png", ".tiff")


def write_mask(stem: Path, mask: NDArray[np.integer]) -> Path:
    """Writes a label map atomically.

    Args:
        stem: The file without its suffix.
        mask: (H, W) train ids or IGNORE_INDEX, any integer type.

    Returns:
        The file: ``.png`` with 16 bits, 65535 = ignored, or, when an id above 65534 occurs,
        ``.tiff`` with signed 32 bits, where IGNORE_INDEX stays as it is.

    Raises:
        ValueError: The map is not two-dimensional or holds another negative number.
    """
    ids = np.asarray(mask)
    if ids.ndim != 2:
        raise ValueError(f"a label map has two dimensions, not shape {ids.shape}")
    lowest, highest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    # Of a large picture every copy is hundreds of megabytes: none where nothing is ignored.
    ignored = ids == IGNORE_INDEX if lowest < 0 else None
    if ignored is not None and bool((ids[~ignored] < 0).any()):
        raise ValueError(f"negative class id {int(ids[~ignored].min())} in a label map")
    buffer = io.BytesIO()
    if highest >= IGNORE_ON_DISK:
        suffix = ".tiff"
        Image.fromarray(ids.astype(np.int32)).save(buffer, "TIFF", compression="tiff_deflate")
    else:
        suffix = ".png"
        stored = ids if ignored is None else np.where(ignored, IGNORE_ON_DISK, ids)
        Image.fromarray(np.ascontiguousarray(stored, dtype=np.uint16)).save(buffer, "PNG")
    path = with_suffix(stem, suffix)
    write_bytes(path, buffer.getvalue(), sync=False)
    for other in SUFFIXES:
        if other != suffix:
            with_suffix(stem, other).unlink(missing_ok=True)
    return path


def read_mask(stem: Path, *, remedy: str) -> NDArray[np.int64]:
    """Reads a label map written by `write_mask`.

    Args:
        stem: The file without its suffix.
        remedy: What the user can do when the file is absent or damaged.

    Returns:
        (H, W) train ids or IGNORE_INDEX.

    Raises:
        RunError: The file is absent or damaged.
    """
    path = find_mask(stem)
    if path is None:
        raise readers.missing(with_suffix(stem, ".png"), "no such file", remedy)
    try:
        with Image.open(path) as image:
            ids = np.array(image).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's ways to say "damaged"
        raise readers.broken(path, error, remedy) from error
    if path.suffix == ".png":
        ids[ids == IGNORE_ON_DISK] = IGNORE_INDEX
    return ids


def find_mask(stem: Path) -> Path | None:
    """Finds the file of a label map, whichever of the two formats it has."""
    for suffix in SUFFIXES:
        if with_suffix(stem, suffix).is_file():
            return with_suffix(stem, suffix)
    return None


def with_suffix(stem: Path, suffix: str) -> Path:
    """Appends a suffix; unlike `Path.with_suffix`, a dot in the name survives."""
    return stem.with_name(stem.name + suffix)
