"""Cached readers of the page on failing classes. Part of the door to artifacts."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from app import crops, data, failure_frames
from app.pixels import data_url
from workbench.runs import Stamp, stamp


class Example(NamedTuple):
    """A class in one picture.

    Attributes:
        url: Picture, truth and prediction of the worst spot, side by side.
        tally: What became of the class's pixels in the whole picture.
    """

    url: str
    tally: crops.Tally


def overview(path: str, split: str) -> failure_frames.Overview | None:
    """All classes with what failing costs; None before the split was evaluated.

    Its tables are shared between sessions: read them, do not change them.
    """
    return _overview(path, split, stamp(path, "vocabulary", "tables", split=split))


@st.cache_resource(show_spinner=False, max_entries=6)
def _overview(path: str, split: str, stamp: Stamp) -> failure_frames.Overview | None:
    table = data.per_class(path, split)
    if table is None or table.empty:
        return None
    return failure_frames.overview(table, data.confusions(path, split))


def example(path: str, split: str, image_id: str, class_id: int) -> Example | None:
    """A crop of one kept picture round a class; None where the picture cannot be read."""
    return _example(path, split, image_id, class_id, stamp(path, "pictures", split=split))


@st.cache_data(show_spinner=False, max_entries=512)
def _example(path: str, split: str, image_id: str, class_id: int, stamp: Stamp) -> Example | None:
    sample = data.sample(path, split, image_id)
    if sample is None:
        return None
    drawn = crops.render(sample.image, sample.truth, sample.prediction, class_id)
    return Example(
        data_url(drawn, quality=90), crops.tally(sample.truth, sample.prediction, class_id)
    )
