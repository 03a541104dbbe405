"""The app's benchmark: its tables are sound, its errors clear, its report says what was missed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import pages
from workbench.benchmarks import app, app_browser
from workbench.benchmarks.app_actions import ACTIONS, PAGES
from workbench.benchmarks.report_app import render_app
from workbench.benchmarks.rows import read_rows
from workbench.errors import ConfigError, DataError
from workbench.runs import RunDirectory

MACHINE = {"cpu": "A", "cpu_count": 2, "ram_bytes": 2**34, "load": 0.1}


def row(
    page: str, action: str, condition: str, seconds: float | None, **more: Any
) -> dict[str, Any]:
    return {
        "bench": "app",
        "page": page,
        "action": action,
        "condition": condition,
        "seconds": seconds,
        "slowest": seconds,
        "runs": 5,
        "errors": 0,
        "peak_bytes": 2**30,
        "note": "",
        "images": 19_809,
        "classes": 1285,
        "image_class_rows": 251_234,
        "confusions": 139_876,
        "kept": 19_809,
        "machine": MACHINE,
        **more,
    }


ROWS = [
    row("overview", "first paint", "cold", 2.5),
    row("class_map", "first paint", "cold", 3.25),
    row("overview", "paint", "warm", 0.75),
    row("classes", "search", "click", 0.21),
    row("class_map", "find", "click", None, note="not measured: no field", runs=0),
    row("all", "paint", "three", 1.5),
]


def test_every_page_of_the_app_is_measured(repository: Path) -> None:
    views = {path.stem for path in (repository / "app" / "views").glob("[a-z]*.py")}
    assert {page.name for page in PAGES} == views
    for page in PAGES:
        assert page.link == pages.PAGES[page.name].title
        assert page.path in ("/", f"/{page.name}")
    assert {action.page for action in ACTIONS} <= views
    assert len({(action.page, action.name) for action in ACTIONS}) == len(ACTIONS)


def test_the_report_says_what_is_reached() -> None:
    page = render_app(ROWS)
    assert "3.25 s (Class map, first paint) | not reached by 1 of 2" in page
    assert "0.75 s (Overview, paint) | reached" in page
    assert "0.21 s (Classes, search) | not reached by 1 of 2" in page  # one was not measured
    assert "| Class map | find | not measured |" in page
    assert "1,024 MiB | reached" in page
    assert "0 errors | reached" in page
    assert "Class map, find (click): not measured: no field." in page
    assert "| Overview | 2.50 (2.50) | 0.75 (0.75) |" in page
    assert (
        "19,809 images, all with pictures, 1,285 classes, 251,234 image-class rows, "
        "139,876 pairs of confused classes."
    ) in page
    part = render_app([{**entry, "kept": 200} for entry in ROWS])
    assert "19,809 images (200 with pictures), 1,285 classes" in part
    assert "Other work went on" not in page
    busy = [{**entry, "machine": {**MACHINE, "load": 1.5}} for entry in ROWS]
    assert "Other work went on beside these measurements (load 1.5)" in render_app(busy)


def test_the_report_says_what_is_missed() -> None:
    bad = row("all", "paint", "three", 4.0, errors=2, peak_bytes=3 * 2**30)
    page = render_app([*ROWS[:-1], bad])
    assert "3,072 MiB | not reached" in page
    assert "2 errors | not reached" in page
    with pytest.raises(DataError, match="workbench bench app"):
        render_app([])


def test_what_is_missing_is_named(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = cli("bench", "app", "--pages", "nowhere")
    assert done.returncode == 2 and "no page 'nowhere'" in done.stderr
    monkeypatch.setattr(shutil, "which", lambda name: None)
    done = cli("bench", "app", "--runs", tmp_path)
    assert done.returncode == 2 and "install Chromium" in done.stderr
    monkeypatch.setattr(app_browser, "CHECKOUT", tmp_path)
    wanted = pytest.raises(ConfigError, match=r"has no app/main\.py; run it from a checkout")
    with wanted, app_browser.serve(tmp_path, tmp_path / "log", 1):
        pass


def test_runs_of_another_size_are_refused(tmp_path: Path) -> None:
    made = app.make_runs(tmp_path, 7)
    run = RunDirectory.open(tmp_path / "lvis")
    assert made == {
        "images": 7,
        "classes": len(run.vocabulary()),
        "image_class_rows": len(run.read_per_image_class("val")),
        "confusions": len(run.read_confusions("val")),
        "kept": 7,
    }
    with pytest.raises(ConfigError, match="evaluated on 7 images, 60 are asked for"):
        app.make_runs(tmp_path, 60)


@pytest.mark.slow
@pytest.mark.browser
def test_a_small_run_is_measured(
    chromium: str, cli_subprocess: Callable[..., Any], tmp_path: Path
) -> None:
    flags = ["--images", 60, "--runs", tmp_path / "runs", "--pages", "classes,memory"]
    flags += ["--cold", 1, "--repeats", 1, "--json", tmp_path / "app.json"]
    done = cli_subprocess("bench", "app", *flags, timeout=400)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "app.json")
    found = {(entry["page"], entry["condition"]) for entry in rows}
    wanted = {("classes", "cold"), ("memory", "warm"), ("classes", "click"), ("all", "three")}
    assert wanted <= found
    for entry in rows:
        assert entry["note"] == "" and entry["errors"] == 0, entry
        assert 0 < entry["seconds"] < 60 and entry["peak_bytes"] > 2**27
        assert entry["images"] == 60 and entry["machine"]["cpu_count"] > 0
    assert "Three sessions that follow links" in render_app(rows)


def test_tracebacks_count_in_plain_text_and_in_colour(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plain = "Traceback (most recent call last)\n  File x\nValueError: Traceback of a thing\n"
    log.write_text(
        plain + "\x1b[31m──\x1b[0m \x1b[1;31mTraceback \x1b[0m\x1b[1;2m(most recent call"
    )
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert app_browser.Server(process, "", log).errors() == 2
