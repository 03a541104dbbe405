"""`workbench train` twice with one seed: the same losses and the same weights, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.processes import Home

from workbench.runs import RunDirectory

STEPS = 5
# Two threads, as users have, add up in an order of their own.
TRAIN = """
import sys, torch
from workbench.__main__ import main

torch.set_num_threads(2)
sys.exit(main(sys.argv[1:]))
"""
FLAGS = [
    *("--preset", "smoke", "--train.steps", STEPS, "--train.log_every", 1),
    *("--data.crop", 32, "--data.scale", "[0.8, 1.25]", "--data.color_jitter", 0.3),
    *("--loss.separation_weight", 0.5, "--train.evaluate_every", STEPS),
    *("--train.evaluate_images", 2),
]


def train(forks: Home, run: Path, root: Path, workers: int) -> Path:
    """Trains in a process of its own."""
    words = ("train", "--run", run, "--data.root", root, *FLAGS, "--data.workers", workers)
    done = forks.run("-c", TRAIN, *words)
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
    forks: Home, shapeworld: Path, tmp_path: Path
) -> None:
    alone = train(forks, tmp_path / "alone", shapeworld, workers=0)
    served = train(forks, tmp_path / "served", shapeworld, workers=2)
    first = logged(alone)
    assert [line["step"] for line in first if "loss" in line] == list(range(1, STEPS + 1))
    assert any("val_miou" in line for line in first)
    assert logged(served) == first
    assert weights(served) == weights(alone)
    assert len(set(weights(alone).values())) > 20
