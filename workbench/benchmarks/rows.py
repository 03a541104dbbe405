"""Reading the rows that benchmarks wrote; free of torch, so that the app may read them too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.errors import DataError

Row = Mapping[str, Any]
"""What was measured of one thing, by the names of its figures."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows that ``workbench bench ... --json FILE`` wrote.

    Raises:
        DataError: The file is missing, is something else, or has no rows.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot read the rows; make them with workbench bench {path.stem} "
            f"--json {path}"
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of rows, as workbench bench --json writes it")
    if not rows:
        raise DataError(f"{path}: no rows to report; measure again")
    return rows
