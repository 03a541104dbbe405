from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks import report
from workbench.errors import DataError

MIB = 2**20


def row(method: str, classes: int, peak: int | None, cpu: float = 1.0) -> dict[str, Any]:
    return {
        "bench": "memory",
        "method": method,
        "device": "cpu",
        "classes": classes,
        "pixels": 2 * 256 * 256,
        "crop": 256,
        "batch_size": 2,
        "steps": 3,
        "dtype": "fp32",
        "network": "deeplabv3plus",
        "backbone": "some_net",
        "peak_bytes": None if peak is None else peak * MIB,
        "baseline_bytes": 1000 * MIB,
        "start_bytes": None if peak is None else 500 * MIB,
        "seconds": None if peak is None else 2 * cpu,
        "cpu_seconds": None if peak is None else cpu,
        "note": "" if peak is not None else "out of memory: not tried",
        "machine": {
            "cpu": "Abacus 3",
            "cpu_count": 7,
            "ram_bytes": 24 * 2**30,
            "torch": "9.9",
            "gpus": ["Gamma"],
            "load": 0.1,
        },
    }


ROWS = [
    row("dense", 21, 1200),
    row("dense", 1284, 5000, cpu=12.0),
    row("streaming", 21, 1100),
    row("streaming", 1284, 1200, cpu=3.0),
]


def test_the_table_has_a_line_a_row() -> None:
    lines = report.render_markdown(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "| dense | 1,284 | 5,000 | 4,000 | 24.00 | 12.00 |" in lines
    assert len({line.count("|") for line in lines}) == 1


def test_a_failed_row_shows_its_reason() -> None:
    lines = report.render_markdown([row("dense", 100_000, None)]).splitlines()
    assert lines[2] == "| dense | 100,000 | out of memory: not tried | | | |"


def test_ratios_are_those_of_the_rows() -> None:
    found = dict(report.ratios(ROWS))
    assert found == {
        "peak, streaming at 1,284 classes / dense at 21": pytest.approx(1.0),
        "peak above the network at 1,284 classes, dense / streaming": pytest.approx(20.0),
        "time of a step at 1,284 classes, dense / streaming": pytest.approx(4.0),
    }


def test_ratios_leave_out_what_is_missing() -> None:
    failed = [ROWS[0], row("dense", 1284, None), *ROWS[2:]]
    assert list(dict(report.ratios(failed))) == ["peak, streaming at 1,284 classes / dense at 21"]
    assert list(report.ratios(ROWS[:2])) == []


def test_the_page_names_step_machine_and_command() -> None:
    page = report.render_page(ROWS)
    for words in (
        "deeplabv3plus over some_net, 2 images of 256 x 256 pixels",
        "Abacus 3, 7 cores, 24 GiB, torch 9.9",
        "--classes 21,1284",
        "over all pixels",
        "**20**",
    ):
        assert words in page
    assert "busy" not in page
    sampled = [{**ROWS[0], "pixels": 4096, "device": "cuda"}]
    assert "over 4,096 sampled pixels" in report.render_page(sampled)
    assert "Gamma (host: Abacus 3" in report.render_page(sampled)


def test_times_of_a_busy_machine_are_marked() -> None:
    busy = [{**row, "machine": row["machine"] | {"load": 1.9}} for row in ROWS]
    page = report.render_page(busy)
    assert "busy with other work (load 1.9" in page
    assert "- time of a step" not in page and "- peak" in page
    assert "- time of a step" in report.render_page(ROWS)


def test_errors_name_the_file_and_the_command(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    with pytest.raises(DataError, match="bench memory --json"):
        report.read_rows(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="list of rows"):
        report.read_rows(file)
    with pytest.raises(DataError, match="no rows"):
        report.render_page([])


def test_the_committed_page_is_made_from_the_committed_rows(
    repository: Path, tmp_path: Path
) -> None:
    source = repository / "benchmarks" / "memory.json"
    report.main(source, tmp_path / "page.md")
    made = (tmp_path / "page.md").read_text("utf-8")
    assert made == (repository / "docs" / "performance.md").read_text("utf-8")
    rows = json.loads(source.read_text("utf-8"))
    measured = {(row["method"], row["classes"]) for row in rows if row["peak_bytes"]}
    methods = ("dense", "nearest", "streaming")
    assert measured >= {(method, count) for method in methods for count in (21, 1284)}
