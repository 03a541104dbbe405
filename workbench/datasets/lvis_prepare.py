"""Builds masks, vocabulary and counts from LVIS and COCO-stuff annotations.

One code path for the real data and for ShapeWorld, which is generated in the same layout::

    ROOT/  mapping.csv (optional)  [annotations/]lvis_v1_{train,val}.json
           [annotations/]stuff_{train,val}2017.json  {train,val}2017/*.jpg

LVIS annotations lie over stuff; where two of one kind overlap, the first in the file wins.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.datasets.annotations import AnnotationFile
from workbench.datasets.images import mask_suffix
from workbench.datasets.lvis_sources import (
    LAYOUT,
    Mapping,
    Split,
    load_mapping,
    load_splits,
    load_stuff,
)
from workbench.datasets.mask_jobs import MaskCount, MaskJob, available_cores, map_chunks
from workbench.errors import DataError
from workbench.progress import progress
from workbench.vocabulary import Vocabulary, read_table

_FORMAT: Final = 1


@dataclass(frozen=True)
class PrepareReport:
    """What ``prepare`` did."""

    out: Path
    classes: int
    images: int
    """Images with a mask, over all splits."""
    missing_images: int
    """Images the annotations list but the folders lack."""
    reused_masks: int
    """Masks that an earlier call had made."""
    seconds: float
    splits: dict[str, int]
    """Split -> images with a mask."""
    notes: tuple[str, ...] = ()
    """What was skipped, and why."""


def prepare(
    root: Path | str,
    *,
    out: Path | str | None = None,
    workers: int | None = None,
    legacy_remap: bool = False,
) -> PrepareReport:
    """Makes everything that training on a LVIS + COCO-stuff root needs.

    Writes into ``out``: ``masks/<split>/<12-digit id>.png`` (16-bit train ids, 65535 ignored;
    32-bit TIFF beyond 65,535 classes), ``images_<split>.parquet``, ``vocabulary.parquet``,
    ``class_counts.parquet``, ``prepare.json`` and, where images are not on disk,
    ``missing_<split>.txt``. A second call keeps the masks that are there, unless the
    annotations or the mapping have changed since.

    Args:
        root: The data root, see the module's docstring. Its own ``mapping.csv`` wins over the
            shipped one.
        out: Where the results go; default is ROOT/prepared, or ROOT/prepared_legacy.
        workers: Processes; default is one per core, and one for few images.
        legacy_remap: Reproduce the masks published with the paper: raw ids 1..1284, 0
            ignored, and the ids remapped one after another, which turns blanket into
            desk-stuff and cabinet into window-other. (Their other fault, ids above 255
            wrapping in images with a single stuff annotation, is not reproduced.)

    Returns:
        Counts, time and notes.

    Raises:
        DataError: No split has both annotations and images, or a file is malformed.
        RunError: Another process prepares into the same folder.
    """
    started = time.perf_counter()
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: the folder is missing; it must hold {LAYOUT}")
    target = (
        Path(out) if out is not None else root / ("prepared_legacy" if legacy_remap else "prepared")
    )
    mapping = load_mapping(root, legacy_remap)
    notes: list[str] = []
    splits, stuff = _load(root, mapping, notes)
    counts: dict[str, MaskCount] = {}
    with _alone(target):
        _begin(target, mapping, [*(split.lvis for split in splits), *stuff])
        for split in splits:
            counts[split.name] = _make_split(target, split, stuff, mapping, workers)
        _write_tables(target, mapping, counts)
        _write_missing(target, splits)
        _write_images(target, splits, mapping, counts)
    return PrepareReport(
        out=target,
        classes=mapping.classes,
        images=sum(count.done for count in counts.values()),
        missing_images=sum(len(split.missing) for split in splits),
        reused_masks=sum(count.reused for count in counts.values()),
        seconds=time.perf_counter() - started,
        splits={name: count.done for name, count in counts.items()},
        notes=tuple(notes),
    )


def _load(
    root: Path, mapping: Mapping, notes: list[str]
) -> tuple[list[Split], list[AnnotationFile]]:
    """All annotations, whose categories the mapping knows."""
    splits = load_splits(root, notes)
    stuff = load_stuff(root, splits, notes)
    for split in splits:
        mapping.check("lvis", split.lvis)
    for one in stuff:
        mapping.check("stuff", one)
    return splits, stuff


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Holds the folder, made if need be, and removes what a killed call has left unfinished.

    Two calls at the same time would remove each other's.
    """
    from workbench.runs import lock
    from workbench.runs.atomic import remove_leftovers

    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(target, error) from error
    held = lock.acquire(target)
    try:
        remove_leftovers(target)
        yield
    finally:
        lock.release(held)


def _not_written(target: Path, error: OSError) -> DataError:
    return DataError(
        f"{target}: cannot be written ({error.strerror}); give another folder with --out"
    )


def _begin(target: Path, mapping: Mapping, sources: list[AnnotationFile]) -> None:
    """Makes the folder ready: it holds nothing from other annotations, and can be written."""
    try:
        _discard_other(target, mapping, sources)
    except OSError as error:
        raise _not_written(target, error) from error


def _discard_other(target: Path, mapping: Mapping, sources: list[AnnotationFile]) -> None:
    """Discards what was made from other annotations, and notes what these are."""
    from workbench.runs.atomic import write_json

    facts = {
        "format": _FORMAT,
        "legacy_remap": mapping.legacy,
        "classes": mapping.classes,
        "mapping": mapping.sha256,
        "annotations": {source.path.name: source.sha256 for source in sources},
    }
    note = target / "prepare.json"
    try:
        same = json.loads(note.read_text(encoding="utf-8")) == facts
    except (OSError, ValueError):
        same = False
    if not same:
        if (target / "masks").exists() and not note.exists():
            raise DataError(
                f"{target}: holds masks of unknown origin; move them or give another output folder"
            )
        # The note goes last: a kill in between leaves the old one, and all is redone.
        shutil.rmtree(target / "masks", ignore_errors=True)
        for stale in [
            *target.glob("images_*.parquet"),
            *target.glob("missing_*.txt"),
            target / "vocabulary.parquet",
            target / "class_counts.parquet",
        ]:
            stale.unlink(missing_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        write_json(note, facts)


def _make_split(
    target: Path,
    split: Split,
    stuff: list[AnnotationFile],
    mapping: Mapping,
    workers: int | None,
) -> MaskCount:
    """Makes one split's masks and counts its classes."""
    folder = target / "masks" / split.name
    folder.mkdir(parents=True, exist_ok=True)
    suffix = mask_suffix(mapping.classes)

    def jobs() -> Iterator[MaskJob]:
        for entry, path in zip(split.lvis.images, split.paths, strict=True):
            if path is not None:
                image_id = entry["id"]
                below, above = mapping.layers(stuff, split.lvis, image_id)
                files = [str(one.path) for one in (*stuff, split.lvis) if image_id in one.regions]
                yield MaskJob(
                    folder / f"{image_id:012d}{suffix}",
                    entry["height"],
                    entry["width"],
                    [*below, *above],
                    " or ".join(files),
                )

    images = np.zeros(mapping.classes, dtype=np.int64)
    pixels = np.zeros(mapping.classes, dtype=np.int64)
    classes: dict[str, npt.NDArray[np.int64]] = {}
    reused = 0
    if workers is None:
        workers = available_cores() if split.present > 500 else 1
    nothing: tuple[MaskCount, ...] = ()  # the bar moves by chunks of several images
    description = f"masks {split.name}"
    with progress(nothing, description=description, total=split.present, unit="img") as bar:
        for count in map_chunks(jobs(), mapping.fill, workers):
            ids = count.ids - int(mapping.legacy)
            images[ids] += count.images
            pixels[ids] += count.pixels
            classes |= {name: found - int(mapping.legacy) for name, found in count.classes.items()}
            reused += count.reused
            bar.update(count.done)
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    return MaskCount(np.arange(mapping.classes), images, pixels, split.present, reused, classes)


def _write_tables(target: Path, mapping: Mapping, counts: dict[str, MaskCount]) -> None:
    """vocabulary.parquet and class_counts.parquet."""
    from workbench.runs.atomic import write_parquet

    # LVIS rows first: where a stuff category is merged, the class keeps LVIS's name.
    table = mapping.table.sort_values("source", kind="stable")
    given = [str(group) for group in table["group"]] if "group" in table else [""] * len(table)
    things = set(table.loc[table["source"] == "lvis", "train_id"].dropna())
    train = counts.get("train")
    images = train.images if train is not None else None
    groups = [
        group or ("" if pd.isna(train_id) else _group(int(train_id), train_id in things, images))
        for group, train_id in zip(given, table["train_id"], strict=True)
    ]
    if mapping.legacy:
        # The remapping moved rows between classes; names and groups stay with the classes.
        own = read_table(mapping.path).sort_values("source", kind="stable")
        table = table.assign(train_id=own["train_id"])
    vocabulary = Vocabulary.from_table(table.assign(group=groups))
    if train is not None:
        vocabulary = vocabulary.with_counts(train.images, train.pixels)
    vocabulary.to_parquet(target / "vocabulary.parquet")
    frames = [
        pd.DataFrame(
            {"split": name, "class_id": count.ids, "images": count.images, "pixels": count.pixels}
        )
        for name, count in counts.items()
    ]
    write_parquet(target / "class_counts.parquet", pd.concat(frames, ignore_index=True))


def _group(train_id: int, thing: bool, images: npt.NDArray[np.int64] | None) -> str:
    """LVIS's frequency group, by training images with the class."""
    if not thing:
        return "stuff"
    if images is None:
        return "all"
    count = int(images[train_id])
    return "rare" if count <= 10 else "common" if count <= 100 else "frequent"


def _write_missing(target: Path, splits: list[Split]) -> None:
    """missing_<split>.txt, a path per line; no file where all images are there."""
    from workbench.runs.atomic import write_text

    for split in splits:
        path = target / f"missing_{split.name}.txt"
        if split.missing:
            write_text(path, "".join(f"{name}\n" for name in split.missing))
        else:
            path.unlink(missing_ok=True)


def _write_images(
    target: Path, splits: list[Split], mapping: Mapping, counts: dict[str, MaskCount]
) -> None:
    """images_<split>.parquet, the last files: where they are, all others are whole."""
    from workbench.runs.atomic import write_parquet

    lookup = mapping.lookups["lvis"]

    def train_ids(entry: dict[str, Any], key: str) -> list[int]:
        listed = [int(value) for value in entry.get(key) or ()]
        found = [int(lookup[value]) for value in listed if 0 <= value < len(lookup)]
        return [value for value in found if value >= 0]

    for split in splits:
        rows = [
            (
                f"{entry['id']:012d}",
                path,
                entry["width"],
                entry["height"],
                train_ids(entry, "neg_category_ids"),
                train_ids(entry, "not_exhaustive_category_ids"),
                counts[split.name].classes[f"{entry['id']:012d}"],
            )
            for entry, path in zip(split.lvis.images, split.paths, strict=True)
            if path is not None
        ]
        columns = ["id", "image_path", "width", "height", "neg", "not_exhaustive", "classes"]
        write_parquet(target / f"images_{split.name}.parquet", pd.DataFrame(rows, columns=columns))
