"""The page about reliability says what the rows say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks.report_bounds import render_bounds
from workbench.benchmarks.report_coverage import LEAST, REASONS, render_coverage
from workbench.benchmarks.report_load import render_load
from workbench.benchmarks.report_reliability import main, render_faults, render_fuzz, render_page
from workbench.benchmarks.report_soak import render_soak
from workbench.errors import DataError

COMMANDS = ("train", "evaluate", "prepare", "project", "predict", "export")
MACHINE = {"cpu": "Z80", "cpu_count": 2, "ram_bytes": 8 * 2**30}
KILLS = {"clock": 7, "operation": 6, "byte": 5}


def kill(task: str, **changes: Any) -> dict[str, Any]:
    row = {"fault": "kill", "task": task, "kills": KILLS, "ends": 11, "kept": 123, "steps_lost": 2}
    return {**row, "losses": [], "seed": 3, "machine": MACHINE, **changes}


def other(fault: str, task: str, **changes: Any) -> dict[str, Any]:
    row = {"fault": fault, "task": task, "trials": 4, "refused": 4, "said": ["error: no room"]}
    return {**row, "losses": [], "seed": 3, "machine": MACHINE, **changes}


def fuzz(target: str, cases: int, **changes: Any) -> dict[str, Any]:
    row = {"target": target, "cases": cases, "taken": 12, "seconds": 90.0, "slowest": 0.25}
    row |= {"peak_bytes": 3 * 2**20, "findings": [], "asked": 9000, "seed": 3, "machine": MACHINE}
    return {**row, **changes}


def test_kills_and_losses_are_counted() -> None:
    page = render_faults(
        [kill("train"), kill("predict", steps_lost=0), other("disk full", "train")]
    )
    assert "| `train` | 7 | 6 | 5 | 11 | 123 | 0 |" in page
    assert "| disk full | `train` | 4 | 4 | 0 |" in page
    assert "36 times in all" in page and "**36 ends, no loss.**" in page
    assert "at most 2 steps were logged" in page
    assert "    error: no room" in page
    assert "--trials 36 --seed 3" in page and "--others train --json" in page
    assert "Z80, 2 cores, 8 GiB" in page


def test_losses_and_what_was_not_tried_are_not_hidden() -> None:
    rows = [kill("train", losses=["a", "b"]), other("disk full", "train", skipped="not tried: x")]
    page = render_faults(rows)
    assert "**18 ends, 2 losses.**" in page
    assert "| `train` | 7 | 6 | 5 | 11 | 123 | 2 |" in page
    assert "| disk full | `train` | 4 | 4 | not tried: x |" in page


def test_cases_and_findings_are_counted() -> None:
    found = {"what": "KeyError in x.py:f", "cases": 5, "first": 1}
    page = render_fuzz([fuzz("mask", 7000), fuzz("status", 2000, findings=[found])])
    assert "**9,000** times" in page and "**5 findings.**" in page
    assert "| mask | 7,000 | 12 | 0.250 | 3.0 | 0 |" in page
    assert "| status | 2,000 | 12 | 0.250 | 3.0 | 5 |" in page
    assert "in 3 minutes" in page and "--cases 9000 --seed 3" in page
    quick = render_fuzz([{**fuzz("mask", 7000), "seconds": 74.2}])
    assert "**No findings.**" in quick and "in 74 seconds" in quick


def test_growth_of_a_training_is_told() -> None:
    row = {"steps": 20_000, "workers": 0, "kept": 2, "checkpoints_written": 100, "seconds": 240}
    row |= {"samples": 230, "memory": [600 * 2**20, 609 * 2**20], "memory_growth": 0.015}
    row |= {"memory_most": 620 * 2**20, "files": [4, 6], "checkpoints_most": 3, "machine": MACHINE}
    row |= {"disk_most": 1.5 * 2**20}
    page = render_soak([row, {**row, "workers": 2, "memory_growth": -0.0004}])
    assert "| 0 | 230 | 600 | 609 | +1.50 % | 620 | 4 | 6 | 3 | 1.5 |" in page
    assert "| 2 | 230 | 600 | 609 | -0.04 % | 620 | 4 | 6 | 3 | 1.5 |" in page
    assert "20,000 tiny steps (100 checkpoints, 10 evaluations" in page
    assert "in 8 minutes" in page and "--steps 20000 --json" in page


def test_versions_and_failures_are_told() -> None:
    versions = {"torch": "2.11.0", "timm": "1.0.19", "numpy": "2.1.0", "pandas": "3.0.0"}
    versions |= {"streamlit": "1.67.0", "plotly": "6.3.0", "numba": "0.61.0"}
    row = {"name": "minimum", "python": "3.11.7", "passed": 3700, "skipped": 25, "failed": []}
    good = {**row, "versions": versions}
    line = "| minimum | 3.11.7 | 2.11.0 | 1.0.19 | 2.1.0 | 3.0.0 | 1.67.0 | 6.3.0 | 0.61.0 |"
    assert f"{line} 3,700 | 25 | 0 |" in render_bounds([good])
    bad = render_bounds([{**good, "failed": ["tests.a::two"]}])
    assert f"{line} 3,700 | 25 | 1 |" in bad and "- minimum, 3.11.7: `tests.a::two`" in bad


def test_files_that_tests_hardly_reach_are_named() -> None:
    whole = {"file": "workbench", "lines": 2000, "reached": 1900, "missing": []}
    low = {"file": "workbench/a.py", "lines": 50, "reached": 40, "missing": [*range(10)]}
    page = render_coverage([whole, low, {**low, "file": "workbench/b.py", "reached": 45}])
    assert "**95.0 %** of 2,000" in page and "2 of its files" in page
    assert "| `workbench/a.py` | 50 | 80 % | no reason is known |" in page
    assert "workbench/b.py" not in page


def test_a_page_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to report"):
        render_page({})
    (tmp_path / "fuzz.json").write_text(json.dumps([fuzz("mask", 10)]))
    main(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "## Bad input" in page and "## Faults" not in page


def test_the_committed_page_is_made_from_the_committed_rows(
    repository: Path, tmp_path: Path
) -> None:
    source = repository / "benchmarks" / "reliability"
    main(source, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == (
        repository / "docs" / "reliability.md"
    ).read_text("utf-8")
    faults = json.loads((source / "faults.json").read_text("utf-8"))
    kills = [row for row in faults if row["fault"] == "kill"]
    assert sum(sum(row["kills"].values()) for row in kills) >= 200
    assert {row["task"] for row in kills} >= set(COMMANDS)
    assert sum(row["cases"] for row in json.loads((source / "fuzz.json").read_text())) >= 100_000


def acted(what: str, action: str, **changes: Any) -> dict[str, Any]:
    row = {"what": what, "action": action, "count": 1234, "p50": 0.1234, "p95": 1.5}
    return {**row, "slowest": 2.0, "errors": 0, **changes}


def loaded(**changes: Any) -> list[dict[str, Any]]:
    whole = {"what": "load", "sessions": 20, "browser": True, "minutes": 10.0, "seed": 3}
    whole |= {"warm_up_minutes": 8.0, "warm_up_acts": 4321, "think_seconds": 7.0, "acts": 2345}
    whole |= {"errors": 0, "tracebacks": 0, "problems": []}
    whole |= {"images": 19809, "classes": 1284, "image_class_rows": 273215}
    whole |= {"machine": {**MACHINE, "load": 0.1}, **changes}
    memory = {"what": "memory", "bytes_per_minute": -(2**21), "growth_bytes": -(10**7)}
    memory |= {"growth_share": -0.0123, "resident_bytes": 2**30, "peak_bytes": 3 * 2**29}
    memory |= {"samples": [[0, 1.0], [2, 3.0]]}
    rows = [acted("action", "search"), acted("browser", "order", count=0, p50=None, p95=None)]
    return [whole, *rows, memory]


def test_the_load_is_told() -> None:
    page = render_load(loaded())
    assert "20 sessions for 10 minutes" in page and "19,809 images" in page
    assert "**2,345 acts, no error.**" in page
    assert "| search | 1,234 | 0.123 | 1.50 | 2.00 | 0 |" in page
    assert "| order | 0 |  |  | 2.00 | 0 |" in page
    assert "1,024 MiB at the beginning of these 10" in page and "1,536 MiB at most" in page
    assert "**-1.2%** in all (-2.0 MiB a minute)" in page
    assert "--sessions 20 --minutes 10 \\\n  --warm-up 8 --seed 3" in page
    assert "act for 8 minutes in a hurry, 4,321 times" in page
    assert "Other work" not in page


@pytest.mark.parametrize(("share", "flat"), [(0.0199, True), (0.0966, False), (-0.05, False)])
def test_memory_that_is_not_flat_is_called_so(share: float, flat: bool) -> None:
    *rows, memory = loaded()
    page = render_load([*rows, {**memory, "growth_share": share}])
    assert ("which this is not" in page) != flat


def test_errors_under_load_are_not_hidden() -> None:
    problems = [{"what": "open Memory: KeyError", "count": 2}]
    machine = {**MACHINE, "load": 3.2}
    page = render_load(loaded(errors=3, problems=problems, machine=machine))
    assert "**2,345 acts, 3 errors.**\n\n- open Memory: KeyError (2 times)" in page
    assert "Other work went on beside (load 3.2" in page


def test_what_is_named_as_tested_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", render_load(loaded())))
    assert len(named) >= 6
    root = Path(__file__).resolve().parents[2]
    assert [name for name in named if not (root / name).is_file()] == []


def test_the_library_is_covered_and_what_is_not_has_its_reason(repository: Path) -> None:
    path = repository / "benchmarks" / "reliability" / "coverage.json"
    if not path.exists():
        pytest.skip("not measured yet: make coverage")
    whole, *files = json.loads(path.read_text("utf-8"))
    assert whole["reached"] / whole["lines"] > 0.9
    few = {row["file"] for row in files if row["reached"] / row["lines"] < LEAST}
    assert few == set(REASONS)
