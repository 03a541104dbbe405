"""One writer per run directory, by a lock that dies with its process.

The lock is an advisory `flock` on the run's `.lock` file. The kernel releases it when the
process ends, SIGKILL included, so there is never a stale lock to remove by hand, and a run
whose status says "running" while its lock is free was interrupted.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from workbench.errors import RunError

LOCK_FILE: Final = ".lock"
_PATIENCE_SECONDS: Final = 0.5
_held: set[int] = set()


def _close_in_child() -> None:
    # A forked child (a data loading worker) inherits the descriptor and would keep the run
    # locked after its parent was killed. Closing the copy does not release the parent's.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


def acquire(folder: Path) -> int:
    """Takes the run's lock, or says who has it.

    Args:
        folder: The run directory, which must exist.

    Returns:
        A descriptor for `release`.

    Raises:
        RunError: Another writer holds the lock, the folder cannot be written to, or its file
            system has no locks.
    """
    path = folder / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written to ({error.strerror}); choose another folder for the run"
        ) from error
    # Readers take a shared lock for an instant to see whether anyone writes: wait that out.
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _locked(descriptor, folder):
        if time.monotonic() > deadline:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise RunError(
                f"{folder} is being written by another process (pid {owner}); "
                "wait until it is done, stop it, or choose another run folder"
            )
        time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    _held.add(descriptor)
    return descriptor


def release(descriptor: int) -> None:
    """Gives the lock back; does nothing in a forked child, which never had it."""
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def is_locked(folder: Path) -> bool | None:
    """Says whether some process writes to the run.

    Returns:
        None where the file system cannot tell.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _locked(descriptor: int, folder: Path) -> bool:
    try:
        return _try_lock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        os.close(descriptor)
        raise RunError(
            f"{folder}: its file system has no locks ({error.strerror}); "
            "choose another folder for the run"
        ) from error


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
