"""Equal memory and time: the batch that fits, and the steps there is time for."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks.harness import OutOfMemory
from workbench.errors import ConfigError
from workbench.experiments import budget
from workbench.experiments.budget import Rate, Rates, fit, scheduled
from workbench.experiments.plan import BATCHES, GIB, Cell, Experiment, get_experiment

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture
def experiment() -> Experiment:
    return get_experiment("budgets")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A machine on which each pixel of a picture takes 10 KiB and 1 microsecond."""
    asked: list[tuple[int, int]] = []

    def run(spec: Mapping[str, Any]) -> dict[str, Any]:
        batch, crop = spec["config"]["train"]["batch_size"], spec["config"]["data"]["crop"]
        asked.append((batch, crop))
        pixels = batch * crop**2
        if pixels > 100_000:
            raise OutOfMemory("the process was killed")
        slower = 0.5 * (len(asked) % 3)  # what else the machine does
        return {"peak_bytes": 10_240 * pixels, "seconds": 1e-6 * pixels + slower}

    monkeypatch.setattr(budget, "run_isolated", run)
    return asked


def test_the_largest_batch_that_fits_is_taken_and_timed_again(
    experiment: Experiment, measured: list[tuple[int, int]], tmp_path: Path
) -> None:
    cell = Cell(method="dense", memory=GIB // 2)
    rate = fit(experiment, cell, "data", Rates(tmp_path / "rates.json", "cpu"))
    assert (rate.batch, rate.crop) == (2, 128)
    assert rate.rounds == budget.ROUNDS
    assert rate.seconds == pytest.approx(2 * 128**2 * 1e-6)  # the smallest, not the mean
    assert measured[:4] == [(16, 128), (8, 128), (4, 128), (2, 128)]


def test_what_was_measured_is_not_measured_again(
    experiment: Experiment, measured: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = tmp_path / "rates.json"
    cell = Cell(method="dense", memory=GIB // 2)
    first = fit(experiment, cell, "data", Rates(path, "cpu"))
    count = len(measured)
    assert fit(experiment, cell, "elsewhere", Rates(path, "cpu")) == first
    assert len(measured) == count
    assert len(json.loads(path.read_text())) == 4


def test_another_machine_makes_no_difference(
    experiment: Experiment, measured: list[tuple[int, int]], tmp_path: Path
) -> None:
    """The reference was timed on one four times as fast: so is what is timed beside it now."""
    path = tmp_path / "rates.json"
    known = {"key": "cpu--small--ours--1284-classes--4x128", "peak_bytes": 1, "rounds": 3}
    here = 4 * 128**2 * 1e-6
    path.write_text(json.dumps([{**known, "seconds": here / 4}]))
    cell = Cell(method="linear", memory=10_240 * 4 * 128**2)
    rate = fit(experiment, cell, "data", Rates(path, "cpu"))
    assert (rate.batch, rate.rounds) == (4, budget.ROUNDS)
    assert rate.seconds == pytest.approx(here / 4, abs=1e-5)
    (row,) = (row for row in json.loads(path.read_text()) if row.get("here"))
    assert row["here"] == row["reference_here"] == pytest.approx(here)


def test_a_memory_nothing_fits_is_said(
    experiment: Experiment, measured: list[tuple[int, int]], tmp_path: Path
) -> None:
    cell = Cell(method="dense", memory=2**20)
    with pytest.raises(ConfigError, match="not even 1 picture of 32 pixels fits 1 MiB"):
        fit(experiment, cell, "data", Rates(tmp_path / "rates.json", "cpu"))


def test_time_and_images_decide_the_steps(experiment: Experiment) -> None:
    rate = Rate(batch=4, crop=128, peak_bytes=1, seconds=0.5, rounds=3)
    by_time = scheduled(experiment, Cell(method="ours", memory=GIB), rate, "data")
    assert by_time.train.steps == int(experiment.seconds / 0.5)
    assert by_time.train.lr == pytest.approx(experiment.base.train.lr * math.sqrt(4 / 16))
    assert by_time.train.warmup_steps == by_time.train.steps // 20
    images = dataclasses.replace(Cell(method="ours", memory=GIB), length="images")
    by_images = scheduled(experiment, images, rate, "data")
    assert by_images.train.steps == experiment.images // 4
    assert (by_images.train.batch_size, by_images.data.crop) == (4, 128)


def test_batches_go_from_large_to_small() -> None:
    sizes = [batch * crop**2 for batch, crop in BATCHES]
    assert sizes == sorted(sizes, reverse=True)
