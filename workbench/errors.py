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
