"""A few kills and other faults in `make test-slow`; `make reliability` tries many.

`make test` kills the two commands here that no test of their own kills.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.faults import checks
from helpers.runs import random_run
from PIL import Image

TASKS = ("train", "evaluate", "prepare", "predict")
KILLS = 12
DISTURBED = ("evaluate", "prepare")

Rows = list[dict[str, Any]]


def seen(path: Path, repository: Path, kills: int, *options: str) -> Rows:
    """What the harness sees, in a process of its own: it forks."""
    command = [sys.executable, "-m", "helpers.faults", "--trials", kills, "--seed", 7]
    command += [*options, "--json", path]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": "tests"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert path.exists(), done.stderr[-2000:]
    found: Rows = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Rows:
    path = tmp_path_factory.mktemp("faults") / "faults.json"
    options = ("--tasks", ",".join(TASKS), "--others", ",".join(DISTURBED))
    return seen(path, repository, KILLS, *options)


def test_evaluate_and_predict_lose_nothing_when_killed(tmp_path: Path, repository: Path) -> None:
    rows = seen(tmp_path / "faults.json", repository, 6, "--tasks", "evaluate,predict")
    assert [row["task"] for row in rows] == ["evaluate", "predict"]
    for row in rows:
        assert row["losses"] == [] and row["ends"] > 0
        assert sum(row["kills"].values()) == 3


def of_fault(rows: Rows, fault: str) -> dict[str, dict[str, Any]]:
    return {row["task"]: row for row in rows if row["fault"] == fault}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_whatever_is_killed_goes_on_and_loses_nothing(rows: Rows, task: str) -> None:
    row = of_fault(rows, "kill")[task]
    assert row["losses"] == []
    assert row["ends"] > 0
    # A training goes on from its last checkpoint, and there is one every three steps.
    assert row["steps_lost"] <= 3


@pytest.mark.slow
def test_kills_are_of_every_kind(rows: Rows) -> None:
    kills = [row["kills"] for row in of_fault(rows, "kill").values()]
    by_kind = {kind: sum(one[kind] for one in kills) for kind in ("clock", "operation", "byte")}
    assert abs(sum(by_kind.values()) - KILLS) < len(kills)  # each command's share is rounded
    assert min(by_kind.values()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("task", DISTURBED)
@pytest.mark.parametrize("fault", ["disk full", "read-only folder"])
def test_a_place_that_cannot_be_written_is_one_line(rows: Rows, fault: str, task: str) -> None:
    row = of_fault(rows, fault)[task]
    if "skipped" in row:
        pytest.skip(row["skipped"])
    assert row["losses"] == []
    assert row["refused"] == row["trials"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", DISTURBED)
def test_a_clock_that_was_set_back_changes_nothing(rows: Rows, task: str) -> None:
    row = of_fault(rows, "clock set back")[task]
    assert row["losses"] == []
    assert row["trials"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", DISTURBED)
def test_a_second_process_on_the_same_folder_is_refused(rows: Rows, task: str) -> None:
    row = of_fault(rows, "two processes")[task]
    assert row["losses"] == []
    assert row["refused"] == row["trials"] > 0
    assert "is being written by another process (pid N)" in row["said"][0]


def whole_files(folder: Path) -> dict[str, Path]:
    """One of each kind that commands write, whole."""
    from safetensors.numpy import save_file

    found = {
        name: folder / f"whole{name}"
        for name in (".json", ".parquet", ".safetensors", ".npz", ".png", ".jpg", ".tiff")
    }
    found[".json"].write_text(json.dumps({"a": list(range(300))}))
    pd.DataFrame({"a": range(300)}).to_parquet(found[".parquet"])
    save_file({"a": np.arange(300)}, found[".safetensors"])
    np.savez_compressed(found[".npz"], a=np.arange(300))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8))
    for suffix in (".png", ".jpg", ".tiff"):
        picture.save(found[suffix])
    found["lines"] = folder / "metrics.jsonl"
    found["lines"].write_text('{"step": 1}\n{"step": 2}\n')
    return found


@pytest.mark.parametrize(
    "kind", [".json", ".parquet", ".safetensors", ".npz", ".png", ".jpg", ".tiff"]
)
def test_a_file_that_is_cut_anywhere_is_seen(tmp_path: Path, kind: str) -> None:
    path = whole_files(tmp_path)[kind]
    assert checks.torn(tmp_path) == []
    data = path.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 10):
        path.write_bytes(data[:length])
        found = checks.torn(tmp_path)
        assert [line for line in found if line.startswith(path.name)] == found
        assert len(found) == 1


def test_only_the_last_line_of_a_growing_file_may_be_cut(tmp_path: Path) -> None:
    path = whole_files(tmp_path)["lines"]
    path.write_text('{"step": 1}\n{"ste')
    assert checks.torn(tmp_path) == []
    path.write_text('{"ste\n{"step": 2}\n')
    assert len(checks.torn(tmp_path)) == 1


def test_work_that_is_done_again_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"1")
    before = checks.stamps([path])
    assert checks.redone(before) == []
    os.utime(path, ns=(0, 1))
    assert checks.redone(before) == ["mask.png was made again"]
    path.unlink()
    assert checks.redone(before) == ["mask.png is gone"]


def test_what_the_app_cannot_read_is_seen(tmp_path: Path) -> None:
    run = random_run(tmp_path / "whole" / "mine")
    assert checks.opens_in_app(run.path) == []
    (run.path / "evaluation" / "val").mkdir(parents=True)
    (run.path / "evaluation" / "val" / "summary.json").write_text("{}")
    assert "val: no per_class" in checks.opens_in_app(run.path)
    cut = random_run(tmp_path / "cut" / "mine")
    weights = next(cut.path.glob("checkpoints/*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    assert checks.opens_in_app(cut.path) == ["its checkpoint cannot be loaded"]
    nothing = tmp_path / "nothing" / "mine"
    assert checks.opens_in_app(nothing) == []
    nothing.mkdir(parents=True)
    (nothing / "notes.txt").write_text("of the user")
    assert checks.opens_in_app(nothing) == ["no run, but there is notes.txt"]
