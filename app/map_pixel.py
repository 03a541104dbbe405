"""The chosen pixel of the chosen picture, as the class map shows it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import data, pictures, shell, state

_NEAREST = 5


@dataclass(frozen=True)
class Pixel:
    """A pixel and its nearest classes.

    Attributes:
        x: Column.
        y: Row.
        image: Id of the picture.
        nearest: class_id, probability and more, the most probable first.
    """

    x: int
    y: int
    image: str
    nearest: pd.DataFrame


def chosen(run: shell.Context) -> Pixel | None:
    """The pixel picked on the Predictions page or named in the URL, if the run knows it."""
    spot, image = _choice("pixel"), _choice("image")
    if spot is None or image is None or run.split is None:
        return None
    if image not in data.samples(run.path, run.split):
        return None
    # Another page may have chosen another picture since: the pixel is none of it.
    of = f"{run.path}|{run.split}|{image}"
    if "pixel" not in st.query_params and st.session_state.get(state.PIXEL_OF, of) != of:
        return None
    loaded, features = data.model(run.path), data.features(run.path, run.split, image)
    if loaded is None or features is None:
        return None
    height, width = features.size
    place = pictures.parse_pixel(spot, width, height)
    if place is None:
        return None
    from workbench.inference.inspect import nearest_at

    nearest = nearest_at(
        features, loaded.classes, loaded.distance, x=place.x, y=place.y, k=_NEAREST
    )
    state.publish("pixel", spot)
    state.publish("image", image)
    return Pixel(place.x, place.y, image, nearest)


def caption(pixel: Pixel, names: dict[int, str]) -> str:
    """What the star means, as Markdown."""
    said = ", ".join(
        f"{shell.plain(names.get(int(row['class_id']), row['class_id']))} {row['probability']:.0%}"
        for row in pixel.nearest.head(3).to_dict("records")
    )
    return (
        f"★ Pixel {pixel.x}, {pixel.y} of {shell.plain(pixel.image)}: {said}. It stands amid its "
        f"{len(pixel.nearest)} nearest classes, weighted by their probability; the map itself "
        "knows only classes."
    )


def _choice(name: str) -> str | None:
    value = st.query_params.get(name) or st.session_state.get(f"last_{name}")
    return None if value is None else str(value)
