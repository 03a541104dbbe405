"""A picture handed in by the person at the screen: segmented in memory, never written to disk."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd
import streamlit as st

from app import data_pictures, pictures, pixel_panel, shell, uploads, viewer
from app.pictures import Pixel

_PIN = "own_pixel"
_FILE = "own_file"


def show(run: shell.Context, classes: pd.DataFrame) -> None:
    """Draws the upload field and, once there is a picture, what the model makes of it."""
    if not data_pictures.has_model(run.path):
        shell.explain_missing(
            "This run keeps no checkpoint (it was imported, or training has not saved one yet), "
            "so it cannot segment a new picture. Train one that can:",
            "workbench train --preset default --run runs/NAME",
        )
        return
    file = st.file_uploader(
        "Your picture",
        type=list(uploads.TYPES),
        key=_FILE,
    )
    st.caption(uploads.limits())
    if file is None:
        return
    content = file.getvalue()
    try:
        taken = _read(hashlib.sha256(content).hexdigest(), content)
    except uploads.UploadError as error:
        st.warning(shell.plain(error), icon=":material/broken_image:")
        return
    if taken.notes:
        st.caption(shell.plain("; ".join(taken.notes).capitalize() + "."))
    _picture(run, taken, classes)


@st.cache_resource(show_spinner=False, max_entries=3)
def _read(digest: str, _content: bytes) -> uploads.Upload:
    return uploads.read_upload(_content)


@st.fragment
def _picture(run: shell.Context, taken: uploads.Upload, classes: pd.DataFrame) -> None:
    with st.spinner("Segmenting …", show_time=False):
        lens = data_pictures.own_lens(run.path, taken.image)
        if lens is None:
            st.warning(
                "The checkpoint of this run cannot be read, or its network does not take a "
                "picture of this size.",
                icon=":material/broken_image:",
            )
            return
        prediction = data_pictures.labels(lens)
    heat = None
    if st.toggle("Unknown: how far from every class", key="own_unknown", help=UNKNOWN_HELP):
        heat = heat_map(lens)
    key = f"{lens.key}|{heat is not None}"
    sent = _drawn(key, viewer.Scene(taken.image, None, prediction, heat), classes)
    height, width = prediction.shape
    pin = st.session_state.get(_PIN)
    pixel = None
    if isinstance(pin, tuple) and pin[0] == lens.key:
        pixel = pictures.parse_pixel(pin[1], width, height)

    def clicked(at: Pixel) -> None:
        st.session_state[_PIN] = (lens.key, str(at))

    viewer.show(key, sent, pixel, clicked, widget="own_viewer")
    if pixel is not None:
        seen_classes = pictures.with_colors(classes, sent["classes"])
        looked = pixel_panel.Looked(None, prediction, seen_classes, lens)
        pixel_panel.show(run, pixel, looked, "own")


UNKNOWN_HELP = (
    "How far each pixel is from the class it was given. Far ones resemble no class the model "
    "knows. A dense model has no distances: there it is the probability of the first class."
)


def heat_map(lens: data_pictures.Lens) -> viewer.Heat:
    """The map of what no class is near to."""
    values = data_pictures.unknown(lens)
    if lens.dense:
        return viewer.heat_of(values, "Unsure", "highest probability", confidence=True)
    if lens.distance == "linear":
        return viewer.heat_of(values, "Unknown", "minus the highest logit")
    return viewer.heat_of(values, "Unknown", "distance to the nearest class")


@st.cache_data(show_spinner=False, max_entries=6)
def _drawn(key: str, _scene: viewer.Scene, _classes: pd.DataFrame) -> dict[str, Any]:
    return viewer.drawn(_scene, pictures.classes_predicted(_scene.prediction, _classes))
