"""Writes ShapeWorld: generated scenes of any number of classes, in the layout of LVIS + COCO.

The files are those of the real data (LVIS v1 json, COCO-Stuff json, JPEG), so the same
``prepare`` builds the masks. See ``shapeworld_classes`` for the classes, ``shapeworld_plan``
for their frequencies and ``shapeworld_render`` for the drawing.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image
from pycocotools import mask as coco_mask

from workbench.datasets.mask_jobs import available_cores
from workbench.datasets.shapeworld_classes import (
    FIRST_STUFF_ID,
    REFERENCE_CLASSES,
    Looks,
    class_groups,
    class_looks,
    class_table,
)
from workbench.datasets.shapeworld_json import Annotation, Drawn, lvis_json, stuff_json
from workbench.datasets.shapeworld_plan import (
    REFERENCE_IMAGES,
    VAL_MINIMUM,
    Plan,
    default_val_images,
    plan_train,
    plan_val,
)
from workbench.datasets.shapeworld_render import draw_scene
from workbench.errors import ConfigError, DataError
from workbench.progress import progress
from workbench.runs.atomic import write_bytes, write_json, write_text

__all__ = ["ShapeWorldReport", "class_table", "write_shapeworld"]

RECIPE: Final = "shapeworld.json"
_PER_TASK: Final = 64
_MAPPING_COLUMNS: Final = [
    *("source", "raw_id", "train_id", "name", "group", "supercategory"),
    *("shape", "hue", "texture", "color"),
]


@dataclass(frozen=True)
class ShapeWorldReport:
    """What was written.

    Attributes:
        root: The folder.
        classes: Number of classes C.
        train_images: Images of the train split.
        val_images: Images of the val split.
        annotations: LVIS and stuff annotations of both splits together.
        absent_train: Classes in no train image.
        scarce_val: Classes in fewer than 3 val images.
        dropped: Planned things that found no room to be visible.
        seconds: Time taken.
    """

    root: Path
    classes: int
    train_images: int
    val_images: int
    annotations: int
    absent_train: int
    scarce_val: int
    dropped: int
    seconds: float


@dataclass(frozen=True)
class _Task:
    """A run of consecutive images for one worker."""

    folder: Path
    first_id: int
    stream: int  # the split's own random stream
    first: int
    things: list[list[int]]
    stuff: list[list[int]]


class _Artist:
    """Draws and writes images; one per worker process."""

    def __init__(self, looks: Looks, size: int, seed: int) -> None:
        """Keeps what all images share.

        Args:
            looks: The factors of all classes.
            size: Side of the images, pixels.
            seed: The seed of the world.
        """
        self.looks, self.size, self.seed = looks, size, seed

    def work(self, task: _Task) -> list[Drawn]:
        """Draws the images of a task."""
        return [self._draw(task, offset) for offset in range(len(task.things))]

    def _draw(self, task: _Task, offset: int) -> Drawn:
        rng = np.random.default_rng([self.seed, task.stream, task.first + offset])
        image_id = task.first_id + task.first + offset
        wanted = task.things[offset]
        scene = draw_scene(self.looks, wanted, task.stuff[offset], self.size, rng)
        buffer = io.BytesIO()
        Image.fromarray(scene.image).save(buffer, "JPEG", quality=90, subsampling=0)
        write_bytes(task.folder / f"{image_id:012d}.jpg", buffer.getvalue(), sync=False)
        ids = [FIRST_STUFF_ID + index for index in scene.stuff]
        ids += [1 + index for index in scene.things]
        # (N, W, H) in C order is the (H, W, N) in Fortran order that pycocotools wants.
        numbers = np.arange(len(ids), dtype=np.int16)[:, None, None]
        layers = np.equal(scene.labels.T[None], numbers, order="C")
        encoded = coco_mask.encode(layers.view(np.uint8).transpose(2, 1, 0))
        areas, boxes = coco_mask.area(encoded), coco_mask.toBbox(encoded)
        found: list[Annotation] = [
            {
                "image_id": image_id,
                "category_id": category,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                "area": int(area),
                "bbox": [int(value) for value in box],
            }
            for category, rle, area, box in zip(ids, encoded, areas, boxes, strict=True)
        ]
        regions = len(scene.stuff)
        return Drawn(
            things=found[regions:],
            stuff=[a | {"iscrowd": 0} for a in found[:regions] if a["area"]],
            dropped=len(wanted) - len(scene.things),
        )


_ARTIST: _Artist | None = None


def _hire(looks: Looks, size: int, seed: int) -> None:
    """Prepares a worker process."""
    global _ARTIST  # a process pool has no other place for what its tasks share
    _ARTIST = _Artist(looks, size, seed)


def _work(task: _Task) -> list[Drawn]:
    """Runs a task in a worker process."""
    if _ARTIST is None:
        raise RuntimeError("the worker was not prepared")
    return _ARTIST.work(task)


@contextmanager
def _drawing(artist: _Artist, tasks: list[_Task], workers: int) -> Iterator[Iterator[list[Drawn]]]:
    """Yields the drawn tasks in order, in this process or several."""
    if workers == 1:
        yield map(artist.work, tasks)
        return
    # Spawned, because forking a process that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    known = (artist.looks, artist.size, artist.seed)
    with ProcessPoolExecutor(workers, context, initializer=_hire, initargs=known) as pool:
        try:
            yield pool.map(_work, tasks)
        except BrokenProcessPool as error:
            raise DataError(
                "a process that draws pictures died, most likely for want of memory; begin again "
                "in an empty folder, with fewer or smaller pictures"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _claim(out: Path, recipe: dict[str, Any]) -> None:
    """Takes a folder for this world, or refuses one that holds something else."""
    mark = out / RECIPE
    if mark.is_file():
        try:
            found = json.loads(mark.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != recipe:
            raise DataError(
                f"{mark}: a ShapeWorld with other settings lies here; choose an empty folder."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: the folder is not empty; choose an empty one.")
    elif out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder.")
    write_json(mark, recipe)


def _compact(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _tasks(folder: Path, plan: Plan, stream: int, first_id: int) -> list[_Task]:
    """Cuts a split's plan into tasks; the cut has no influence on what is drawn."""
    return [
        _Task(
            folder,
            first_id,
            stream,
            start,
            plan.things[start : start + _PER_TASK],
            plan.stuff[start : start + _PER_TASK],
        )
        for start in range(0, len(plan.things), _PER_TASK)
    ]


def _tally(drawn: list[Drawn], table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns in how many images of a split each class occurs, by train id."""
    things = int((table["source"] == "lvis").sum())
    ids = [
        train_id
        for item in drawn
        for train_id in {row["category_id"] - 1 for row in item.things}
        | {row["category_id"] - FIRST_STUFF_ID + things for row in item.stuff}
    ]
    return np.bincount(np.array(ids, dtype=np.int64), minlength=len(table))


def write_shapeworld(
    out: Path | str,
    *,
    images: int = REFERENCE_IMAGES,
    val_images: int | None = None,
    size: int = 128,
    classes: int = REFERENCE_CLASSES,
    seed: int = 0,
    workers: int | None = None,
) -> ShapeWorldReport:
    """Writes a ShapeWorld in the layout of LVIS v1 + COCO-Stuff.

    The same settings give the same bytes, whatever the number of workers. The class list
    comes first, the json files come last: a folder that has them is whole.

    Args:
        out: Folder to write into; empty, absent, or begun earlier with the same settings.
        images: Train images. Frequencies are planned at 9,600 and scaled.
        val_images: Val images; by default so many that each class is in at least 3.
        size: Side of the square images in pixels.
        classes: Number of classes C; about 6 in 100 are stuff.
        seed: Seed of the classes, the plan and every image.
        workers: Processes; by default one per core, and one for fewer than 1,000 images.

    Returns:
        What was written.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If the folder holds something else.
    """
    began = time.perf_counter()
    looks, val_images = _checked(images, val_images, size, classes, seed)
    out = Path(out)
    counts = {"images": images, "val_images": val_images}
    _claim(out, counts | {"size": size, "classes": classes, "seed": seed, "version": 1})
    table = class_table(classes, seed)
    mapping = table.rename(columns={"class_id": "train_id"})[_MAPPING_COLUMNS]
    write_text(out / "mapping.csv", mapping.to_csv(index=False, lineterminator="\n"))
    plans = _plans(looks, images, val_images, seed)
    first_ids = {"train": 1, "val": images + 1}
    drawn = _draw_all(out, plans, first_ids, _Artist(looks, size, seed), workers)
    for split, first_id in first_ids.items():
        stuff = stuff_json(drawn[split], table, split, first_id, size)
        write_text(out / "annotations" / f"stuff_{split}2017.json", _compact(stuff))
        lvis = lvis_json(drawn[split], table, split, first_id, size, seed)
        write_text(out / f"lvis_v1_{split}.json", _compact(lvis))
    every = [item for split in drawn.values() for item in split]
    return ShapeWorldReport(
        root=out,
        classes=classes,
        train_images=images,
        val_images=val_images,
        annotations=sum(len(item.things) + len(item.stuff) for item in every),
        absent_train=int((_tally(drawn["train"], table) == 0).sum()),
        scarce_val=int((_tally(drawn["val"], table) < VAL_MINIMUM).sum()),
        dropped=sum(item.dropped for item in every),
        seconds=time.perf_counter() - began,
    )


def _checked(
    images: int, val_images: int | None, size: int, classes: int, seed: int
) -> tuple[Looks, int]:
    """Checks the settings; returns the classes' looks and the number of val images."""
    if seed < 0:
        raise ConfigError(f"seed: {seed} is negative; use 0 or more.")
    looks = class_looks(classes, seed)
    if val_images is None:
        val_images = default_val_images(len(looks.things), len(looks.stuff))
    for field, value, least in (
        ("images", images, 1),
        ("val_images", val_images, 1),
        ("size", size, 32),
    ):
        if value < least:
            raise ConfigError(f"{field}: {value} is too small; use at least {least}.")
    return looks, val_images


def _plans(looks: Looks, images: int, val_images: int, seed: int) -> dict[str, Plan]:
    """Plans both splits."""
    things, stuff = len(looks.things), len(looks.stuff)
    train, val = np.random.default_rng([seed, 21]), np.random.default_rng([seed, 22])
    return {
        "train": plan_train(class_groups(things, seed), stuff, images, train),
        "val": plan_val(things, stuff, val_images, val),
    }


def _draw_all(
    out: Path,
    plans: dict[str, Plan],
    first_ids: dict[str, int],
    artist: _Artist,
    workers: int | None,
) -> dict[str, list[Drawn]]:
    """Draws and writes the images of all splits; returns their annotations in order."""
    tasks = [
        task
        for stream, (split, plan) in enumerate(plans.items(), start=1)
        for task in _tasks(out / f"{split}2017", plan, stream, first_ids[split])
    ]
    total = sum(len(plan.things) for plan in plans.values())
    if workers is None:
        workers = 1 if total < 1000 else available_cores()
    drawn: list[Drawn] = []
    with (
        progress(range(total), description="drawing", unit="img") as bar,
        _drawing(artist, tasks, max(1, workers)) as results,
    ):
        for result in results:
            drawn += result
            bar.update(len(result))
    train = len(plans["train"].things)
    return {"train": drawn[:train], "val": drawn[train:]}
