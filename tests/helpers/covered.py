"""``python tests/helpers/covered.py coverage.json FILE``: which lines the tests reach, as rows.

``make coverage`` runs it over what ``coverage json`` wrote. A row is a file with lines that no
test reaches; the first is the whole library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ALL = "workbench"


def covered(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a report: file, lines that run, those reached, those not reached by number.

    Args:
        report: As ``coverage json`` writes it.

    Returns:
        The library, then its files with lines that are not reached, the least reached first.
    """
    totals = report["totals"]
    rows = [
        {
            "file": name,
            "lines": file["summary"]["num_statements"],
            "reached": file["summary"]["covered_lines"],
            "missing": file["missing_lines"],
        }
        for name, file in report["files"].items()
        if file["missing_lines"]
    ]
    rows.sort(key=lambda row: (row["reached"] / row["lines"], row["file"]))
    whole = {"file": ALL, "lines": totals["num_statements"], "reached": totals["covered_lines"]}
    return [{**whole, "missing": []}, *rows]


if __name__ == "__main__":
    from workbench.runs import write_json

    found = covered(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    write_json(Path(sys.argv[2]), found)
