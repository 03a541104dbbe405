"""Which classes are held out of a training, and the pictures without them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.constants import IGNORE_INDEX, IGNORE_ON_DISK
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.images import mask_suffix, write_mask
from workbench.runs import atomic_directory, write_text

_COLUMNS = ["name", "group", "supercategory", "color"]


def pixels_per_picture(dataset: SegmentationDataset) -> npt.NDArray[np.int64]:
    """(pictures, C): how many pixels of each class every picture has."""
    classes = len(dataset.vocabulary)
    counts = np.zeros((len(dataset), classes), dtype=np.int64)
    for index in range(len(dataset)):
        mask = dataset.read_mask(index)
        counts[index] = np.bincount(mask[mask != IGNORE_INDEX], minlength=classes)
    return counts


def choose_held(pictures: npt.NDArray[np.int64], number: int, least: int) -> list[int]:
    """Classes to hold out: evenly spaced from the scarcest to the most frequent.

    Args:
        pictures: (C,) pictures that show the class well enough for an example.
        number: How many.
        least: Pictures a class must have.

    Returns:
        Their ids, ascending; fewer where not so many have enough.
    """
    fit = np.flatnonzero(pictures >= least)
    ordered = fit[np.argsort(pictures[fit], kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(number, len(ordered))).round())
    return sorted(ordered[places.astype(np.int64)].tolist())


def without_gap(classes: int, held: Sequence[int]) -> npt.NDArray[np.int64]:
    """(C,) id -> id where the held-out classes come last, all others in their order."""
    rest = np.setdiff1d(np.arange(classes), held)
    lookup = np.empty(classes, dtype=np.int64)
    lookup[rest] = np.arange(len(rest))
    lookup[list(held)] = np.arange(len(rest), classes)
    return lookup


def write_without(dataset: SegmentationDataset, held: Sequence[int], target: Path) -> None:
    """Writes a split as a dataset of its own that knows nothing of some classes.

    Their pixels are ignored, their names are not in the table, and the others' ids have no gap.

    Args:
        dataset: The split.
        held: Ids of the classes to leave out.
        target: Folder to write, in the layout of the dataset "folder"; left alone if it is
            there.
    """
    if target.exists():
        return
    classes = len(dataset.vocabulary)
    left = classes - len(held)
    lookup = without_gap(classes, held)
    lookup = np.where(lookup < left, lookup, IGNORE_ON_DISK)
    with atomic_directory(target, sync=False) as folder:
        for part in ("images", "masks"):
            (folder / part / "train").mkdir(parents=True)
        for index, name in enumerate(dataset.ids):
            picture = dataset.image_path(index)
            stem = f"{name.replace('/', '-')}"
            shutil.copy(picture, folder / "images" / "train" / f"{stem}{picture.suffix}")
            mask = dataset.read_mask(index)
            known = mask != IGNORE_INDEX
            ids = np.where(known, lookup[np.where(known, mask, 0)], IGNORE_ON_DISK)
            write_mask(folder / "masks" / "train" / f"{stem}{mask_suffix(left)}", ids)
        kept = dataset.vocabulary.table.drop(index=list(held))[_COLUMNS]
        write_text(folder / "classes.csv", kept.to_csv(index=False))
