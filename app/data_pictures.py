"""Pictures by the classes in them, and what the network says about pixels. Part of the door.

Large arrays are kept for few pictures only, and marked as not writeable: sessions share them.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

from app import data, garbage
from app.pictures import Ids, PictureIndex, index_pictures
from workbench.runs import RunDirectory, Stamp, stamp

if TYPE_CHECKING:  # torch takes seconds to load: only who looks into pixels pays for it
    from workbench.distances import ClassEmbeddings
    from workbench.inference.inspect import PixelFeatures


class Lens(NamedTuple):
    """What gives the pixels of a picture their classes.

    Attributes:
        features: Of the picture.
        classes: The run's, or edited ones; None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
        key: Differs wherever any of these does.
    """

    features: PixelFeatures
    classes: ClassEmbeddings | None
    distance: str
    key: str

    @property
    def dense(self) -> bool:
        """Whether the classes are outputs, not points."""
        return self.classes is None

    @property
    def temperature(self) -> float:
        """What the model multiplies its logits by."""
        return 1.0 if self.classes is None else float(self.classes.temperature)

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.features.pixels if self.classes is None else self.classes.weight)


def picture_index(path: str, split: str) -> PictureIndex:
    """The kept pictures of a split with the classes in them."""
    return _picture_index(path, split, stamp(path, "pictures", "tables", split=split))


@st.cache_resource(show_spinner=False, max_entries=6)
def _picture_index(path: str, split: str, stamp: Stamp) -> PictureIndex:
    return index_pictures(data.samples(path, split), data.per_image_class(path, split))


def has_model(path: str) -> bool:
    """Whether there is a checkpoint; reads none and loads no torch."""
    return _has_model(path, stamp(path, "checkpoints"))


@st.cache_data(show_spinner=False, max_entries=64)
def _has_model(path: str, stamp: Stamp) -> bool:
    try:
        return RunDirectory(path).has_checkpoint()
    except data.BROKEN:
        return False


_warming: dict[tuple[str, Stamp], threading.Thread] = {}


def warm_up(path: str) -> None:
    """Loads torch and the network beside the page, so that the first click need not wait."""
    key = (path, stamp(path, "config", "vocabulary", "checkpoints"))
    if key not in _warming:
        _warming[key] = threading.Thread(target=_load, args=(path,), daemon=True)
        _warming[key].start()


def _load(path: str) -> None:
    data.model(path)
    garbage.set_aside()  # torch is loaded now


def is_warm(path: str) -> bool:
    """Whether ``warm_up`` is through with the network that the run has now."""
    thread = _warming.get((path, stamp(path, "config", "vocabulary", "checkpoints")))
    return thread is not None and not thread.is_alive()


def picture_stamp(path: str, split: str) -> Stamp:
    """Changes when pictures or the network do."""
    return stamp(path, "config", "vocabulary", "checkpoints", "pictures", split=split)


def lens(
    path: str,
    split: str,
    image_id: str,
    edited: tuple[ClassEmbeddings, pd.DataFrame] | None = None,
    version: int = 0,
) -> Lens | None:
    """What gives the pixels of a kept picture their classes; None without model or picture.

    Args:
        path: The run's folder.
        split: The evaluated split.
        image_id: The picture.
        edited: Classes that take the place of the model's.
        version: Of those.
    """
    loaded = data.model(path)
    features = data.features(path, split, image_id)
    if loaded is None or features is None:
        return None
    classes = loaded.classes if edited is None else edited[0]
    key = digest(path, split, image_id, picture_stamp(path, split), version if edited else None)
    return Lens(features, classes, loaded.distance, key)


def own_lens(path: str, picture: Image.Image) -> Lens | None:
    """The same for a picture that belongs to no run; None without a model that takes it."""
    loaded = data.model(path)
    if loaded is None:
        return None
    pixels = np.asarray(picture)
    content = hashlib.sha256(pixels.tobytes()).hexdigest()
    key = digest(path, picture.size, content, stamp(path, "config", "vocabulary", "checkpoints"))
    features = _own_features(key, pixels, loaded)
    return None if features is None else Lens(features, loaded.classes, loaded.distance, key)


@st.cache_resource(show_spinner=False, max_entries=3)
def _own_features(
    key: str, _pixels: npt.NDArray[np.uint8], _loaded: data.LoadedModel
) -> PixelFeatures | None:
    from workbench.inference.inspect import extract_features

    try:
        return extract_features(_loaded.model, _pixels)
    except data.BROKEN:
        return None


def labels(seen: Lens) -> Ids:
    """The nearest class of every pixel (H, W)."""
    return _maps(seen.key, seen)[0]


def unknown(seen: Lens) -> npt.NDArray[np.float32]:
    """How far every pixel (H, W) is from its class; for a dense model how sure it is of it."""
    return _maps(seen.key, seen)[1]


@st.cache_resource(show_spinner=False, max_entries=8)
def _maps(key: str, _seen: Lens) -> tuple[Ids, npt.NDArray[np.float32]]:
    from workbench.inference import inspect

    found: Any = inspect.pixel_maps(_seen.features, _seen.classes, _seen.distance)
    values = found.distances
    if _seen.dense:
        values = inspect.confidence_map(_seen.features)
    for array in (found.labels, values):
        array.setflags(write=False)
    return found.labels, values


def digest(*parts: object) -> str:
    """A short text for a key: it also goes to the browser, which no path need see."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
