"""Whether a batch may write where it wants to: it replaces nothing but its own results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from workbench.errors import DataError
from workbench.inference.manifest import RESULT_SUFFIXES, SEGMENT_LINES, SEGMENTS, Manifest
from workbench.inference.picture_paths import Picture, as_text

_FOREIGN: Final = "is there already, and not as a result of this command; choose another --out"


def check_segments(manifest: Manifest, wanted: bool) -> None:
    """Makes sure that the files of all segments, if they are wanted, are the batch's own.

    Raises:
        DataError: There is another of the name.
    """
    if not wanted or manifest.makes_segments:
        return
    for name in (SEGMENTS, SEGMENT_LINES):
        if os.path.lexists(manifest.out / name):
            raise DataError(f"{manifest.out / name}: {_FOREIGN}")


def check_targets(manifest: Manifest, pictures: Sequence[Picture], *, replace: bool) -> None:
    """Makes sure that results replace nothing but earlier results of the same pictures.

    Args:
        manifest: Of the folder for results.
        pictures: All that are to be there at the end.
        replace: Whether all earlier results go first.

    Raises:
        DataError: A result would replace something else.
    """
    out = manifest.out
    root = os.path.realpath(out)
    sources = {os.path.realpath(picture.path) for picture in pictures}
    for picture in pictures:
        for suffix in RESULT_SUFFIXES:
            if os.path.join(root, picture.stem + suffix) in sources:
                raise DataError(
                    f"{out / (picture.stem + suffix)}: the result would replace the picture; "
                    "choose another --out"
                )
        before = None if replace else manifest.done.get(picture.stem)
        if before is not None and _is_another(before.path, picture.path):
            raise DataError(
                f"{out / picture.stem} is the result of {as_text(before.path)} and would be "
                f"that of {picture.path}, too; choose another --out"
            )
        if replace or not is_done(manifest, picture):
            check_free(manifest, picture.stem, replace=replace)


def _is_another(before: str, now: Path) -> bool:
    """Whether a picture is not the one from before: that one is still elsewhere, not moved."""
    try:
        return not os.path.samefile(before, now)
    except OSError:
        return os.path.exists(before)


def check_free(manifest: Manifest, stem: str, *, replace: bool = False) -> None:
    """Makes sure that nobody else has written where a picture's results go.

    Raises:
        DataError: Somebody has.
    """
    for name in manifest.foreign(stem):
        raise DataError(f"{manifest.out / name}: {_FOREIGN}")
    for name in () if replace else manifest.by_hand(stem):
        raise DataError(
            f"{manifest.out / name}: was changed by hand and would be made again; move it away, "
            "or start over with --replace"
        )


def is_done(manifest: Manifest, picture: Picture) -> bool:
    """Whether a picture is finished, unchanged since, and its results are all there."""
    try:
        status = picture.path.stat()
    except OSError:
        return False
    return manifest.is_done(picture.stem, status.st_size, status.st_mtime_ns)
