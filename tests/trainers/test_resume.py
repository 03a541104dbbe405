"""Killed at any step and resumed, a training has the curve of one that never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import Home

from workbench.runs import RunDirectory

STEPS = 24
FLAGS = [
    *("--preset", "smoke", "--train.steps", STEPS, "--train.checkpoint_every", 4),
    *("--data.crop", 32, "--data.scale", "[0.8, 1.25]", "--data.color_jitter", 0.3),
    *("--model.network", "deeplabv3plus", "--model.backbone", "mobilenetv3_small_050"),
    *("--loss.separation_weight", 0.5, "--train.evaluate_every", 12, "--train.evaluate_images", 2),
]  # dropout, depthwise convolutions, random scale and colour: whatever could forget its place


def curve(run: Path) -> dict[int, dict[str, Any]]:
    """Figures of every step but the clock's; a step that is logged twice fails."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps: dict[int, dict[str, Any]] = {}
    for record in records:
        record.pop("seconds", None)
        if "loss" in record:
            assert record["step"] not in steps
            steps[record["step"]] = record
    return steps


@pytest.fixture(scope="module")
def uninterrupted(shapeworld: Path, tmp_path_factory: pytest.TempPathFactory, cli: Any) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = cli("train", "--run", run, "--data.root", shapeworld, *FLAGS)
    assert done.returncode == 0, done.stderr
    return run


def kill_at(forks: Home, step: int, run: Path, root: Path) -> None:
    """Trains in a process of its own and kills it as soon as it has logged a step."""
    command = ("-m", "workbench", "train", "--run", run, "--data.root", root)
    process = forks.start(*command, *FLAGS)
    log, deadline = run / "metrics.jsonl", time.monotonic() + 200
    try:
        while not log.exists() or log.read_bytes().count(b'"loss"') < step:
            assert process.poll() is None, "training ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.end(10)


def test_sigkill_and_resume_give_the_uninterrupted_curve(
    forks: Home, shapeworld: Path, uninterrupted: Path, tmp_path: Path, cli: Any
) -> None:
    run = tmp_path / "killed"
    step = random.randint(5, STEPS - 4)
    kill_at(forks, step, run, shapeworld)
    opened = RunDirectory.open(run)  # as the app would, right after
    assert opened.status()["state"] == "interrupted" and len(opened.metrics()) >= step - 1
    last = opened.load_checkpoint("last").step
    assert last % 4 == 0 and last < STEPS, f"killed at {step}"

    done = cli("train", "--run", run, "--data.root", shapeworld, *FLAGS, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == STEPS
    right, ours = curve(uninterrupted), curve(run)
    assert list(ours) == list(range(1, STEPS + 1))
    assert ours == right, f"killed at step {step}, resumed from {last}"
    assert RunDirectory.open(run).status()["state"] == "done"


def test_resume_of_a_finished_run_changes_nothing(uninterrupted: Path, cli: Any) -> None:
    before = curve(uninterrupted)
    done = cli("train", "--run", uninterrupted, "--resume")
    assert done.returncode == 0, done.stderr
    assert curve(uninterrupted) == before


def test_resume_with_another_model_leaves_the_run_as_it_was(uninterrupted: Path, cli: Any) -> None:
    before = (uninterrupted / "config.yaml").read_bytes()
    done = cli("train", "--run", uninterrupted, "--resume", "--model.embedding_dim", 5)
    assert done.returncode == 2 and "does not fit" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert (uninterrupted / "config.yaml").read_bytes() == before


def test_a_run_is_not_overwritten(uninterrupted: Path, shapeworld: Path, cli: Any) -> None:
    done = cli("train", "--run", uninterrupted, "--data.root", shapeworld, *FLAGS)
    assert done.returncode == 2 and "--resume" in done.stderr


def test_class_ids_above_255_reach_the_artifacts(uninterrupted: Path, cli: Any) -> None:
    done = cli("evaluate", uninterrupted, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    run = RunDirectory.open(uninterrupted)
    per_class = run.read_per_class("val")
    assert per_class["class_id"].tolist() == list(range(300))
    present = per_class[per_class["truth_pixels"] > 0]
    assert present["class_id"].max() > 255
    assert summary["miou"] == pytest.approx(present["iou"].mean())
    truths = [run.read_sample("val", name)[1] for name in run.samples("val")]
    assert len(truths) == 8 and max(int(truth.max()) for truth in truths) > 255
    counted = sum(int((truth == present["class_id"].max()).sum()) for truth in truths)
    assert counted == present["truth_pixels"].iloc[-1]


def test_a_checkpoint_has_its_class_table_whenever_it_is_killed(
    tmp_path: Path, shapeworld: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training goes on after the step of its checkpoint: the table must be there by then."""
    run = tmp_path / "run"
    tables: list[list[int]] = []
    save = RunDirectory.save_checkpoint

    def save_and_look(self: RunDirectory, step: int, **state: Any) -> Path:
        tables.append(self.embedding_steps())
        return save(self, step, **state)

    monkeypatch.setattr(RunDirectory, "save_checkpoint", save_and_look)
    flags = ("--preset", "smoke", "--train.steps", 4, "--train.checkpoint_every", 2)
    done = cli("train", "--run", run, "--data.root", shapeworld, *flags)
    assert done.returncode == 0, done.stderr
    assert tables == [[2], [2, 4]]
