"""Classes added afterwards from a few masks, against having trained with them.

Some classes are held out of a training: their pixels are ignored, their names unknown. They are
then added from 1, 5 or 20 example masks of training pictures, drawn several times, and all
classes are scored together; the same training with all classes is the measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from workbench import config
from workbench.benchmarks.harness import resolve_device
from workbench.benchmarks.machine import describe_machine
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.experiments.added_data import (
    choose_held,
    pixels_per_picture,
    without_gap,
    write_without,
)
from workbench.experiments.added_rows import SHIPPED, WAYS
from workbench.experiments.added_score import draw_rows, score_rows, score_trained
from workbench.experiments.cell import make_world, split_halves, trained
from workbench.experiments.photos import FOLDS, make_folds
from workbench.experiments.photos import NAME as PHOTOS
from workbench.experiments.photos import base_config as photos_config
from workbench.experiments.plan import METHODS, World
from workbench.experiments.plan import base_config as world_config
from workbench.inference import load_model
from workbench.inference.class_sets import classes_of_run
from workbench.progress import say
from workbench.runs import write_json

NAME: Final = "added"
EXAMPLES: Final = (1, 5, 20)
DRAWS: Final = 5
METHOD: Final = "ours"
WORLD: Final = World(classes=150, images=2400, val_images=400)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training without some classes, one with all.

    Attributes:
        name: Of the results.
        fold: Of the photos; None for generated pictures.
        settings: Of both trainings, the data's folder aside.
        held: How many classes are held out.
        least_pictures: Pictures that must show a class well, for it to be held out.
        least_pixels: Pixels a picture shows a class well with.
        halves: Whether every other picture of the validation split is for choosing only.
    """

    name: str
    fold: int | None = None
    settings: config.Run
    held: int
    least_pictures: int
    least_pixels: int
    halves: bool


def world_case(base: config.Run | None = None) -> Case:
    """ShapeWorld, trained for ten minutes or so on one core."""
    settings = base or config.from_dict(
        {"data": {"crop": 96}, "train": {"steps": 600, "warmup_steps": 30}}, base=world_config()
    )
    return Case(
        name="shapeworld",
        settings=_with_method(settings),
        held=15,
        least_pictures=max(EXAMPLES),
        least_pixels=50,
        halves=True,
    )


def photos_case(fold: int, base: config.Run | None = None) -> Case:
    """Real photos; the frequent classes, for a class in a handful of photos cannot be scored."""
    return Case(
        name=f"photos-{fold}",
        fold=fold,
        settings=_with_method(base or photos_config()),
        held=5,
        least_pictures=12,
        least_pixels=500,
        halves=False,
    )


def result_file(out: Path, case: Case) -> Path:
    """Where a case's result is kept."""
    return out / NAME / f"{case.name}.json"


def planned_cases() -> list[Case]:
    """What is trained, in this order."""
    return [world_case(), photos_case(0)]


def _with_method(settings: config.Run) -> config.Run:
    return config.from_overrides(settings, METHODS[METHOD][1])


def run_added(
    out: Path,
    *,
    data: Path,
    work: Path,
    photos: Path | None = None,
    world: World = WORLD,
    cases: Sequence[Case] | None = None,
) -> list[str]:
    """Trains and scores the cases that have no file yet.

    Args:
        out: Folder for the results, one JSON file a case.
        data: Folder of generated pictures and of the splits without the held-out classes.
        work: Folder of the runs.
        photos: COCO 2017 with panoptic_train2017; without, only ShapeWorld.
        world: The generated pictures.
        cases: What to do; all if None.

    Returns:
        Names of the files written.
    """
    written = []
    for case in planned_cases() if cases is None else cases:
        path = result_file(out, case)
        if path.exists() or (case.fold is not None and photos is None):
            continue
        say(f"{NAME}: {case.name}")
        if case.fold is not None and photos is not None:
            root = str(make_folds(photos, data / f"{PHOTOS}-{FOLDS}", FOLDS)[case.fold])
        else:
            root = make_world(world, data)
        row = run_case(case, root, data=data / NAME, work=work / NAME)
        write_json(path, row)
        written.append(path.stem)
    return written


def run_case(case: Case, root: str, *, data: Path, work: Path) -> dict[str, Any]:
    """Trains a case twice and scores it.

    Args:
        case: What to do.
        root: Of its dataset.
        data: Folder for the split without the held-out classes.
        work: Folder of the two runs.

    Returns:
        Plain values: what was held out, "before" (nothing added), "trained" (with all classes)
        and "added" (one entry a way, number of examples and draw), each with the IoU of the
        held-out classes and the mean IoU of the others, on "test" and, with halves, "dev".
    """
    train_set, val_set = (
        open_dataset(case.settings.data.dataset, root, split)
        for split in (case.settings.data.train_split, case.settings.data.val_split)
    )
    counts = pixels_per_picture(train_set)
    shown = (counts >= case.least_pixels).sum(axis=0)
    if not case.halves:  # so few that those to be scored count too
        shown += (pixels_per_picture(val_set) >= case.least_pixels).sum(axis=0)
    held = choose_held(shown, case.held, case.least_pictures)
    without = data / case.name
    write_without(train_set, held, without)
    places = {"without": {"dataset": "folder", "root": str(without)}, "with": {"root": root}}
    runs = {
        name: trained(
            config.from_dict({"data": place}, base=case.settings), work / f"{case.name}-{name}"
        )
        for name, place in places.items()
    }
    lookup = without_gap(len(train_set.vocabulary), held)
    halves = split_halves([*range(len(val_set))])
    parts = halves if case.halves else {"test": [*range(len(val_set))]}
    model, _ = load_model(runs["without"])
    base = classes_of_run(runs["without"])
    rows = draw_rows(
        model,
        train_set,
        counts >= case.least_pixels,
        held,
        base.weight,
        EXAMPLES,
        DRAWS,
        WAYS if case.halves else [SHIPPED],
    )
    whole, _ = load_model(runs["with"])
    return {
        "experiment": NAME,
        "case": case.name,
        "classes": len(lookup),
        "held": [train_set.vocabulary.names[index] for index in held],
        "held_groups": [train_set.vocabulary.groups[index] for index in held],
        "held_pictures": (counts[:, held] > 0).sum(axis=0).tolist(),
        **_facts(case, train_set, parts),
        "trained": score_trained(whole, val_set, lookup, parts, len(held)),
        **score_rows(model, base, rows, val_set, lookup, parts),
    }


def _facts(
    case: Case, train_set: SegmentationDataset, parts: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    settings = case.settings
    network = settings.model.network
    if network != "small":  # which has no backbone of another's
        network = f"{network} over {settings.model.backbone}"
    return {
        "method": METHOD,
        "title": METHODS[METHOD][0],
        "network": network,
        "steps": settings.train.steps,
        "batch": settings.train.batch_size,
        "crop": settings.data.crop,
        "training_pictures": len(train_set),
        "pictures": {name: len(part) for name, part in parts.items()},
        "torch": torch.__version__,
        "device": resolve_device("auto"),
        "machine": describe_machine(),
    }
