"""Pixels of example pictures, from which a class is added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.datasets.images import read_mask
from workbench.datasets.pictures import read_picture
from workbench.errors import DataError
from workbench.inference.inspect import embeddings_in, extract_features
from workbench.models import SegmentationModel
from workbench.progress import progress

_LOSSY: Final = (".jpg", ".jpeg", ".jfif", ".webp", ".avif")
MOST_PIXELS: Final = 2000
"""Pixels taken from one picture: their mean hardly changes with more."""

MOST_SIDE: Final = 2048
"""Of a larger picture the network sees a part of this side, around the marks."""


class Shown(NamedTuple):
    """What pictures with masks show of a class.

    Attributes:
        inside: (n, D) embeddings of marked pixels, a sample of each picture.
        outside: (m, D) those of pixels that are not marked.
        marked: Share of all pixels that is marked.
    """

    inside: Tensor
    outside: Tensor
    marked: float


def read_examples(
    model: SegmentationModel, examples: Sequence[tuple[Path, Path]], *, value: int | None = None
) -> Shown:
    """Runs pictures with masks through the network.

    Args:
        model: In evaluation mode, with a class table.
        examples: Picture and mask files, at least one.
        value: Which value of the masks marks the class; None takes all but 0.

    Raises:
        DataError: A file cannot be read, a mask is of another size than its picture, or marks
            nothing.
    """
    for picture, mask in examples:  # all mistakes first, before the network's slow work
        read_example(picture, mask, value)
    found = []
    for picture, mask in progress([*examples], description="examples", unit="img"):
        image, where = read_example(picture, mask, value)
        part = _part(where, MOST_SIDE)
        found.append(show(model, image[part], where[part]))
    return together(found)


def show(
    model: SegmentationModel,
    image: npt.NDArray[np.uint8],
    where: npt.NDArray[np.bool_],
    *,
    seed: int = 0,
) -> Shown:
    """What one picture shows of a class.

    Args:
        model: In evaluation mode, with a class table.
        image: (H, W, 3) RGB.
        where: (H, W) whether a pixel is of the class.
        seed: Of the sample.
    """
    features = extract_features(model, image)
    inside, outside = (
        embeddings_in(features, sample_pixels(part, seed=seed)) for part in (where, ~where)
    )
    return Shown(inside, outside, float(where.mean()))


def together(shown: Sequence[Shown]) -> Shown:
    """What several pictures show; each picture's share of marked pixels counts the same."""
    return Shown(
        torch.cat([one.inside for one in shown]),
        torch.cat([one.outside for one in shown]),
        float(np.mean([one.marked for one in shown])),
    )


def read_example(
    picture: Path, mask: Path, value: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A picture, upright, and which of its pixels are marked.

    Returns:
        (H, W, 3) RGB and (H, W).

    Raises:
        DataError: As in ``read_examples``.
    """
    image = np.asarray(read_picture(picture))
    if mask.suffix.lower() in _LOSSY:
        raise DataError(
            f"{mask}: {mask.suffix} changes pixels as it is saved, and would mark the class where "
            "it is not; save the mask as PNG"
        )
    ids = read_mask(mask)
    if ids.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise DataError(
            f"{mask}: the mask is {ids.shape[1]} x {ids.shape[0]}, but {picture} is "
            f"{width} x {height} pixels; draw it on the picture itself"
        )
    where = ids != 0 if value is None else ids == value
    if not where.any():
        marks = "all of it is 0" if value is None else _values(ids, value)
        raise DataError(f"{mask}: no pixel is marked ({marks}); mark the class in it")
    return image, where


def _values(ids: npt.NDArray[np.integer], value: int) -> str:
    there = np.unique(ids)
    more = ", ..." if len(there) > 8 else ""
    return f"none is {value}; it holds {', '.join(map(str, there[:8].tolist()))}{more}"


def sample_pixels(
    where: npt.NDArray[np.bool_], *, most: int = MOST_PIXELS, seed: int = 0
) -> npt.NDArray[np.bool_]:
    """At most so many of the pixels of a mask, the same ones at every call.

    Args:
        where: (H, W) mask.
        most: Pixels to keep.
        seed: Of the choice.
    """
    places = np.flatnonzero(where)
    if len(places) <= most:
        return where
    chosen = np.random.default_rng(seed).choice(places, size=most, replace=False)
    few = np.zeros(where.size, dtype=np.bool_)
    few[chosen] = True
    return few.reshape(where.shape)


def _part(where: npt.NDArray[np.bool_], most: int) -> tuple[slice, slice]:
    """Rows and columns of at most ``most`` each, around the mark nearest to the marks' middle."""
    marks = np.argwhere(where)
    middle = np.median(marks, axis=0)
    center = marks[np.abs(marks - middle).sum(axis=1).argmin()]
    first = [
        int(np.clip(place - most // 2, 0, max(0, side - most)))
        for place, side in zip(center, where.shape, strict=True)
    ]
    return slice(first[0], first[0] + most), slice(first[1], first[1] + most)
