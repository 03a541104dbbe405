"""Files that are either absent, old or new, and never half written.

Everything is written to a temporary name in the folder where it belongs and then renamed:
a rename within one folder is atomic, so a reader (the app, a resumed training) sees the
old content or the new one, whatever moment the writer is killed at. Temporary names start
with `TEMPORARY_PREFIX`; readers skip them, and the next writer removes what a killed one
left behind (`remove_leftovers`).
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

TEMPORARY_PREFIX: Final = ".tmp-"
"""First characters of every name that is not finished yet, or no longer wanted."""


def temporary_path(path: Path) -> Path:
    """Names a file or folder next to `path` that readers ignore (nothing is created)."""
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def abandoned(path: Path) -> list[Path]:
    """What `temporary_path` named for this very path in processes that are no more."""
    mine = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}(\d+)-[0-9a-f]{{8}}-{re.escape(path.name)}")
    found = []
    for item in path.parent.iterdir() if path.parent.is_dir() else ():
        name = mine.fullmatch(item.name)
        if name and not _is_running(int(name[1])):
            found.append(item)
    return found


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has an error of the system say which file it is about: one of writing alone does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def atomic_file(path: Path | str, *, sync: bool = True) -> Iterator[Path]:
    """Lends a temporary path; what is written there appears at `path` on a clean exit.

    Args:
        path: The file to create or replace. Its folder is created if needed.
        sync: Whether the content must reach the disk before the rename, so that it also
            survives a power cut; pictures and other cheap things go without.

    Yields:
        The path to write to; it keeps the suffix of `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with naming(path):
            yield temporary
            if sync:
                _sync(temporary)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync(path.parent)


@contextmanager
def atomic_directory(path: Path | str, *, sync: bool = True) -> Iterator[Path]:
    """Lends a temporary folder that becomes `path`, whole, on a clean exit.

    A folder of that name is replaced: it is first renamed away, because a rename never
    replaces a folder with content. Between the two renames neither exists, which readers
    treat like a folder that was never written.

    Args:
        path: The folder to create or replace.
        sync: Whether every file in it must reach the disk first; without, tens of thousands of
            pictures need not.

    Yields:
        An empty folder to fill.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    temporary.mkdir()
    try:
        with naming(path):
            yield temporary
            for file in temporary.rglob("*") if sync else ():
                _sync(file)
            _sync(temporary)
        remove_directory(path)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(path.parent)


def remove_directory(path: Path) -> None:
    """Removes a folder so that a kill in the middle leaves no half of it in sight."""
    if path.exists():
        discarded = temporary_path(path)
        os.replace(path, discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def remove_leftovers(folder: Path) -> int:
    """Removes what killed writers left in a folder tree, and returns how many entries.

    Only the holder of the run's lock may call this: another writer's temporary files look
    the same.
    """
    leftovers = list(folder.rglob(f"{TEMPORARY_PREFIX}*"))
    for leftover in leftovers:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return len(leftovers)


def write_bytes(path: Path | str, data: bytes, *, sync: bool = True) -> None:
    """Writes a file atomically."""
    with atomic_file(path, sync=sync) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str, *, sync: bool = True) -> None:
    """Writes a UTF-8 text file atomically, with the line ends as given."""
    write_bytes(path, text.encode("utf-8"), sync=sync)


def write_json(path: Path | str, value: object, *, sync: bool = True) -> None:
    """Writes a JSON file atomically; see `to_json` for numbers."""
    write_text(path, to_json(value, indent=2) + "\n", sync=sync)


def write_parquet(path: Path | str, frame: pd.DataFrame, *, sync: bool = True) -> None:
    """Writes a table atomically, without its index."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(path, buffer.getvalue(), sync=sync)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Formats a value as strict JSON.

    Numpy numbers and arrays become plain ones; NaN and infinities, which JSON cannot
    express, become null (an IoU that is not defined is null).
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot sync folders; the rename still holds
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)
