"""What a LVIS + COCO-stuff root holds: its class mapping, annotations and photos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.constants import IGNORE_INDEX, IGNORE_ON_DISK
from workbench.datasets.annotations import AnnotationFile, Region, load_annotations
from workbench.datasets.images import mask_suffix
from workbench.errors import DataError
from workbench.vocabulary import DATA_FOLDER, raw_to_train, read_table

SPLITS: Final = ("train", "val")
LAYOUT: Final = (
    "lvis_v1_train.json and lvis_v1_val.json, annotations/stuff_train2017.json and "
    "stuff_val2017.json, and the photos in train2017/ and val2017/"
)
_UNLISTED: Final = -1


@dataclass
class Mapping:
    """Raw category ids of both kinds of file -> train ids."""

    path: Path
    table: pd.DataFrame
    """See ``read_table``; with ``legacy``, train ids are those that remapping in place gives."""
    sha256: str
    lookups: dict[str, npt.NDArray[np.int64]]
    legacy: bool
    classes: int = field(init=False)

    def __post_init__(self) -> None:
        self.classes = int(self.table["train_id"].max()) + 1

    @property
    def fill(self) -> int:
        """Value of ignored pixels on disk."""
        if self.legacy:
            return 0
        return IGNORE_ON_DISK if mask_suffix(self.classes) == ".png" else 2**31 - 1

    def check(self, source: str, loaded: AnnotationFile) -> None:
        """Every category of a file is in the table.

        Raises:
            DataError: One is not; the message names it and an image that has it.
        """
        listed = set(self.table.loc[self.table["source"] == source, "raw_id"])
        for image_id, regions in loaded.regions.items():
            for category, _ in regions:
                if category not in listed:
                    raise DataError(
                        f"{loaded.path}: category_id {category} (image {image_id}) is not among "
                        f"the {source} rows of the mapping; add a row, with an empty train_id to "
                        "ignore it"
                    )

    def layers(
        self, stuff: Iterable[AnnotationFile], lvis: AnnotationFile, image_id: int
    ) -> tuple[list[Region], list[Region]]:
        """An image's stuff, of all its files, and the things that are painted over it.

        Ids are those that go on disk; within a file the last annotation comes first.
        """
        below = [region for one in stuff for region in self._regions("stuff", one, image_id)]
        return below, self._regions("lvis", lvis, image_id)

    def _regions(self, source: str, loaded: AnnotationFile, image_id: int) -> list[Region]:
        lookup = self.lookups[source]
        regions = []
        for category, segmentation in reversed(loaded.regions.get(image_id, [])):
            train = int(lookup[category])
            value = self.fill if train == IGNORE_INDEX else train + int(self.legacy)
            regions.append(Region(value, segmentation))
        return regions


@dataclass
class Split:
    """One split's annotations and the images that are there."""

    name: str
    lvis: AnnotationFile
    paths: list[str | None]
    """Per image of the json: path relative to the root, None if the file is missing."""
    missing: list[str]
    """Where the missing images should be, relative to the root, in the order of the json."""

    @property
    def present(self) -> int:
        """Number of images that are there."""
        return sum(path is not None for path in self.paths)


def legacy_lookup(
    stuff_ids: npt.NDArray[np.int64], merged_ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Where remapping in place, one id after another, sends each stuff id.

    The published masks were made so: an id that was already replaced is replaced again if
    its new value equals a later source. Of the real mapping this befalls 93 (blanket,
    -> 110 -> 1217) and 98 (cabinet, -> 181 -> 1283).

    Args:
        stuff_ids: (N,) raw stuff ids.
        merged_ids: (N,) ids 1..C they stand for.

    Returns:
        (N,) the ids that result.
    """
    values = stuff_ids.copy()
    for index in np.argsort(stuff_ids):
        values[values == stuff_ids[index]] = merged_ids[index]
    return values


def load_mapping(root: Path, legacy: bool) -> Mapping:
    """Reads the root's own ``mapping.csv``, or the shipped one.

    Raises:
        DataError: The table is malformed or names another source than lvis and stuff.
    """
    own = root / "mapping.csv"
    path = own if own.is_file() else DATA_FOLDER / "lvis_coco.csv"
    table = read_table(path)
    if "source" not in table:
        raise DataError(f"{path}: the column 'source' is missing; add it (lvis or stuff)")
    unknown = sorted(set(table["source"]) - {"lvis", "stuff"})
    if unknown:
        raise DataError(f"{path}: source {unknown[0]!r} is unknown; write lvis or stuff")
    if legacy:
        table = table.copy()
        rows = (table["source"] == "stuff") & table["train_id"].notna()
        raw = table.loc[rows, "raw_id"].to_numpy(dtype=np.int64)
        merged = table.loc[rows, "train_id"].to_numpy(dtype=np.int64) + 1
        table.loc[rows, "train_id"] = legacy_lookup(raw, merged) - 1
    lookups = {
        source: raw_to_train(table[table["source"] == source], unlisted=_UNLISTED)
        for source in ("lvis", "stuff")
    }
    return Mapping(path, table, hashlib.sha256(path.read_bytes()).hexdigest(), lookups, legacy)


def annotation_path(root: Path, name: str) -> Path | None:
    """Where an annotation file is in a root, None if it is not."""
    for path in (root / "annotations" / name, root / name):
        if path.is_file():
            return path
    return None


def load_splits(root: Path, notes: list[str]) -> list[Split]:
    """The splits whose json and images are there.

    Args:
        root: The data root.
        notes: Receives a line for each split that is skipped or lacks images.

    Raises:
        DataError: No split is left, or a json is malformed.
    """
    splits = []
    folders = _Folders(root)
    for name in SPLITS:
        path = annotation_path(root, f"lvis_v1_{name}.json")
        if path is None:
            notes.append(f"split {name} skipped: lvis_v1_{name}.json is missing")
            continue
        lvis = load_annotations(path)
        expected = [_candidates(name, entry, path) for entry in lvis.images]
        paths = [folders.first_there(places) for places in expected]
        missing = [
            places[0] for places, there in zip(expected, paths, strict=True) if there is None
        ]
        split = Split(name, lvis, paths, missing)
        _note_area(lvis, notes)
        first = ", ".join(missing[:3])
        if not split.present:
            notes.append(
                f"split {name} skipped: none of its {len(paths)} images is there ({first}, ...)"
            )
            continue
        splits.append(split)
        if missing:
            notes.append(
                f"split {name}: {len(missing)} of {len(paths)} images are missing ({first}"
                f"{', ...' if len(missing) > 3 else ''}); missing_{name}.txt names them all"
            )
    if not splits:
        raise DataError(f"{root}: nothing to prepare ({'; '.join(notes)}); it must hold {LAYOUT}")
    return splits


def _candidates(split: str, entry: dict[str, Any], json_path: Path) -> list[str]:
    """Where an image may be, relative to the root, the likeliest first.

    LVIS takes 15,000 of its val images from train2017: where the json names a folder, that
    one counts, not the split's name.
    """
    url, file_name = entry.get("coco_url"), entry.get("file_name")
    candidates = []
    if isinstance(url, str) and url:
        candidates.append("/".join(PurePosixPath(url).parts[-2:]))
    if isinstance(file_name, str) and file_name:
        candidates.append(file_name)
        base = PurePosixPath(file_name).name
        candidates += [f"{folder}2017/{base}" for folder in (split, *SPLITS)]
    if not candidates:
        candidates = [f"{folder}2017/{entry['id']:012d}.jpg" for folder in (split, *SPLITS)]
    for candidate in candidates:
        path = PurePosixPath(candidate)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(
                f"{json_path}: image {entry['id']}: the path {candidate!r} leads out "
                "of the data root; make it relative"
            )
    return candidates


class _Folders:
    """Listings of folders, one each: 118,000 stat calls are slow on a network."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def first_there(self, candidates: list[str]) -> str | None:
        """The first candidate that is a file, also below ``images/``; None if none is."""
        for candidate in candidates:
            path = PurePosixPath(candidate)
            for prefix in ("", "images/"):
                folder = f"{prefix}{path.parent}"
                if folder not in self._names:
                    place = self._root / folder
                    names = os.listdir(place) if place.is_dir() else ()
                    self._names[folder] = frozenset(names)
                if path.name in self._names[folder]:
                    return str(PurePosixPath(folder) / path.name)
        return None


def _note_area(loaded: AnnotationFile, notes: list[str]) -> None:
    if loaded.without_area:
        notes.append(
            f"{loaded.path.name}: annotations with an empty segmentation, or a box or area of "
            f"0: {len(loaded.without_area)} (first: {loaded.without_area[0]})"
        )


def load_stuff(root: Path, splits: list[Split], notes: list[str]) -> list[AnnotationFile]:
    """The stuff annotations of all present images, whichever file they are in.

    Args:
        root: The data root.
        splits: What ``load_splits`` returned.
        notes: Receives a line for each file that is missing or holds empty annotations.

    Raises:
        DataError: A json is malformed.
    """
    wanted = frozenset(
        entry["id"]
        for split in splits
        for entry, path in zip(split.lvis.images, split.paths, strict=True)
        if path is not None
    )
    loaded = []
    for name in SPLITS:
        path = annotation_path(root, f"stuff_{name}2017.json")
        if path is None:
            notes.append(f"stuff_{name}2017.json is missing: its images have no stuff labels")
        else:
            loaded.append(load_annotations(path, keep=wanted))
            _note_area(loaded[-1], notes)
    return loaded
