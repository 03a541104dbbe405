from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks import report, report_prepare
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
    with pytest.raises(DataError, match="bench rows --json"):
        report.read_rows(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="list of rows"):
        report.read_rows(file)
    with pytest.raises(DataError, match="no rows"):
        report.render_page([])


def prepare_rows(stuff: int = 700, load: float = 0.1, same: bool = True) -> list[dict[str, Any]]:
    shared = {
        "data": {
            "images": 2000,
            "annotations": 25_000,
            "stuff_annotations": stuff,
            "json_bytes": 1_615_000_000,
            "width": 640,
            "height": 480,
        },
        "machine": ROWS[0]["machine"] | {"load": load},
    }
    run = {
        "seconds": 130.4,
        "seconds_to_first": 30.0,
        "new_masks": 1007,
        "reused_masks": None,
        "images_per_second": 180.0,
        "images_per_cpu_second": 100.0,
        "main_cpu_per_image": 0.00025,
        "main_peak_bytes": 1500 * MIB,
        "peak_bytes": 1700 * MIB,
        "workers": 2,
    }
    resumed = {"new_masks": 993, "reused_masks": 1007, "images_per_second": None}
    reference = {
        "images": 100,
        "images_per_cpu_second": 90.0,
        "reference_images_per_cpu_second": 30.0,
        "times_reference": 3.0,
        "paint_times_reference": 5.25,
        "same_pixels": same,
    }
    measured = {
        "load": {"json_bytes": 1_095_000_000, "cpu_seconds": 40.2, "peak_bytes": 1400 * MIB},
        "until the kill": run,
        "resumed": run | resumed,
        "reference": reference,
    }
    return [{"bench": "prepare", "what": what, **row, **shared} for what, row in measured.items()]


def test_the_prepare_section_has_both_runs_side_by_side() -> None:
    section = report_prepare.render_prepare(prepare_rows())
    for line in (
        "| masks made | 1,007 | 993 |",
        "| masks that were there already | 0 | 1,007 |",
        "| images/s from then on | 180 |  |",
        "| cores at work | 1.8 |  |",
        "| peak memory of all processes, MiB | 1,700 | 1,700 |",
    ):
        assert line in section.splitlines()
    for words in (
        "25,000 LVIS annotations, 700 stuff annotations, 1.61 GB of json",
        "Abacus 3, 7 cores, 24 GiB; 2 processes",
        "(1.09 GB) takes 40 s of one core and 1,400 MiB",
        "**3.0** times the images/s, files included (90 against 30)",
        "the same pixels",
        "0.25 ms on an image: it could keep 40 cores busy",
        "bench prepare --images 2000 --stuff --json",
    ):
        assert words in section
    assert "other work" not in section


def test_the_prepare_section_hides_nothing() -> None:
    section = report_prepare.render_prepare(prepare_rows(stuff=0, load=3.5, same=False))
    assert "other work went on beside it (load 3.5" in section
    assert "other pixels (a defect)" in section
    assert "stuff" not in section
    with pytest.raises(DataError, match="no row about 'resumed'"):
        report_prepare.render_prepare([r for r in prepare_rows() if r["what"] != "resumed"])


def test_a_section_is_there_where_its_rows_are(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text(json.dumps(ROWS))
    report.main(tmp_path, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == report.render_page(ROWS)
    (tmp_path / "prepare.json").write_text(json.dumps(prepare_rows()))
    report.main(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text("utf-8")
    assert page.startswith(report.render_page(ROWS))
    assert page.endswith(report_prepare.render_prepare(prepare_rows()))


def test_the_committed_page_is_made_from_the_committed_rows(
    repository: Path, tmp_path: Path
) -> None:
    source = repository / "benchmarks"
    report.main(source, tmp_path / "page.md")
    made = (tmp_path / "page.md").read_text("utf-8")
    assert made == (repository / "docs" / "performance.md").read_text("utf-8")
    rows = json.loads((source / "memory.json").read_text("utf-8"))
    measured = {(row["method"], row["classes"]) for row in rows if row["peak_bytes"]}
    methods = ("dense", "nearest", "streaming")
    assert measured >= {(method, count) for method in methods for count in (21, 1284)}
