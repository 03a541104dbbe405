from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import RunError
from workbench.runs import PROJECTION_COLUMNS, RunDirectory, describe_run, find_runs
from workbench.vocabulary import Vocabulary


def test_a_new_run_can_be_read(run: RunDirectory, vocabulary: Vocabulary) -> None:
    opened = RunDirectory.open(run.path)
    assert opened.name == "mine"
    assert opened.config() == {"data": {"dataset": "shapeworld"}, "train": {"steps": 500}}
    read = opened.vocabulary()
    assert read.names[1283] == "class 1283"
    pd.testing.assert_frame_equal(read.table, vocabulary.table)
    assert opened.status() == {"state": "unknown", "heartbeat": None}
    assert opened.metrics().empty
    assert list(opened.metrics().columns) == ["step"]
    assert opened.evaluations() == []
    assert opened.samples("val") == []


def test_the_environment_tells_versions_and_no_places(run: RunDirectory) -> None:
    environment = run.environment()
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["cpu_count"] == os.cpu_count()
    assert {"torch", "workbench", "gpus"} <= set(environment)
    text = (run.path / "environment.json").read_text()
    assert os.uname().nodename not in text
    assert "/" not in text


def test_create_refuses_what_it_would_destroy(
    run: RunDirectory, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    with pytest.raises(RunError, match="--resume"):
        RunDirectory.create(run.path, config={}, vocabulary=vocabulary)
    assert run.config()["train"] == {"steps": 500}
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match=r"not empty.*thesis.tex"):
        RunDirectory.create(tmp_path / "papers", config={}, vocabulary=vocabulary)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        RunDirectory.create(tmp_path / "file", config={}, vocabulary=vocabulary)


def test_resume_keeps_the_run_and_takes_the_new_settings(
    run: RunDirectory, vocabulary: Vocabulary
) -> None:
    run.append_metrics({"step": 1})
    again = RunDirectory.create(
        run.path, config={"train": {"steps": 900}}, vocabulary=vocabulary, resume=True
    )
    assert again.config() == {"train": {"steps": 900}}
    assert len(again.metrics()) == 1


def test_resume_in_a_new_folder_starts_it(tmp_path: Path, vocabulary: Vocabulary) -> None:
    run = RunDirectory.create(tmp_path / "new", config={}, vocabulary=vocabulary, resume=True)
    assert run.is_run()


def test_resume_refuses_other_classes(run: RunDirectory, vocabulary: Vocabulary) -> None:
    fewer = Vocabulary(vocabulary.table.iloc[:256].copy())
    with pytest.raises(RunError, match="1284, now 256"):
        RunDirectory.create(run.path, config={}, vocabulary=fewer, resume=True)


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        RunDirectory.open(tmp_path / "absent")
    with pytest.raises(RunError, match="no run"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("state", ["done", "failed"])
def test_status(run: RunDirectory, state: str) -> None:
    before = time.time()
    run.write_status(state, step=3, steps=500, eta_seconds=float("inf"), message="m")  # type: ignore[arg-type]
    status = run.status()
    assert before <= status["heartbeat"] <= time.time()
    assert {key: status[key] for key in ("state", "step", "steps", "eta_seconds", "message")} == {
        "state": state,
        "step": 3,
        "steps": 500,
        "eta_seconds": None,
        "message": "m",
    }


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 3}', '{"step": 1}', "\x00"])
def test_a_half_status_is_unknown(run: RunDirectory, content: str) -> None:
    (run.path / "status.json").write_text(content)
    assert run.status()["state"] == "unknown"


def test_metrics_survive_a_cut_line(run: RunDirectory) -> None:
    run.append_metrics({"step": 1, "loss": np.float32(2.5), "split": "train"})
    run.append_metrics({"step": 2, "loss": float("nan"), "split": "é"})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write('{"step": 3, "split": "é'.encode()[:-1])  # cut within a character
    assert list(run.metrics()["step"]) == [1, 2]
    run.append_metrics({"step": 3, "miou": 0.5})
    metrics = run.metrics()
    assert list(metrics["step"]) == [1, 2, 3]
    assert metrics["loss"].dtype == np.float64
    np.testing.assert_array_equal(metrics["loss"], [2.5, np.nan, np.nan])
    assert metrics["split"][1] == "é"


def test_metrics_after_the_checkpoint_are_dropped(run: RunDirectory) -> None:
    run.truncate_metrics(5)
    assert not (run.path / "metrics.jsonl").exists()
    for step in range(1, 10):
        run.append_metrics({"step": step, "loss": 1 / 3})
    before = (run.path / "metrics.jsonl").read_text().splitlines()
    run.truncate_metrics(5)
    assert (run.path / "metrics.jsonl").read_text().splitlines() == before[:5]
    run.append_metrics({"step": 6})
    assert list(run.metrics()["step"]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "vocabulary.parquet"])
@pytest.mark.parametrize("damage", [None, b"", b"\xff\xfe", b"- [", b"PAR1 {"])
def test_a_damaged_file_is_named_in_one_line(
    run: RunDirectory, name: str, damage: bytes | None
) -> None:
    if damage is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(damage)
    reader = {
        "config.yaml": run.config,
        "environment.json": run.environment,
        "vocabulary.parquet": run.vocabulary,
    }[name]
    with pytest.raises(RunError, match=name) as caught:
        reader()
    assert "\n" not in str(caught.value)
    assert find_runs(run.path.parent) == [run.path]
    assert describe_run(run.path).name == "mine"


def test_yaml_cannot_run_code(run: RunDirectory) -> None:
    (run.path / "config.yaml").write_text("a: !!python/object/apply:os.getpid []\n")
    with pytest.raises(RunError, match=r"config\.yaml"):
        run.config()


def test_projection(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="workbench project"):
        run.read_projection()
    frame = pd.DataFrame({name: [1283] for name in PROJECTION_COLUMNS})
    run.write_projection(frame)
    pd.testing.assert_frame_equal(run.read_projection(), frame)
    with pytest.raises(ValueError, match="umap3_z"):
        run.write_projection(frame.drop(columns="umap3_z"))


def test_the_layout_is_the_documented_one(evaluated: RunDirectory) -> None:
    files = {str(path.relative_to(evaluated.path)) for path in evaluated.path.rglob("*")}
    assert {path for path in files if "/" not in path and path != ".lock"} == {
        "config.yaml",
        "environment.json",
        "vocabulary.parquet",
        "evaluation",
    }
    assert {path for path in files if path.startswith("evaluation/val/") and "." in path} == {
        "evaluation/val/summary.json",
        "evaluation/val/per_class.parquet",
        "evaluation/val/per_image_class.parquet",
        "evaluation/val/confusions.parquet",
        *(f"evaluation/val/images/{name}.jpg" for name in "ab"),
        *(f"evaluation/val/truth/{name}.png" for name in "ab"),
        *(f"evaluation/val/predictions/{name}.png" for name in "ab"),
    }


def test_importing_is_light() -> None:
    script = (
        "import sys, workbench.runs;"
        "print([name for name in ('torch', 'umap', 'plotly', 'streamlit') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_listing_shows_half_written_runs(evaluated: RunDirectory, vocabulary: Vocabulary) -> None:
    root = evaluated.path.parent
    (root / "empty").mkdir()
    (root / ".tmp-1-x").mkdir()
    (root / "note.txt").write_text("")
    broken = root / "broken"
    broken.mkdir()
    for name in ("config.yaml", "vocabulary.parquet", "status.json"):
        (broken / name).write_text("{")
    (root / "only_evaluated" / "evaluation").mkdir(parents=True)
    fresh = RunDirectory.create(root / "fresh", config={}, vocabulary=vocabulary)
    fresh.write_status("running", step=1)
    for age, name in enumerate(("fresh", "mine", "broken", "only_evaluated")):
        for path in (root / name).iterdir():
            os.utime(path, (1e9 - age, 1e9 - age))
    names = ["fresh", "mine", "broken", "only_evaluated"]
    assert sorted(find_runs(root)) == sorted(root / name for name in names)
    infos = [describe_run(root / name) for name in names]
    assert [info.name for info in infos] == names
    assert [info.status for info in infos] == ["interrupted", "unknown", "unknown", "unknown"]
    assert [info.classes for info in infos] == [1284, 1284, None, None]
    assert [info.miou for info in infos] == [None, 0.5, None, None]
    assert [info.dataset for info in infos] == ["", "shapeworld", "", ""]
    assert [info.modified for info in infos] == [1e9, 1e9 - 1, 1e9 - 2, 1e9 - 3]
    assert find_runs(evaluated.path) == [evaluated.path]
    assert find_runs(root / "absent") == []


def test_a_listing_does_not_create_or_change_anything(evaluated: RunDirectory) -> None:
    def snapshot() -> dict[str, int]:
        root = evaluated.path.parent
        return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}

    before = snapshot()
    for path in find_runs(evaluated.path.parent):
        describe_run(path)
    evaluated.status()
    evaluated.read_sample("val", "a")
    assert snapshot() == before


def test_no_absolute_path_is_written(evaluated: RunDirectory) -> None:
    for path in evaluated.path.rglob("*"):
        if path.is_file():
            assert str(evaluated.path.parent).encode() not in path.read_bytes(), path


def test_metrics_lines_are_json(run: RunDirectory) -> None:
    run.append_metrics({"step": 1, "loss": float("inf")})
    assert json.loads((run.path / "metrics.jsonl").read_text()) == {"step": 1, "loss": None}


DEEP = b"[" * 3000


def test_documents_that_are_nested_too_deep_are_damaged(run: RunDirectory) -> None:
    (run.path / "environment.json").write_bytes(DEEP)
    with pytest.raises(RunError, match=r"environment\.json is damaged"):
        run.environment()
    (run.path / "config.yaml").write_bytes(DEEP)
    with pytest.raises(RunError, match=r"config\.yaml is damaged .*nested too deep"):
        run.config()
    (run.path / "status.json").write_bytes(DEEP)
    assert run.status()["state"] == "unknown"
    (run.path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"a": ' + DEEP + b'\n{"step": 2}\n')
    assert list(run.metrics()["step"]) == [1, 2]
