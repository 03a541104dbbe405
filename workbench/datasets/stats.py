"""Images and pixels of each class and group, as a table and a picture."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.colors import GROUPS
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.counts import ClassCounts, count_classes
from workbench.datasets.images import read_image
from workbench.errors import DataError
from workbench.progress import progress
from workbench.runs.atomic import write_bytes, write_parquet
from workbench.vocabulary import Vocabulary


def write_stats(
    key: str,
    root: Path | str,
    *,
    split: str = "train",
    variant: str = "",
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Counts a split's classes and writes ``stats_<split>.parquet`` and ``stats_<split>.png``.

    The counts come from what ``prepare`` kept, else from reading every mask. With a variant
    the files are named ``stats_<split>_<variant>``.

    Args:
        key: Registry key, for instance "ade20k".
        root: The dataset's own folder or its parent.
        split: One of the dataset's splits.
        variant: One of the dataset's variants.
        out: Folder to write into; default is ROOT/stats.

    Returns:
        Numbers of images, classes, classes present and labelled pixels; ``groups``, the rows
        of ``group_table``; and the paths of both files.

    Raises:
        ConfigError: Unknown key, split or variant.
        DataError: The dataset cannot be read or ``out`` cannot be written.
    """
    from workbench.datasets.stats_picture import draw_stats  # matplotlib takes a second to load

    folder = Path(out).expanduser() if out is not None else Path(root).expanduser() / "stats"
    dataset = open_dataset(key, root, split, variant=variant)
    _make_writable(folder)
    counts = dataset.known_counts()
    table = class_table(dataset.vocabulary, count_classes(dataset) if counts is None else counts)
    name = "_".join(["stats", split, variant] if variant else ["stats", split])
    title = f"{key} ({variant}), {split}" if variant else f"{key}, {split}"
    write_parquet(folder / f"{name}.parquet", table)
    write_bytes(folder / f"{name}.png", draw_stats(table, title, len(dataset)))
    return {
        "dataset": key,
        "split": split,
        "variant": variant,
        "images": len(dataset),
        "classes": len(table),
        "present": int((table["images"] > 0).sum()),
        "labelled_pixels": int(table["pixels"].sum()),
        "groups": group_table(table).to_dict("records"),
        "table": str(folder / f"{name}.parquet"),
        "picture": str(folder / f"{name}.png"),
    }


class ColorStatistics(NamedTuple):
    """Red, green and blue over all pixels of a split, in 0..1.

    Attributes:
        mean: Mean of each.
        std: Standard deviation of each.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def color_statistics(dataset: SegmentationDataset) -> ColorStatistics:
    """Mean and standard deviation of a split's pixels, what ``model.mean`` and ``std`` take.

    Every pixel counts alike, so a large image counts for more than a small one.

    Raises:
        DataError: An image is unreadable.
    """
    total, squares, pixels = np.zeros(3), np.zeros(3), 0
    for index in progress(range(len(dataset)), description="colours", unit="img"):
        values = np.asarray(read_image(dataset.image_path(index))).reshape(-1, 3)
        counts = np.stack([np.bincount(channel, minlength=256) for channel in values.T])
        levels = np.arange(256) / 255
        total += counts @ levels
        squares += counts @ levels**2
        pixels += len(values)
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return ColorStatistics(tuple(mean.tolist()), tuple(std.tolist()))


def class_table(vocabulary: Vocabulary, counts: ClassCounts) -> pd.DataFrame:
    """One row per class.

    Returns:
        ``class_id``, ``name``, ``group``, ``supercategory``, ``images`` and ``pixels`` (of the
        split) and ``pixel_share``, of the labelled pixels, 0..1.
    """
    table = vocabulary.table[["class_id", "name", "group", "supercategory"]].copy()
    table["images"] = counts.images
    table["pixels"] = counts.pixels
    table["pixel_share"] = _share(counts.pixels)
    return table


def group_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per group of a class table, rare before frequent.

    Returns:
        ``group``, ``classes``, ``present`` (classes with a pixel in the split), ``class_images``
        (summed over the classes: an image with three of them counts three times), ``pixels``
        and ``pixel_share``.
    """
    groups = (
        table.assign(present=table["images"] > 0)
        .groupby("group", sort=False)
        .agg(
            classes=("class_id", "size"),
            present=("present", "sum"),
            class_images=("images", "sum"),
            pixels=("pixels", "sum"),
        )
        .reset_index()
    )
    groups["pixel_share"] = _share(groups["pixels"].to_numpy())
    order = {name: place for place, name in enumerate(GROUPS)}
    return groups.sort_values(
        "group",
        key=lambda names: names.map(lambda name: order.get(name, len(order))),
        kind="stable",
    ).reset_index(drop=True)


def stats_text(values: dict[str, Any]) -> str:
    """What ``write_stats`` returned, for people."""
    variant = f" ({values['variant']})" if values["variant"] else ""
    width = max(len("group"), *(len(group["group"]) for group in values["groups"]))
    lines = [
        f"{values['dataset']}{variant}, {values['split']}: {values['images']:,} images, "
        f"{values['present']:,} of {values['classes']:,} classes present, "
        f"{values['labelled_pixels']:,} labelled pixels",
        "",
        f"  {'group':<{width}} {'classes':>8} {'present':>8} {'pixels':>17} {'share':>8}",
    ]
    for group in values["groups"]:
        lines.append(
            f"  {group['group']:<{width}} {group['classes']:>8,} {group['present']:>8,} "
            f"{group['pixels']:>17,} {group['pixel_share']:>8.2%}"
        )
    return "\n".join([*lines, "", f"  {values['table']}", f"  {values['picture']}"])


def _share(pixels: np.ndarray) -> np.ndarray:
    return pixels / max(int(pixels.sum()), 1)


def _make_writable(folder: Path) -> None:
    """Makes a folder and sees that it takes files, before an hour of counting."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror}); choose another place with --out"
        ) from error
