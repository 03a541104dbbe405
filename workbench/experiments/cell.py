"""One cell: train, score, look inside, and one JSON file that says it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from workbench import config
from workbench.benchmarks.harness import resolve_device
from workbench.benchmarks.machine import describe_machine
from workbench.datasets import open_dataset, prepare, write_sample
from workbench.errors import DataError
from workbench.evaluation import iou
from workbench.evaluation.run import evaluate_model, evenly_spaced
from workbench.evaluation.subsets import counts_of, score
from workbench.experiments.budget import Rate, scheduled
from workbench.experiments.diagnostics import collect_pixels, diagnose
from workbench.experiments.plan import METHODS, Cell, Experiment, World
from workbench.inference import load_model
from workbench.losses import build_loss
from workbench.progress import say
from workbench.runs import RunDirectory
from workbench.trainers import train

T = TypeVar("T")

_LOOKED_AT = 64  # dev pictures of the diagnostics
_CURVE = 60  # points of the loss curve that are kept


def make_world(world: World, folder: Path) -> str:
    """Draws and prepares the pictures of a world, unless they are there.

    Returns:
        The dataset's root.
    """
    root = folder / world.name
    try:
        open_dataset("shapeworld", root, "train")
        open_dataset("shapeworld", root, "val")
    except DataError:
        say(f"drawing {world.images:,} pictures of {world.classes:,} classes: {root}")
        write_sample(
            "shapeworld",
            root,
            seed=world.seed,
            classes=world.classes,
            images=world.images,
            val_images=world.val_images,
            size=world.size,
        )
        prepare("shapeworld", root)
    return str(root)


def run_cell(
    experiment: Experiment, cell: Cell, rate: Rate, root: str, work: Path
) -> dict[str, Any]:
    """Trains a cell, or goes on with one that was stopped, and scores it.

    Args:
        experiment: What it belongs to.
        cell: What to train.
        rate: Its batch and the time of a step.
        root: Of its data.
        work: Folder for the run.

    Returns:
        Plain values: what it is, "dev" and "test" scores, "test_iou" (one number per class,
        None where the class is absent), "diagnostics", "curve", and what it took.
    """
    settings = scheduled(experiment, cell, rate, root)
    run = trained(settings, work / experiment.name / cell.name)
    model, _ = load_model(run, "last")
    vocabulary = run.vocabulary()
    dataset = open_dataset(settings.data.dataset, root, settings.data.val_split)
    table = evaluate_model(model, dataset, vocabulary=vocabulary, split="val").per_image_class
    halves = split_halves(dataset.ids)
    test = counts_of(table, len(vocabulary), halves["test"])
    dev = split_halves([*range(len(dataset))])["dev"]
    looked_at = [dev[place] for place in evenly_spaced(len(dev), _LOOKED_AT)]
    loss = build_loss(settings.loss, settings.model.distance)
    loss.use_prior(vocabulary.table["train_pixels"])
    metrics = run.metrics().dropna(subset=["loss"])
    return {
        "experiment": experiment.name,
        "cell": cell.name,
        "method": cell.method,
        "title": METHODS[cell.method][0],
        "classes": cell.world.classes,
        "memory": cell.memory,
        "length": cell.length,
        "seed": cell.seed,
        "batch": rate.batch,
        "crop": rate.crop,
        "steps": settings.train.steps,
        "images_seen": settings.train.steps * rate.batch,
        "peak_bytes": rate.peak_bytes,
        "seconds_per_step": rate.seconds,
        "seconds_planned": round(settings.train.steps * rate.seconds, 1),
        "seconds_taken": round(float(metrics["seconds"].iloc[-1]), 1),
        "dev": score(counts_of(table, len(vocabulary), halves["dev"]), vocabulary),
        "test": score(test, vocabulary),
        "test_iou": rounded_iou(test),
        "groups": vocabulary.groups,
        "diagnostics": diagnose(
            model, loss, vocabulary.groups, *collect_pixels(model, dataset, looked_at)
        ),
        "curve": thinned(metrics),
        "config": described(settings),
        "device": resolve_device("auto"),
        "machine": describe_machine(),
    }


def trained(settings: config.Run, path: Path) -> RunDirectory:
    """The run in a folder: as it is if it is done, else begun, or gone on with."""
    if (path / "config.yaml").exists():
        run = RunDirectory.open(path)
        status = run.status()
        if status.get("state") == "done" and run.has_checkpoint():
            return run
    path.parent.mkdir(parents=True, exist_ok=True)
    return train(settings, path, resume=True)


def described(settings: config.Run) -> dict[str, Any]:
    """All settings of a training as plain values, of its data's folder only the name."""
    found = config.to_dict(settings)
    found["data"] = found["data"] | {"root": Path(settings.data.root).name}
    return found


def split_halves(pictures: list[T]) -> dict[str, list[T]]:
    """Dev and test: every other picture of the validation split, given in its order."""
    return {"dev": pictures[0::2], "test": pictures[1::2]}


def rounded_iou(counts: iou.Counts) -> list[float | None]:
    """IoU of each class to four digits, None for classes the truth does not show."""
    values = iou.iou_of_present(counts)
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def thinned(metrics: pd.DataFrame) -> list[list[float]]:
    """The loss curve as [step, mean loss up to there since the point before], few of them."""
    parts = np.array_split(metrics[["step", "loss"]].to_numpy(dtype=np.float64), _CURVE)
    return [[float(p[-1, 0]), round(float(p[:, 1].mean()), 5)] for p in parts if len(p)]
