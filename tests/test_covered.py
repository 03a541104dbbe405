"""What is kept of a report on coverage."""

from __future__ import annotations

from helpers.covered import covered


def test_files_with_lines_that_are_not_reached_come_least_reached_first() -> None:
    def file(lines: int, missing: list[int]) -> dict[str, object]:
        summary = {"num_statements": lines, "covered_lines": lines - len(missing)}
        return {"summary": summary, "missing_lines": missing}

    report = {
        "totals": {"num_statements": 40, "covered_lines": 33},
        "files": {
            "a.py": file(20, [7]),
            "b.py": file(10, [1, 2, 3, 4, 5, 6]),
            "c.py": file(10, []),
        },
    }
    assert covered(report) == [
        {"file": "workbench", "lines": 40, "reached": 33, "missing": []},
        {"file": "b.py", "lines": 10, "reached": 4, "missing": [1, 2, 3, 4, 5, 6]},
        {"file": "a.py", "lines": 20, "reached": 19, "missing": [7]},
    ]
