"""`workbench train` twice with one seed: the same losses and the same weights, bit by bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.runs import RunDirectory

STEPS = 5
# Two threads add up in an order of their own. Passive ones leave a busy machine to others.
THREADS = {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
FLAGS = [
    *("--preset", "smoke", "--train.steps", STEPS, "--train.log_every", 1),
    *("--data.crop", 32, "--data.scale", "[0.8, 1.25]", "--data.color_jitter", 0.3),
    *("--loss.separation_weight", 0.5, "--train.evaluate_every", STEPS),
    *("--train.evaluate_images", 2),
]


def train(run: Path, root: Path, workers: int) -> Path:
    """Trains in a process of its own, with two threads as users have."""
    command = [sys.executable, "-m", "workbench", "train", "--run", run, "--data.root", root]
    done = subprocess.run(
        [str(word) for word in (*command, *FLAGS, "--data.workers", workers)],
        env={**os.environ, **THREADS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return run


def logged(run: Path) -> list[dict[str, Any]]:
    """All that was logged but what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: v for name, v in line.items() if name != "seconds"} for line in lines]


def weights(run: Path) -> dict[str, bytes]:
    kept = RunDirectory.open(run).load_checkpoint()
    everything = {**kept.model, **(kept.optimizer or {})}
    return {name: value.numpy().tobytes() for name, value in everything.items()}


@pytest.mark.timeout(450)
def test_two_processes_give_one_training_however_many_load_its_pictures(
    shapeworld: Path, tmp_path: Path
) -> None:
    alone = train(tmp_path / "alone", shapeworld, workers=0)
    served = train(tmp_path / "served", shapeworld, workers=2)
    first = logged(alone)
    assert [line["step"] for line in first if "loss" in line] == list(range(1, STEPS + 1))
    assert any("val_miou" in line for line in first)
    assert logged(served) == first
    assert weights(served) == weights(alone)
    assert len(set(weights(alone).values())) > 20
