"""The picture viewer: linked panels, or one large picture, drawn in the browser.

Layers, opacity, zoom, pointing and the legend need no round trip; only a click comes back to
Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st
from PIL import Image

from app.assets import asset
from app.distinct import distinct_colors
from app.pictures import Ids, Pixel
from app.pixels import data_url, encode_ids
from workbench.colors import FREQUENCY_RAMP, sample_ramp

KEY = "viewer"

_STEPS = 65_534  # of a heat map: what two colour channels hold beside "no value"
_SHADES = 64


class Heat(NamedTuple):
    """A number for every pixel.

    Attributes:
        values: (H, W); NaN where there is none.
        title: Of the panel.
        caption: What the number is.
        low: Number of the first colour.
        high: Number of the last.
        foreign_is_low: Whether low numbers, not high ones, stand out.
    """

    values: npt.NDArray[np.float32]
    title: str
    caption: str
    low: float
    high: float
    foreign_is_low: bool = False


class Scene(NamedTuple):
    """What is drawn.

    Attributes:
        image: RGB picture.
        truth: (H, W) class ids, negative = ignored; None where it is not known.
        prediction: (H, W) class ids.
        heat: Shown beside them if given.
    """

    image: Image.Image
    truth: Ids | None
    prediction: Ids
    heat: Heat | None = None


_component = st.components.v2.component(
    "workbench_viewer",
    html='<div class="viewer"></div>',
    css=asset("viewer.css"),
    js=asset("canvas.js", "viewer.js"),
)


def drawn(scene: Scene, view: pd.DataFrame) -> dict[str, Any]:
    """What the browser draws, as plain JSON: slow to make, so it is worth keeping.

    Args:
        scene: The picture.
        view: Its classes, from ``frames.classes_in_view`` or ``pictures.classes_predicted``.
            Where two of their colours are too near, one is shifted for this picture.
    """
    errors = None
    if scene.truth is not None:
        known = scene.truth >= 0
        wrong = known & (scene.truth != scene.prediction)
        errors = f"{wrong.sum() / max(1, known.sum()):.1%} of pixels"
    colors = distinct_colors([str(color) for color in view["color"]])
    return {
        "image": data_url(scene.image, quality=92),
        "truth": None if scene.truth is None else data_url(encode_ids(scene.truth)),
        "prediction": data_url(encode_ids(scene.prediction)),
        "heat": None if scene.heat is None else _heat(scene.heat),
        "width": scene.image.width,
        "height": scene.image.height,
        "errors": errors,
        "classes": [
            {
                "id": int(row["class_id"]),
                "name": str(row["name"]),
                "color": color,
                "iou": None if scene.truth is None else float(row["iou"]),
                "truth": int(row["truth_pixels"]),
                "predicted": int(row["predicted_pixels"]),
            }
            for row, color in zip(view.to_dict("records"), colors, strict=True)
        ],
    }


def heat_of(
    values: npt.NDArray[np.float32], title: str, caption: str, *, confidence: bool = False
) -> Heat:
    """A heat map whose colour bar ends at round numbers; a confidence's at 0 and 1."""
    if confidence:
        return Heat(values, title, caption, 0.0, 1.0, foreign_is_low=True)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-3)))
    low, high = float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
    return Heat(values, title, caption, low, max(high, low + float(step)))


def _heat(heat: Heat) -> dict[str, Any]:
    share = (heat.values.astype(np.float64) - heat.low) / (heat.high - heat.low)
    known = np.isfinite(share)
    steps = np.where(known, np.clip(np.where(known, share, 0), 0, 1) * _STEPS, -1)
    colors = sample_ramp(FREQUENCY_RAMP, np.linspace(0, 1, _SHADES))
    return {
        "values": data_url(encode_ids(steps.round().astype(np.int64))),
        "steps": _STEPS,
        "low": heat.low,
        "high": heat.high,
        "title": heat.title,
        "caption": heat.caption,
        "colors": colors[::-1] if heat.foreign_is_low else colors,
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


def show(
    key: str,
    sent: Mapping[str, Any],
    pin: Pixel | None,
    on_click: Callable[[Pixel], None],
    *,
    widget: str = KEY,
) -> None:
    """Draws a picture.

    Args:
        key: Changes when anything in it does.
        sent: From ``drawn``.
        pin: The pixel that is marked.
        on_click: Called with a pixel of this picture.
        widget: Identity on the page.
    """

    def clicked() -> None:
        stored = st.session_state.get(widget) or {}
        pixel = clicked_pixel(stored.get("pixel"), key, sent["width"], sent["height"])
        if pixel is not None:
            on_click(pixel)

    _component(
        key=widget,
        data={**sent, "key": key, "pin": None if pin is None else [pin.x, pin.y]},
        default={"pixel": None},
        on_pixel_change=clicked,
    )
