"""Cached readers of runs: the only door through which pages see artifacts.

Every reader asks ``workbench.runs`` and answers None where something is not there yet, is
half written or damaged; a page then says which command makes it. Caches are keyed by the
run's path and by the modification times of exactly the files read (``workbench.runs.stamp``: a
stat each, never a listing), so a running training shows up without a restart and a click costs
no scan of the pictures.

Large tables lie once in memory for all sessions (``st.cache_resource``, bounded). Readers hand
out shallow copies: pandas copies a column only when someone writes to it, so nobody can change
another's table. Arrays are marked as not writeable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

from app.pixels import data_url
from workbench.errors import WorkbenchError
from workbench.evaluation.map_quality import unit_rows
from workbench.runs import RunDirectory, RunInfo, Stamp, describe_run, find_runs, leads_out
from workbench.runs import listing_stamp as _listing_stamp
from workbench.runs import stamp as stamp_of

if TYPE_CHECKING:  # torch takes seconds to load: only what asks for a model pays for it
    from workbench.distances import ClassEmbeddings
    from workbench.inference.inspect import PixelFeatures
    from workbench.models import SegmentationModel

T = TypeVar("T")

BROKEN = (WorkbenchError, OSError, ValueError, KeyError, RuntimeError)
"""What reading a run's files, or its network, may raise."""
_THUMBNAIL = 72  # pixels, the longer side
_MOST_THUMBNAILS = 4096  # of one split, about 2 kB each
_DECODERS = ThreadPoolExecutor(2, "pictures")  # most of decoding is done outside of Python's lock


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


class LoadedModel(NamedTuple):
    """A run's network, ready to predict, on the CPU.

    Attributes:
        model: In evaluation mode; several sessions share it and must not change it.
        classes: Its class table without gradients, None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
        step: The training step it was saved at.
    """

    model: SegmentationModel
    classes: ClassEmbeddings | None
    distance: str
    step: int


class Runs(NamedTuple):
    """What a folder of runs holds.

    Attributes:
        shown: The run called "demo" first, then the newest.
        refused: Name of a run that is not shown -> what in it leads out of the folder or is no
            file. Nothing outside of the folder is ever shown.
    """

    shown: list[RunInfo]
    refused: dict[str, str]


def runs(root: Path) -> Runs:
    """Lists the runs in a folder."""
    shown, refused = [], {}
    for folder in find_runs(root):
        odd = leads_out(folder, root)
        if odd is not None:
            refused[folder.name] = odd
            continue
        path = str(folder)
        info = _info(path, _listing_stamp(path))
        shown.append(info._replace(status=str(status(path)["state"])))
    shown.sort(key=lambda run: (run.name != "demo", -run.modified, run.name))
    return Runs(shown, dict(sorted(refused.items())))


@st.cache_data(show_spinner=False, max_entries=256)
def _info(path: str, stamp: Stamp) -> RunInfo:
    return describe_run(path)


def is_run(path: str) -> bool:
    """Says whether a run is (still) there."""
    return RunDirectory(path).is_run()


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except BROKEN:
        return None


def _shared(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """A view of a cached table that nobody can change the cached one through."""
    return None if table is None else table.copy(deep=False)


def status(path: str) -> dict[str, Any]:
    """What the run is doing; never fails (``state`` may be "unknown")."""
    return RunDirectory(path).status()


def config(path: str) -> dict[str, Any]:
    """The run's settings; empty when there are none to read."""
    return _config(path, stamp_of(path, "config"))


@st.cache_data(show_spinner=False, max_entries=64)
def _config(path: str, stamp: Stamp) -> dict[str, Any]:
    return _or_none(RunDirectory(path).config) or {}


def metrics(path: str) -> pd.DataFrame:
    """Records written during training; empty when there are none."""
    return _metrics(path, stamp_of(path, "metrics")).copy(deep=False)


@st.cache_resource(show_spinner=False, max_entries=16)
def _metrics(path: str, stamp: Stamp) -> pd.DataFrame:
    return RunDirectory(path).metrics()


def vocabulary(path: str) -> pd.DataFrame | None:
    """The class table, row = class id."""
    return _shared(_vocabulary(path, stamp_of(path, "vocabulary")))


@st.cache_resource(show_spinner=False, max_entries=16)
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
    return _shared(_per_class(path, split, stamp_of(path, "vocabulary", "tables", split=split)))


@st.cache_resource(show_spinner=False, max_entries=16)
def _per_class(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    table = _or_none(lambda: RunDirectory(path).read_per_class(split))
    classes = _or_none(lambda: RunDirectory(path).vocabulary().table)
    if table is not None:  # colours go into styles: only a vocabulary's are known to be some
        table = table.drop(columns="color", errors="ignore")
    if table is None or classes is None:
        return table
    extra = [name for name in classes if name not in table or name == "class_id"]
    return table.merge(classes[extra], on="class_id", how="left")


def per_image_class(path: str, split: str) -> pd.DataFrame | None:
    """Counts per image and class."""
    return _shared(_per_image_class(path, split, stamp_of(path, "tables", split=split)))


@st.cache_resource(show_spinner=False, max_entries=6)
def _per_image_class(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(lambda: RunDirectory(path).read_per_image_class(split))


def confusions(path: str, split: str) -> pd.DataFrame | None:
    """Sparse confusion counts: truth, predicted, pixels."""
    return _shared(_confusions(path, split, stamp_of(path, "tables", split=split)))


@st.cache_resource(show_spinner=False, max_entries=6)
def _confusions(path: str, split: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(lambda: RunDirectory(path).read_confusions(split))


def samples(path: str, split: str) -> tuple[str, ...]:
    """Ids of the pictures kept with truth and prediction; there may be tens of thousands."""
    return _samples(path, split, stamp_of(path, "pictures", split=split))


@st.cache_resource(show_spinner=False, max_entries=6)  # a copy for each call would cost a click
def _samples(path: str, split: str, stamp: Stamp) -> tuple[str, ...]:
    return tuple(_or_none(lambda: RunDirectory(path).samples(split)) or ())


def sample(path: str, split: str, image_id: str) -> Sample | None:
    """One picture with truth and prediction."""
    return _sample(path, split, image_id, stamp_of(path, "pictures", split=split))


@st.cache_resource(show_spinner=False, max_entries=6)  # 40 MB each at 2048 x 1024
def _sample(path: str, split: str, image_id: str, stamp: Stamp) -> Sample | None:
    read = _or_none(lambda: RunDirectory(path).read_sample(split, image_id))
    if read is None:
        return None
    for mask in read[1:]:
        mask.setflags(write=False)
    return Sample(*read)


def thumbnails(path: str, split: str, ids: Iterable[str] | None = None) -> dict[str, str]:
    """Kept pictures as small data URLs, by image id; those that cannot be read are left out.

    Args:
        path: The run's folder.
        split: The evaluated split.
        ids: The pictures in view, some dozens; None takes all, which is slow for many.
    """
    known = _small_pictures(path, split, stamp_of(path, "pictures", split=split))
    wanted = list(samples(path, split) if ids is None else ids)
    have = known.copy()
    missing = [image_id for image_id in wanted if image_id not in have]
    made = zip(missing, _DECODERS.map(partial(_thumbnail, path, split), missing), strict=True)
    for image_id, url in made:
        while len(known) >= _MOST_THUMBNAILS:
            known.pop(next(iter([*known]), ""), None)  # copied: other sessions add meanwhile
        have[image_id] = known[image_id] = url
    return {image_id: url for image_id in wanted if (url := have[image_id]) is not None}


def _thumbnail(path: str, split: str, image_id: str) -> str | None:
    read = partial(RunDirectory(path).read_picture, split, image_id, within=_THUMBNAIL)
    small = _or_none(read)
    return None if small is None else data_url(small, quality=80)


@st.cache_resource(show_spinner=False, max_entries=6)
def _small_pictures(path: str, split: str, stamp: Stamp) -> dict[str, str | None]:
    """What ``thumbnails`` has made so far, filled by it: one look-up for a page of pictures."""
    return {}


def projection(path: str) -> pd.DataFrame | None:
    """Maps of the class table: one row per step and class."""
    return _shared(_projection(path, stamp_of(path, "embeddings")))


@st.cache_resource(show_spinner=False, max_entries=8)
def _projection(path: str, stamp: Stamp) -> pd.DataFrame | None:
    return _or_none(RunDirectory(path).read_projection)


def class_points(path: str) -> npt.NDArray[np.float32] | None:
    """The last class table with rows of unit length, (C, D) float32."""
    return _class_points(path, stamp_of(path, "embeddings"))


@st.cache_resource(show_spinner=False, max_entries=8)
def _class_points(path: str, stamp: Stamp) -> npt.NDArray[np.float32] | None:
    points = _or_none(RunDirectory(path).read_points)
    if points is None:
        return None
    unit = unit_rows(points).astype(np.float32)
    unit.setflags(write=False)
    return unit


def model(path: str) -> LoadedModel | None:
    """The network of the newest checkpoint; None where there is none, or none that fits."""
    return _model(path, stamp_of(path, "config", "vocabulary", "checkpoints"))


@st.cache_resource(show_spinner=False, max_entries=2)
def _model(path: str, stamp: Stamp) -> LoadedModel | None:
    from workbench.distances import ClassEmbeddings
    from workbench.inference import load_model

    loaded = _or_none(lambda: load_model(RunDirectory(path)))
    if loaded is None:
        return None
    network, step = loaded
    classes = None
    if network.table is not None:
        weight, bias, temperature = network.table()
        classes = ClassEmbeddings(
            weight.detach(), None if bias is None else bias.detach(), temperature.detach()
        )
    return LoadedModel(network.requires_grad_(False), classes, network.distance, step)


def features(path: str, split: str, image_id: str) -> PixelFeatures | None:
    """What the run's newest network says about a kept picture; None without either."""
    stamp = stamp_of(path, "config", "vocabulary", "checkpoints", "pictures", split=split)
    return _features(path, split, image_id, stamp)


@st.cache_resource(show_spinner=False, max_entries=6)
def _features(path: str, split: str, image_id: str, stamp: Stamp) -> PixelFeatures | None:
    from workbench.inference.inspect import extract_features

    loaded = model(path)
    if loaded is None:
        return None
    picture = _or_none(lambda: RunDirectory(path).read_picture(split, image_id))
    if picture is None:
        return None
    pixels = np.array(picture)
    return _or_none(lambda: extract_features(loaded.model, pixels))
