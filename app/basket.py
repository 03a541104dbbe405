"""Pixels marked in pictures, kept in the session until they have become a class."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from app import data
from app.vocabulary_frames import MOST_PIXELS, Mark, mask_of, thinned
from workbench.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "vocabulary_basket"
_VERSION = "vocabulary_basket_version"
_versions = itertools.count(1)


class Marked(NamedTuple):
    """What is marked in one picture.

    Attributes:
        marks: Pixels and boxes.
        width: Of the picture.
        height: Of the picture.
    """

    marks: tuple[Mark, ...]
    width: int
    height: int


def content(run_path: str, split: str) -> Mapping[str, Marked]:
    """What is marked, by picture, in the order it was begun."""
    return dict(_baskets().get(f"{run_path}|{split}", {}))


def version() -> int:
    """Changes when marks were taken out here, and not in the browser."""
    return int(st.session_state.get(_VERSION, 0))


def put(run_path: str, split: str, picture: str, marked: Marked) -> None:
    """Sets what is marked in a picture, as the browser has it."""
    basket = _baskets().setdefault(f"{run_path}|{split}", {})
    if marked.marks:
        basket[picture] = marked
    else:
        basket.pop(picture, None)


def remove(run_path: str, split: str, picture: str | None = None) -> None:
    """Takes out the marks of one picture, or all."""
    basket = _baskets().get(f"{run_path}|{split}", {})
    if picture is None:
        basket.clear()
    else:
        basket.pop(picture, None)
    st.session_state[_VERSION] = next(_versions)


def embeddings(run_path: str, split: str, marked: Mapping[str, Marked]) -> Tensor:
    """(n, D) embeddings of all marked pixels, at most ``MOST_PIXELS`` or so.

    Raises:
        DataError: Nothing is marked, or a picture can no longer be read.
    """
    import torch

    from workbench.inference.inspect import embeddings_in

    share = MOST_PIXELS // max(1, len(marked))
    found: Sequence[Tensor] = []
    for picture, one in marked.items():
        features = data.features(run_path, split, picture)
        if features is None or tuple(features.size) != (one.height, one.width):
            raise DataError(f"picture {picture} cannot be read any more; take its marks out")
        mask = thinned(mask_of(one.marks, one.width, one.height), max(1, share))
        found = [*found, embeddings_in(features, mask)]
    if not found:
        raise DataError("no pixel is marked; click some in the picture, or drag a box")
    return torch.cat(list(found))


def _baskets() -> dict[str, dict[str, Marked]]:
    baskets: dict[str, dict[str, Marked]] = st.session_state.setdefault(_KEY, {})
    return baskets
