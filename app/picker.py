"""The pixel picker: mark pixels of a picture, see what other classes make of it.

Drawing, pointing and marking happen in the browser; marks come back as a whole, so that a
quick hand loses none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from PIL import Image

from app.assets import asset
from app.pixels import data_url, encode_ids
from app.vocabulary_frames import MOST_MARKS, Ids, Mark, present

KEY = "picker"


_component = st.components.v2.component(
    "workbench_picker",
    html='<div class="picker"></div>',
    css=asset("picker.css"),
    js=asset("canvas.js", "picker.js"),
)


class Labels(NamedTuple):
    """A label map and the classes its ids stand for.

    Attributes:
        ids: (H, W).
        table: Vocabulary, row = class id.
    """

    ids: Ids
    table: pd.DataFrame


class Strip(NamedTuple):
    """The pictures to choose from, a page of them.

    Attributes:
        pictures: Ids in view.
        urls: Small data URLs by id.
        marks: Number of marks by id.
        start: Index of the first.
        total: Of all pages together.
        size: Of a page.
    """

    pictures: Sequence[str]
    urls: Mapping[str, str]
    marks: Mapping[str, int]
    start: int
    total: int
    size: int


def pictures(
    image: Image.Image, after: Labels, before: Labels | None, changed: Ids | None
) -> dict[str, Any]:
    """What the browser draws: the part of the payload that is slow to make and cached.

    Args:
        image: The picture.
        after: What the classes of now make of it; where nothing was edited, what was kept.
        before: What the run's own classes make of it; None where nothing was edited.
        changed: (H, W) new ids where the two differ, negative elsewhere.
    """
    share = 0.0 if changed is None else float((changed >= 0).mean())
    edited = before is not None and changed is not None
    return {
        "width": image.width,
        "height": image.height,
        "pictures": {
            "image": data_url(image, quality=92),
            "before": None if before is None else data_url(encode_ids(before.ids)),
            "after": data_url(encode_ids(after.ids)),
            "changed": None if changed is None else data_url(encode_ids(changed)),
        },
        "classes": {
            "before": [] if before is None else present(before.ids, before.table),
            "after": present(after.ids, after.table),
        },
        "titles": {
            "image": "Picture",
            "before": "Before",
            "after": "After" if edited else "Prediction",
            "changed": "Changed",
        },
        "captions": {
            "before": "the run's own classes",
            "after": "edited classes" if edited else "as evaluated",
            "changed": f"{share:.1%} of the pixels",
        },
    }


def payload(
    key: str,
    picture: str,
    drawn: Mapping[str, Any],
    strip: Strip,
    *,
    marks: Sequence[Mark],
    marks_version: str,
    marking: bool,
) -> dict[str, Any]:
    """All that the browser gets.

    Args:
        key: Changes when anything in ``drawn`` does.
        picture: Id of the picture in view.
        drawn: From ``pictures``.
        strip: What to choose from.
        marks: Of this picture.
        marks_version: Changes when marks were changed here and not in the browser.
        marking: Whether pixels can be marked.
    """
    return {
        **drawn,
        "key": key,
        "picture": picture,
        "marks": [
            [mark.x0, mark.y0] if (mark.x0, mark.y0) == (mark.x1, mark.y1) else list(mark)
            for mark in marks
        ],
        "marksVersion": marks_version,
        "marking": marking,
        "mostMarks": MOST_MARKS,
        "strip": {
            "pictures": [
                {"id": one, "url": strip.urls.get(one), "marks": strip.marks.get(one, 0)}
                for one in strip.pictures
            ],
            "start": strip.start,
            "total": strip.total,
            "size": strip.size,
        },
    }


def show(
    sent: Mapping[str, Any],
    *,
    on_marks: Callable[[], None],
    on_picture: Callable[[], None],
    on_turn: Callable[[], None],
) -> None:
    """Draws the picker; the callbacks read what happened with ``sent_back``."""
    _component(
        key=KEY,
        data=dict(sent),
        on_marks_change=on_marks,
        on_picture_change=on_picture,
        on_turn_change=on_turn,
    )


def sent_back(name: str) -> object:
    """What the browser sent: "marks", "picture" or "turn"."""
    stored = st.session_state.get(KEY)
    return stored.get(name) if isinstance(stored, Mapping) else None
