"""``workbench prepare`` at the size of LVIS: time, memory, and going on after a kill.

Generated annotations are prepared by the command itself, which is killed with SIGKILL when half
of the masks are there, and then called again. Some of the same images are also made the
reference's way: each annotation decoded to a full-size mask, and full-size arithmetic for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from workbench.benchmarks.harness import Row, Spec, run_isolated
from workbench.benchmarks.machine import describe_machine, peak_rss
from workbench.benchmarks.prepare_data import HEIGHT, WIDTH, write_root
from workbench.benchmarks.process_tree import ProcessTree
from workbench.datasets.annotations import Region, load_annotations, paint
from workbench.datasets.images import write_mask
from workbench.datasets.lvis_sources import load_mapping, load_splits, load_stuff
from workbench.datasets.mask_jobs import available_cores
from workbench.errors import ConfigError, DataError
from workbench.progress import progress

SHOWN: Final = (
    *("seconds", "images_per_second", "images_per_cpu_second", "times_reference"),
    *("reused_masks", "peak_bytes", "main_peak_bytes"),
)
"""The columns worth printing."""

_SAMPLE: Final = 100  # images that are made both ways
_LOOK_EVERY: Final = 0.1  # seconds
_LAST_WORDS: Final = 10.0  # seconds the workers of a killed process get to end


def run_prepare(
    images: int = 2000,
    annotations_per_image: float = 12.7,
    *,
    stuff: bool = False,
    workers: int | None = None,
) -> list[Row]:
    """Measures reading the json, preparing until a kill, going on, and the reference's way.

    Args:
        images: Number of images; LVIS's train split has 100,170.
        annotations_per_image: On average; LVIS's train split has 12.7.
        stuff: Whether there are stuff annotations too, which cover every picture.
        workers: Processes; one per core if None.

    Returns:
        A row for each "what": "load" (:func:`measure_load`), "until the kill" and "resumed"
        (:func:`run_command`), "reference" (:func:`measure_reference`). Every row also
        describes data and machine.

    Raises:
        ConfigError: A number is too small.
        DataError: ``prepare`` failed.
    """
    if images < 2 or not annotations_per_image >= 1:
        raise ConfigError("--images must be at least 2, --annotations-per-image at least 1")
    workers = workers or available_cores()
    machine = describe_machine()  # before the work: afterwards the load is our own
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        root, out = Path(folder) / "root", Path(folder) / "prepared"
        steps: dict[str, Callable[[], Row]] = {
            "load": lambda: run_isolated(_spec("load", root)),
            "until the kill": lambda: run_command(root, out, workers, kill_at=images // 2),
            "resumed": lambda: run_command(root, out, workers),
            "reference": lambda: run_isolated(_spec("reference", root)),
        }
        written = write_root(root, images, annotations_per_image, stuff=stuff)
        bar = progress(steps.items(), description="bench prepare", unit="row")
        rows = [{"bench": "prepare", "what": what, **measure()} for what, measure in bar]
    data = {**written._asdict(), "width": WIDTH, "height": HEIGHT}
    return [{**row, "data": data, "machine": machine} for row in rows]


def _spec(name: str, root: Path) -> Spec:
    return {"bench": f"prepare-{name}", "device": "cpu", "root": str(root)}


class _Mark(NamedTuple):
    """A moment of a run."""

    time: float
    masks: int
    cpu_seconds: float
    main_cpu_seconds: float


def run_command(root: Path, out: Path, workers: int, *, kill_at: int | None = None) -> Row:
    """Runs ``workbench prepare`` and watches its processes.

    Args:
        root: The data root.
        out: Where the masks go; those that are there are kept.
        workers: Processes.
        kill_at: Number of masks at which the main process gets SIGKILL; None lets it finish.

    Returns:
        "seconds" in all; "new_masks" and "reused_masks" (None if killed: it did not say);
        "whole_masks" there afterwards; "seconds_to_first" new mask; from then on
        "images_per_second", "images_per_cpu_second" (of CPU time of all processes: what a core
        makes that has nothing else to do) and "main_cpu_per_image" (of the process that hands
        out the work), all None where there was too little to measure; "peak_bytes" and
        "main_peak_bytes", see :class:`~workbench.benchmarks.process_tree.ProcessTree`;
        "workers", and "left_running" processes afterwards.

    Raises:
        DataError: The command failed.
    """
    masks = out / "masks" / "train"
    before = _count(masks)
    command = [sys.executable, "-m", "workbench", "prepare", "lvis-coco", str(root)]
    options = ["--out", str(out), "--workers", str(workers), "--json"]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([*command, *options], stdout=answer, stderr=said, text=True)
        tree = ProcessTree(process.pid)
        marks = _watch(process, tree, masks, before, kill_at)
        seconds = time.perf_counter() - started
        reused = _reused(process.returncode, answer, said) if kill_at is None else None
    gave_up = time.perf_counter() + _LAST_WORDS
    while tree.running() and time.perf_counter() < gave_up:
        time.sleep(_LOOK_EVERY)
    row: Row = {
        "seconds": round(seconds, 2),
        "seconds_to_first": round(marks[0].time - started, 2) if marks else None,
        "new_masks": _count(masks) - before,
        "reused_masks": reused,
        "whole_masks": _count(masks),
        "peak_bytes": tree.peak_bytes,
        "main_peak_bytes": tree.main_peak_bytes,
        "workers": workers,
        "left_running": tree.running(),
    }
    return row | _rates(marks)


def _watch(
    process: subprocess.Popen[str], tree: ProcessTree, masks: Path, before: int, kill_at: int | None
) -> list[_Mark]:
    """Waits for the end, or brings it about; moments at which there were more new masks."""
    marks: list[_Mark] = []
    seen, count_again = before, 0.0
    while process.poll() is None:
        tree.sample()
        now = time.perf_counter()
        if now >= count_again:
            there = _count(masks)
            took = time.perf_counter() - now
            count_again = now + 20 * took  # listing 100,000 names is work too
            if there > seen:
                seen = there
                marks.append(_Mark(now, there, tree.cpu_seconds, tree.main_cpu_seconds))
            if kill_at is not None and there >= kill_at:
                process.kill()
        time.sleep(_LOOK_EVERY)
    return marks


def _rates(marks: list[_Mark]) -> Row:
    names = ("images_per_second", "images_per_cpu_second", "main_cpu_per_image")
    if len(marks) < 2 or marks[-1].cpu_seconds <= marks[0].cpu_seconds:
        return dict.fromkeys(names)
    first, last = marks[0], marks[-1]
    made = last.masks - first.masks
    values = (
        made / (last.time - first.time),
        made / (last.cpu_seconds - first.cpu_seconds),
        (last.main_cpu_seconds - first.main_cpu_seconds) / made,
    )
    return dict(zip(names, (round(value, 6) for value in values), strict=True))


def _count(folder: Path) -> int:
    """Finished masks in a folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    return sum(name.endswith(".png") for name in names)


def _reused(returncode: int, answer: IO[str], said: IO[str]) -> int:
    answer.seek(0)
    said.seek(0)
    if returncode:
        last = (said.read().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"workbench prepare failed with exit code {returncode}: {last}")
    return int(json.load(answer)["reused_masks"])


def measure_load(spec: Spec) -> Row:
    """Reads the LVIS json of a root; to be called in a fresh process.

    Args:
        spec: "root".

    Returns:
        "json_bytes", "seconds", "cpu_seconds" and "peak_bytes" of the process.
    """
    path = Path(spec["root"]) / "lvis_v1_train.json"
    wall, cpu = time.perf_counter(), time.process_time()
    load_annotations(path)
    return {
        "json_bytes": path.stat().st_size,
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_bytes": peak_rss(),
    }


def measure_reference(spec: Spec) -> Row:
    """Makes the masks of some images both ways, on one core; to be called in a fresh process.

    Both paint the same annotations in the same order and write the same file.

    Args:
        spec: "root".

    Returns:
        "images" and "annotations" of the sample; "images_per_cpu_second" and
        "reference_images_per_cpu_second", files included; "times_reference", their ratio;
        "paint_times_reference", the ratio without writing the files; "same_pixels".
    """
    jobs = _sample(Path(spec["root"]))
    same = True
    seconds = {"paint": 0.0, "reference": 0.0, "write": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        for regions, fill in jobs:
            start = time.process_time()
            ours = paint(regions, HEIGHT, WIDTH, fill)
            painted = time.process_time()
            theirs = paint_full_size(regions, HEIGHT, WIDTH, fill)
            multiplied = time.process_time()
            write_mask(path, ours)
            seconds["paint"] += painted - start
            seconds["reference"] += multiplied - painted
            seconds["write"] += time.process_time() - multiplied
            same = same and np.array_equal(ours, theirs)
    ours_all = seconds["paint"] + seconds["write"]
    reference_all = seconds["reference"] + seconds["write"]
    return {
        "images": len(jobs),
        "annotations": sum(len(regions) for regions, _ in jobs),
        "images_per_cpu_second": round(len(jobs) / ours_all, 2),
        "reference_images_per_cpu_second": round(len(jobs) / reference_all, 2),
        "times_reference": round(reference_all / ours_all, 2),
        "paint_times_reference": round(seconds["reference"] / seconds["paint"], 2),
        "same_pixels": same,
    }


def _sample(root: Path) -> list[tuple[list[Region], int]]:
    """Annotations of images spread over the split, as ``prepare`` paints them, and the fill."""
    mapping = load_mapping(root, legacy=False)
    splits = load_splits(root, [])
    stuff = load_stuff(root, splits, [])
    lvis = splits[0].lvis
    ids = [entry["id"] for entry in lvis.images]
    jobs = []
    for image_id in ids[:: max(1, len(ids) // _SAMPLE)]:
        below, above = mapping.layers(stuff, lvis, image_id)
        jobs.append(([*below, *above], mapping.fill))
    return jobs


def paint_full_size(
    regions: Iterable[Region], height: int, width: int, fill: int
) -> npt.NDArray[np.uint16]:
    """Paints the reference's way: ``mask * (1 - inside) + inside * id`` for each annotation.

    In 16 bits, the least that holds the ids: generous, since the time goes into memory.

    Args:
        regions: Later ones cover earlier ones.
        height: Of the mask, in pixels.
        width: Of the mask, in pixels.
        fill: Value of pixels without a region.

    Returns:
        (height, width) uint16.
    """
    mask = np.full((height, width), fill, dtype=np.uint16, order="F")
    for class_id, segmentation in regions:
        if isinstance(segmentation, list):
            polygons = [np.frombuffer(polygon) for polygon in segmentation]
            packed = coco.merge(coco.frPyObjects(polygons, height, width))
        else:
            packed = {"size": [height, width], "counts": segmentation.counts}
        inside = coco.decode(packed).astype(np.uint16)
        mask = mask * (1 - inside) + inside * np.uint16(class_id)
    return mask
