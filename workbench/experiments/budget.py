"""Equal memory and equal time: which batch fits, and how many steps there is time for.

Both are measured, on the real data and the real loop. Steps are then fixed before training
begins: what else the machine does changes how long a cell takes, not what it gives, a cell
that was stopped goes on to the same result, and so does one trained on another machine.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench import config
from workbench.benchmarks.harness import OutOfMemory, Row, Spec, run_here, run_isolated
from workbench.errors import ConfigError
from workbench.experiments.plan import COSTS_AS, REFERENCE, Cell, Experiment
from workbench.progress import progress, say
from workbench.runs import write_json

if TYPE_CHECKING:
    from workbench.trainers.sampling import Batch

STEPS = 8
"""Timed steps of a measurement, after three that are not."""
ROUNDS = 3
"""Times a chosen batch is timed on a CPU. Other work only adds: the smallest counts."""
_WARM_UP = 3


class Rate(NamedTuple):
    """What a step of a method takes at some batch.

    Attributes:
        batch: Images per step.
        crop: Their side in pixels.
        peak_bytes: Largest memory during training beyond what the process had before it; None
            if it did not fit the machine.
        seconds: Of a step: the median of a measurement, the smallest over the rounds. On a CPU
            reading and augmenting are part of it; for a GPU other cores do that meanwhile. Where
            ``REFERENCE`` has a rate already, perhaps of another machine: as many times its
            seconds as it took here, measured in turn.
        rounds: Measurements so far.
    """

    batch: int
    crop: int
    peak_bytes: int | None
    seconds: float
    rounds: int


def measure_training(spec: Spec) -> Row:
    """Trains a few steps on the real data; on a CPU to be called in a fresh process.

    Args:
        spec: "config" (a nested :class:`~workbench.config.Run`), "device", "steps" timed.

    Returns:
        "peak_bytes" and "seconds" as in :class:`Rate`.
    """
    from statistics import median

    import torch

    from workbench.benchmarks.meter import PeakMeter
    from workbench.inference import build_from_config
    from workbench.losses import build_loss
    from workbench.trainers.sampling import StepSampler, training_batches
    from workbench.trainers.train import open_training_set
    from workbench.trainers.trainer import Trainer

    run = config.from_dict(spec["config"])
    dataset = open_training_set(run.data)
    torch.manual_seed(run.train.seed)
    model = build_from_config(run, len(dataset.vocabulary))
    trainer = Trainer(run, model, build_loss(run.loss, run.model.distance))
    steps = _WARM_UP + int(spec["steps"])
    sampler = StepSampler(len(dataset), run.train.batch_size, seed=0, start=0, stop=steps)
    cuda = spec["device"] == "cuda"
    batches: Iterable[Batch] = training_batches(
        dataset, sampler, seed=0, workers=0 if cuda else run.data.workers
    )
    if cuda:
        batches = [*batches]
    trainer.model.train()
    meter = PeakMeter(spec["device"])
    moments = []
    for batch in batches:
        trainer.train_step(batch)
        if cuda:
            torch.cuda.synchronize()
        moments.append(time.perf_counter())
    taken = [after - before for before, after in pairwise(moments)]
    return {"peak_bytes": meter.above(), "seconds": round(median(taken[_WARM_UP - 1 :]), 5)}


class Rates:
    """What was measured, kept in a file and added to."""

    def __init__(self, path: Path, device: str) -> None:
        """Reads what the file holds, if it is there."""
        self.path, self.device = path, device
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.rows = {row["key"]: row for row in json.loads(path.read_text(encoding="utf-8"))}

    def get(
        self,
        run: config.Run,
        method: str,
        classes: int,
        *,
        beside: config.Run | None = None,
        rounds: int = 1,
    ) -> Rate:
        """The rate of a configuration, measured until there are enough rounds of it.

        Args:
            run: The configuration.
            method: Of ``METHODS``.
            classes: C.
            beside: The reference's configuration for the same pictures, batch and crop.
            rounds: How many are enough.
        """
        batch, crop = run.train.batch_size, run.data.crop
        network = run.model.network if run.model.network == "small" else run.model.backbone
        name = f"{self.device}--{network}--{{}}--{classes}-classes--{batch}x{crop}"
        key, other = name.format(method), self.rows.get(name.format(REFERENCE), {}).get("seconds")
        row = self.rows.get(key)
        while row is None or (row["peak_bytes"] is not None and row["rounds"] < rounds):
            found = self._measure(run)
            if beside is not None and method != REFERENCE and other and found["seconds"]:
                found["here"] = found["seconds"]
                found["reference_here"] = self._measure(beside)["seconds"]
            row = _added(row, found)
            if other and row.get("reference_here"):
                row["seconds"] = round(other * row["here"] / row["reference_here"], 5)
            self.rows[key] = {"key": key, **row}
            write_json(self.path, [self.rows[name] for name in sorted(self.rows)])
        return Rate(batch, crop, row["peak_bytes"], row["seconds"] or math.inf, row["rounds"])

    def _measure(self, run: config.Run) -> dict[str, Any]:
        spec = {"bench": "training", "device": self.device, "config": config.to_dict(run)}
        measure = run_here if self.device == "cuda" else run_isolated
        try:
            return dict(measure({**spec, "steps": STEPS}))
        except OutOfMemory:
            return {"peak_bytes": None, "seconds": None}


def _added(before: dict[str, Any] | None, found: dict[str, Any]) -> dict[str, Any]:
    """A row with one more round in it: the smallest times, the largest memory."""
    if before is None:
        return {**found, "rounds": 1}
    row = {**before, "rounds": before["rounds"] + 1}
    for name, value in found.items():
        if value is not None:
            other = before.get(name, value)
            row[name] = max(other, value) if name == "peak_bytes" else min(other, value)
    return row


def fit(experiment: Experiment, cell: Cell, root: str, rates: Rates) -> Rate:
    """The first batch of the experiment's list that the cell's memory holds.

    Raises:
        ConfigError: None does.
    """
    cost = COSTS_AS.get(cell.method, cell.method)
    measured, reference = (dataclasses.replace(cell, method=name) for name in (cost, REFERENCE))
    for batch, crop in experiment.batches:
        run, beside = (_sized(experiment, one, root, batch, crop) for one in (measured, reference))
        rate = rates.get(run, cost, cell.world.classes, beside=beside)
        if rate.peak_bytes is not None and rate.peak_bytes <= cell.memory:
            rounds = ROUNDS if experiment.device == "cpu" else 1
            return rates.get(run, cost, cell.world.classes, beside=beside, rounds=rounds)
    raise ConfigError(
        f"{cell.name}: not even {experiment.batches[-1][0]} picture of "
        f"{experiment.batches[-1][1]} pixels fits {cell.memory / 2**20:.0f} MiB"
    )


def fit_all(
    experiment: Experiment, cells: Iterable[Cell], roots: dict[str, str], rates: Rates
) -> dict[str, Rate]:
    """The rate of every cell, by its name; cells that nothing fits are left out and told."""
    found = {}
    for cell in progress([*cells], description="measure", unit="cell"):
        try:
            found[cell.name] = fit(experiment, cell, roots[cell.world.name], rates)
        except ConfigError as error:
            say(f"left out: {error}")
    return found


def scheduled(experiment: Experiment, cell: Cell, rate: Rate, root: str) -> config.Run:
    """The whole configuration of a cell: batch, steps, and what follows from them.

    The learning rate falls with the square root of the batch, the usual rule for Adam; the
    first twentieth of the steps warms up.
    """
    run = _sized(experiment, cell, root, rate.batch, rate.crop)
    if cell.length == "time":
        steps = max(1, int(experiment.seconds / rate.seconds))
    else:
        steps = max(1, experiment.images // rate.batch)
    most = max(batch for batch, _ in experiment.batches)
    lr = run.train.lr * math.sqrt(rate.batch / most)
    train = {"steps": steps, "lr": lr, "warmup_steps": steps // 20}
    return config.from_dict({"train": train}, base=run)


def _sized(experiment: Experiment, cell: Cell, root: str, batch: int, crop: int) -> config.Run:
    values = {"data": {"root": root, "crop": crop}, "train": {"batch_size": batch}}
    return config.from_dict(values, base=experiment.settings(cell))
