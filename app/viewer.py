"""The picture viewer: four linked panels drawn in the browser.

Opacity, pointing and the legend need no round trip; only a click comes back to Python.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from app.data import Sample
from app.pixels import data_url, encode_ids

_KEY = "viewer"


def _asset(name: str) -> str:
    """A file that lies beside this module."""
    content = pkgutil.get_data("app", name)
    if content is None:
        raise FileNotFoundError(name)
    return content.decode("utf-8")


_component = st.components.v2.component(
    "workbench_viewer",
    html='<div class="viewer"></div>',
    css=_asset("viewer.css"),
    js=_asset("viewer.js"),
)


class Pixel(NamedTuple):
    """A pixel of a label map: column x and row y, from the top left."""

    x: int
    y: int


def payload(key: str, sample: Sample, view: pd.DataFrame, pin: Pixel | None) -> dict[str, Any]:
    """What the browser needs to draw one picture.

    Args:
        key: Changes when the picture does.
        sample: The picture, its truth and prediction.
        view: Its classes, from ``frames.classes_in_view``.
        pin: The pixel that is marked.
    """
    known = sample.truth >= 0
    wrong = known & (sample.truth != sample.prediction)
    share = wrong.sum() / max(1, known.sum())
    return {
        "key": key,
        "image": data_url(sample.image, quality=92),
        "truth": data_url(encode_ids(sample.truth)),
        "prediction": data_url(encode_ids(sample.prediction)),
        "width": sample.image.width,
        "height": sample.image.height,
        "errors": f"{share:.1%} of pixels",
        "pin": None if pin is None else [pin.x, pin.y],
        "classes": [
            {
                "id": int(row["class_id"]),
                "name": str(row["name"]),
                "color": str(row["color"]),
                "iou": float(row["iou"]),
                "truth": int(row["truth_pixels"]),
                "predicted": int(row["predicted_pixels"]),
            }
            for row in view.to_dict("records")
        ],
    }


def clicked_pixel(value: object, key: str, width: int, height: int) -> Pixel | None:
    """Reads what the browser sent; None if it is about another picture or out of bounds.

    Args:
        value: ``{"key": ..., "x": ..., "y": ...}`` or anything else.
        key: Key of the picture in view.
        width: Of the picture.
        height: Of the picture.
    """
    if not isinstance(value, Mapping) or value.get("key") != key:
        return None
    x, y = value.get("x"), value.get("y")
    if not (isinstance(x, (int, float)) and isinstance(y, (int, float))):
        return None
    return Pixel(int(x), int(y)) if 0 <= x < width and 0 <= y < height else None


def show(key: str, sample: Sample, view: pd.DataFrame) -> Pixel | None:
    """Draws the panels; returns the pixel clicked last in this picture."""
    stored = st.session_state.get(_KEY) or {}
    pin = clicked_pixel(stored.get("pixel"), key, sample.image.width, sample.image.height)
    result = _component(
        key=_KEY,
        data=payload(key, sample, view, pin),
        default={"pixel": None},
        on_pixel_change=lambda: None,
    )
    return clicked_pixel(result.get("pixel"), key, sample.image.width, sample.image.height)
