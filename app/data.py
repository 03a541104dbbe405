"""Cached readers of runs: the only door through which pages see artifacts.

Every reader asks ``workbench.runs`` and answers None where something is not there yet, is
half written or damaged; a page then says which command makes it. Caches are keyed by the
run's path and by modification times, so a running training shows up without a restart.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

from app.pixels import data_url
from workbench.errors import WorkbenchError
from workbench.runs import RunDirectory, RunInfo, list_runs

T = TypeVar("T")
Stamp = tuple[tuple[str, int, int], ...]

_BROKEN = (WorkbenchError, OSError, ValueError, KeyError)
_THUMBNAIL = 72  # pixels, the longer side


@dataclass(frozen=True)
class Sample:
    """One picture of an evaluated split.

    Attributes:
        image: RGB picture.
        truth: (H, W) int64 train ids or IGNORE_INDEX.
        prediction: (H, W) int64 train ids or IGNORE_INDEX.
    """

    image: Image.Image
    truth: npt.NDArray[np.int64]
    prediction: npt.NDArray[np.int64]


def runs(root: Path) -> list[RunInfo]:
    """Lists the runs in a folder, the one called "demo" first, then the newest."""
    return sorted(list_runs(root), key=lambda run: (run.name != "demo", -run.modified, run.name))


def is_run(path: str) -> bool:
    """Says whether a run is (still) there."""
    return RunDirectory(path).is_run()


def files_stamp(path: str) -> Stamp:
    """Modification times and sizes of the files at the top of a run (status, metrics, ...)."""
    try:
        with os.scandir(path) as entries:
            stats = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


def folders_stamp(path: str) -> Stamp:
    """Modification times of all folders below a run.

    Artifacts are renamed into place, which touches their folder: no need to look at
    thousands of pictures, nor to know any file's name.
    """
    found: list[tuple[str, int, int]] = []
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            found.extend((entry.path, entry.stat().st_mtime_ns, 0) for entry in inner)
        except OSError:
            continue
        waiting.extend(entry.path for entry in inner)
    return tuple(sorted(found))


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except _BROKEN:
        return None


def status(path: str) -> dict[str, Any]:
    """What the run is doing; never fails (``state`` may be "unknown")."""
    return RunDirectory(path).status()


def config(path: str) -> dict[str, Any]:
    """The run's settings; empty when there are none to read."""
    return _or_none(RunDirectory(path).config) or {}


def environment(path: str) -> dict[str, Any]:
    """What the run was made with; empty when not known."""
    return _or_none(RunDirectory(path).environment) or {}


def metrics(path: str) -> pd.DataFrame:
    """Records written during training; empty when there are none."""
    return _metrics(path, files_stamp(path))


@st.cache_data(show_spinner=False, max_entries=16)
def _metrics(path: str, stamp: Stamp) -> pd.DataFrame:
    return RunDirectory(path).metrics()


def vocabulary(path: str) -> pd.DataFrame | None:
    """The class table, row = class id."""
    return _vocabulary(path, files_stamp(path))


@st.cache_data(show_spinner=False, max_entries=16)
def _vocabulary(path: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(lambda: RunDirectory(path).vocabulary().table)


def splits(path: str) -> list[str]:
    """Evaluated splits, "val" first."""
    found = _or_none(RunDirectory(path).evaluations) or []
    return sorted(found, key=lambda split: (split != "val", split))


def summary(path: str, split: str) -> dict[str, Any] | None:
    """Headline numbers of a split."""
    return _or_none(lambda: RunDirectory(path).read_summary(split))


def per_class(path: str, split: str) -> pd.DataFrame | None:
    """One row per class: the evaluation's columns, then the vocabulary's attributes."""
    return _per_class(path, split, (*folders_stamp(path), *files_stamp(path)))


@st.cache_data(show_spinner=False, max_entries=16)
def _per_class(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    table = _or_none(lambda: RunDirectory(path).read_per_class(split))
    classes = _or_none(lambda: RunDirectory(path).vocabulary().table)
    if table is None or classes is None:
        return table
    extra = [name for name in classes if name not in table or name == "class_id"]
    return table.merge(classes[extra], on="class_id", how="left")


def per_image_class(path: str, split: str) -> pd.DataFrame | None:
    """Counts per image and class."""
    return _per_image_class(path, split, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=8)
def _per_image_class(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(lambda: RunDirectory(path).read_per_image_class(split))


def confusions(path: str, split: str) -> pd.DataFrame | None:
    """Sparse confusion counts: truth, predicted, pixels."""
    return _confusions(path, split, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=8)
def _confusions(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(lambda: RunDirectory(path).read_confusions(split))


def samples(path: str, split: str) -> list[str]:
    """Ids of the pictures kept with truth and prediction."""
    return _samples(path, split, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=8)
def _samples(path: str, split: str, stamp: Stamp) -> list[str]:
    return _or_none(lambda: RunDirectory(path).samples(split)) or []


def sample(path: str, split: str, image_id: str) -> Sample | None:
    """One picture with truth and prediction."""
    return _sample(path, split, image_id, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=64)
def _sample(path: str, split: str, image_id: str, stamp: Stamp) -> Sample | None:
    read = _or_none(lambda: RunDirectory(path).read_sample(split, image_id))
    return None if read is None else Sample(*read)


def thumbnails(path: str, split: str) -> dict[str, str]:
    """Every kept picture as a small data URL, by image id."""
    return _thumbnails(path, split, folders_stamp(path))


@st.cache_data(show_spinner="Preparing the pictures ...", max_entries=8)
def _thumbnails(path: str, split: str, stamp: Stamp) -> dict[str, str]:
    urls = {}
    for image_id in samples(path, split):
        picture = sample(path, split, image_id)
        if picture is not None:
            small = picture.image.copy()
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            urls[image_id] = data_url(small, quality=80)
    return urls


def projection(path: str) -> pd.DataFrame | None:
    """Maps of the class table: one row per step and class."""
    return _projection(path, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=8)
def _projection(path: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(RunDirectory(path).read_projection)


def class_points(path: str) -> npt.NDArray[np.float32] | None:
    """The last class table with rows of unit length, (C, D) float32."""
    return _class_points(path, folders_stamp(path))


@st.cache_data(show_spinner=False, max_entries=8)
def _class_points(path: str, stamp: Stamp) -> npt.NDArray[np.float32] | None:
    table = _or_none(RunDirectory(path).read_embeddings)
    if table is None:
        return None
    points = table.float().numpy()
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.maximum(length, 1e-12), dtype=np.float32)
