"""Errors a user can act on.

Each message is one line that names the file, the field and the remedy. The command
line prints it and exits with code 2; anything else that escapes is a defect of ours.
"""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of all errors that are the input's fault and tell the user what to do."""


class ConfigError(WorkbenchError):
    """A setting is unknown, has the wrong type or contradicts another."""


class DataError(WorkbenchError):
    """A dataset's folder, image, mask or annotation is missing or malformed."""


class RunError(WorkbenchError):
    """A run directory is missing, locked by another process or incomplete."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, without its details; its name if it says nothing."""
    said = (line.strip() for line in str(error).splitlines())
    return next((line for line in said if line), type(error).__name__)


def one_line(text: object) -> str:
    """Foreign text in an error message: one line, not long."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:120]


_NO_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "bad_alloc", "out of memory"),
    *("cublas_status_alloc_failed", "defaultcpuallocator"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of the many that mean that memory ran out, torch's among them."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _NO_MEMORY)
