"""Readers that answer a missing or broken file with one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pandas as pd

from workbench.errors import RunError
from workbench.plain_yaml import load_plain

MAX_TABLE_BYTES: Final = 2**30
"""Of a table in memory; an evaluation on 100,000 pictures takes a quarter of it."""


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: The file.
        remedy: What the user can do when the file is absent or broken.

    Returns:
        The object.

    Raises:
        RunError: The file is absent, broken or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise missing(path, error, remedy) from error
    except (ValueError, RecursionError) as error:  # also undecodable UTF-8, or nested too deep
        raise broken(path, error, remedy) from error
    if not isinstance(value, dict):
        raise broken(path, "not a JSON object", remedy)
    return value


def read_yaml(path: Path, *, remedy: str) -> dict[str, Any]:
    """Reads a YAML mapping of plain values; arguments and errors as in `read_json`."""
    try:
        value = load_plain(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise missing(path, error, remedy) from error
    except ValueError as error:
        raise broken(path, error, remedy) from error
    if not isinstance(value, dict):
        raise broken(path, "not a mapping of settings", remedy)
    return value


def read_parquet(path: Path, *, remedy: str) -> pd.DataFrame:
    """Reads a table; arguments and errors as in `read_json`."""
    if not path.is_file():
        raise missing(path, "no such file", remedy)
    try:
        check_table_size(path)
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises a different class for every kind of damage
        raise broken(path, error, remedy) from error


def check_table_size(path: Path) -> None:
    """Refuses a table that would fill the memory: equal values take no room in the file.

    Raises:
        ValueError: It would.
    """
    import pyarrow.parquet as parquet

    found = parquet.read_metadata(path)
    groups = (found.row_group(group) for group in range(found.num_row_groups))
    unpacked = sum(group.total_byte_size for group in groups)
    if max(found.num_rows * found.num_columns * 8, unpacked) > MAX_TABLE_BYTES:
        raise ValueError(f"its {found.num_rows} rows are over {MAX_TABLE_BYTES >> 20} MB")


def missing(path: Path, reason: object, remedy: str) -> RunError:
    """Makes the error of a file that is not there or may not be read."""
    detail = reason.strerror if isinstance(reason, OSError) else reason
    return RunError(f"{path} cannot be read ({str(detail).lower()}); {remedy}")


def broken(path: Path, reason: object, remedy: str) -> RunError:
    """Makes the error of a file whose content is damaged."""
    detail = " ".join(str(reason).split())[:120] or type(reason).__name__
    return RunError(f"{path} is damaged ({detail}); {remedy}")
