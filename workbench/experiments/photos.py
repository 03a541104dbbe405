"""Real photos: the methods cross-validated on a hundred photos of COCO, pretrained backbone.

Too few for absolute numbers to mean much, so that methods are compared on the same photos and
classes. Every photo is predicted once, by the training that did not see it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from workbench import config
from workbench.benchmarks.harness import resolve_device
from workbench.benchmarks.machine import describe_machine
from workbench.datasets import open_dataset
from workbench.errors import DataError
from workbench.evaluation.run import evaluate_model
from workbench.evaluation.subsets import counts_of
from workbench.experiments.cell import trained
from workbench.experiments.plan import METHODS
from workbench.inference import load_model
from workbench.progress import progress, say
from workbench.runs import write_json

NAME: Final = "photos"
FOLDS: Final = 4
COMPARED: Final = ("dense", "nearest", "ours", "linear-64")
FEWEST: Final = 5
"""Photos a class must be in for its IoU to be compared."""

_ANNOTATIONS: Final = "annotations"


def base_config() -> config.Run:
    """What all methods share."""
    return config.from_dict(
        {
            "preset": "experiment",
            "data": {
                "dataset": "coco-panoptic",
                "crop": 160,
                "scale": [0.5, 1.0],
                "workers": 1,
            },
            "model": {"backbone": "tf_efficientnet_lite0", "weights": "offline"},
            "loss": {"pixels": 8192, "separation_weight": 0.0},
            "train": {
                "optimizer": "adamw",
                "lr": 2e-3,
                "backbone_lr_factor": 0.1,
                "batch_size": 4,
                "steps": 150,
                "warmup_steps": 10,
                "checkpoint_every": 150,
                "keep_checkpoints": 1,
            },
        }
    )


def file_names(folds: int = FOLDS) -> list[str]:
    """Of the results, without suffix, in the order they are made."""
    return [f"{method}--fold-{number}" for number in range(folds) for method in COMPARED]


def make_folds(source: Path, target: Path, folds: int = FOLDS) -> list[Path]:
    """Writes each fold as a dataset in COCO's layout: its photos are "val", all others "train".

    Args:
        source: COCO 2017 with panoptic_train2017; of it what has photo, mask and entry.
        target: Folder of the folds; those that are there are kept.
        folds: How many.

    Returns:
        Their folders.

    Raises:
        DataError: A file is missing or unreadable.
    """
    name = "panoptic_train2017"
    path = source / _ANNOTATIONS / f"{name}.json"
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        photos = {image["id"]: image for image in described["images"]}
        entries = sorted(described["annotations"], key=lambda entry: int(entry["image_id"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable panoptic json ({error})") from error
    entries = [
        entry
        for entry in entries
        if (source / "train2017" / photos[entry["image_id"]]["file_name"]).exists()
    ]
    if len(entries) < folds:
        raise DataError(f"{source}: {len(entries)} photos with annotations are too few")
    target.mkdir(parents=True, exist_ok=True)
    made = [target / f"fold-{number}" for number in range(folds)]
    for number, folder in enumerate(made):
        if folder.exists():
            continue
        with tempfile.TemporaryDirectory(dir=target, prefix="unfinished-") as unfinished:
            whole = Path(unfinished) / "fold"
            for split in ("train", "val"):
                chosen = [
                    entry
                    for place, entry in enumerate(entries)
                    if (place % folds == number) == (split == "val")
                ]
                _write_split(source, whole, split, described, chosen, photos)
            os.rename(whole, folder)
    return made


def _write_split(
    source: Path,
    target: Path,
    split: str,
    described: dict[str, Any],
    entries: list[dict[str, Any]],
    photos: dict[int, dict[str, Any]],
) -> None:
    masks, images = target / _ANNOTATIONS / f"panoptic_{split}2017", target / f"{split}2017"
    for folder in (masks, images):
        folder.mkdir(parents=True)
    for entry in entries:
        shutil.copy(source / _ANNOTATIONS / "panoptic_train2017" / entry["file_name"], masks)
        shutil.copy(source / "train2017" / photos[entry["image_id"]]["file_name"], images)
    write_json(
        target / _ANNOTATIONS / f"panoptic_{split}2017.json",
        described
        | {"images": [photos[entry["image_id"]] for entry in entries], "annotations": entries},
    )


def run_photos(
    source: Path,
    out: Path,
    *,
    data: Path,
    work: Path,
    base: config.Run | None = None,
    folds: int = FOLDS,
) -> list[str]:
    """Trains and scores every method on every fold that has no file yet.

    Args:
        source: See :func:`make_folds`.
        out: Folder for the results, one JSON file a method and fold.
        data: Folder the folds are written to.
        work: Folder of the runs.
        base: What all methods share; :func:`base_config` if None.
        folds: How many.

    Returns:
        Names of the files written.
    """
    made = make_folds(source, data / f"{NAME}-{folds}", folds)
    cells = [(method, number) for number in range(folds) for method in COMPARED]
    written = []
    for method, number in progress(cells, description=NAME, unit="training"):
        path = out / NAME / f"{method}--fold-{number}.json"
        if path.exists():
            continue
        say(f"{METHODS[method][0]}, fold {number + 1} of {folds}")
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _run_fold(method, made[number], work / NAME / path.stem, base)
        write_json(path, found | {"fold": number, "folds": folds})
        written.append(path.stem)
    return written


def _run_fold(method: str, fold: Path, path: Path, base: config.Run | None) -> dict[str, Any]:
    settings = config.from_overrides(base or base_config(), METHODS[method][1])
    settings = config.from_dict({"data": {"root": str(fold)}}, base=settings)
    run = trained(settings, path)
    model, _ = load_model(run, "last")
    dataset = open_dataset(settings.data.dataset, fold, settings.data.val_split)
    table = evaluate_model(model, dataset, vocabulary=run.vocabulary(), split="val").per_image_class
    counts = counts_of(table, len(run.vocabulary()))
    holders = table[table["truth_pixels"] > 0]["class_id"].to_numpy(dtype=np.int64)
    return {
        "experiment": NAME,
        "method": method,
        "title": METHODS[method][0],
        "photos": len(dataset),
        "batch": settings.train.batch_size,
        "crop": settings.data.crop,
        "steps": settings.train.steps,
        "backbone": settings.model.backbone,
        **{name: values.tolist() for name, values in counts._asdict().items()},
        "photos_per_class": np.bincount(holders, minlength=len(run.vocabulary())).tolist(),
        "torch": torch.__version__,
        "device": resolve_device("auto"),
        "machine": describe_machine(),
    }
