"""What lies under a pixel: its nearest classes, the true one among them, the temperature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import class_list, data, data_pictures, frames, links, shell
from app.bars import Bar, bars, chip
from app.pictures import Ids, Pixel, temperature_text
from workbench.colors import MISSING

_MOST = 25
_K = "pixel_k"


class Looked(NamedTuple):
    """A picture as it is looked at.

    Attributes:
        truth: (H, W) class ids, None where it is not known.
        prediction: (H, W) class ids.
        classes: Vocabulary, row = class id.
        lens: What gives pixels their classes; None without a model.
        own_ids: (C,) the run's id of each class where they were edited, negative = none.
        image_id: Of a kept picture, None for one handed in.
    """

    truth: Ids | None
    prediction: Ids
    classes: pd.DataFrame
    lens: data_pictures.Lens | None
    own_ids: Ids | None = None
    image_id: str | None = None


def temperatures(own: float) -> list[float]:
    """What the slider offers: an eighth to four times the model's, which is among them."""
    return [own * 2 ** (step / 4) for step in range(-12, 9)]


def class_rows(
    nearest: pd.DataFrame,
    classes: pd.DataFrame,
    *,
    truth: int | None,
    third: str,
    own_ids: Ids | None = None,
) -> list[class_list.Row]:
    """The list of a pixel's nearest classes.

    Args:
        nearest: From ``inspect.nearest_at``.
        classes: Vocabulary, row = class id.
        truth: The true class.
        third: Column of the last number: "distance" or "logit"; "" for none.
        own_ids: As in ``Looked``.
    """
    names = frames.labels(classes)
    rows = []
    for row in nearest.to_dict("records"):
        class_id = int(row["class_id"])
        own = class_id if own_ids is None else int(own_ids[class_id])
        rows.append(
            class_list.Row(
                name=names.get(class_id, f"class {class_id}"),
                color=str(classes["color"].iloc[class_id]) if class_id in names else MISSING,
                share=float(row["probability"]),
                number=percent(float(row["probability"])),
                note=f"{row[third]:.3f}" if third else "",
                truth=class_id == truth,
                open=own if own >= 0 and class_id in names else None,
            )
        )
    return rows


def percent(share: float) -> str:
    """A probability as text; never "0.0%" for something that is merely small."""
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def rank_text(rank: int, count: int, distance: float, probability: float) -> str:
    """Where the true class stands among all, in words."""
    far = f", at distance {distance:.3f}" if np.isfinite(distance) else ""
    if rank == 1:
        return f"The true class is the nearest of {count:,}{far}, with {percent(probability)}."
    return f"The true class is number {rank:,} of {count:,}{far}, with {percent(probability)}."


def show(run: shell.Context, pixel: Pixel, looked: Looked, key: str) -> None:
    """Draws the panel of a pixel."""
    with st.container(border=True):
        facts, near = shell.stack(f"pixel_{key}", [2, 3])
        with facts:
            _labels(pixel, looked)
        if looked.lens is None:
            _without_model(run, pixel, looked, near)
            return
        with near:
            temperature = _sliders(run, looked.lens)
            scores = _scores(pixel, looked.lens, temperature)
            _nearest(pixel, looked, looked.lens, scores, key)
        with facts:
            _facts(pixel, looked, looked.lens, scores, temperature)
            if looked.image_id is not None and data.projection(run.path) is not None:
                st.page_link(
                    links.CLASS_MAP,
                    label="This pixel in the class map",
                    icon=":material/scatter_plot:",
                    query_params={
                        "run": run.name,
                        "image": looked.image_id,
                        "pixel": str(pixel),
                    },
                )


def _labels(pixel: Pixel, looked: Looked) -> None:
    st.markdown(f"**Pixel {pixel.x}, {pixel.y}**")
    if looked.truth is not None:
        truth = _named(int(looked.truth[pixel.y, pixel.x]), looked.classes)
        st.html(f"<div>Truth &nbsp;{truth}</div>")
    given = _named(int(looked.prediction[pixel.y, pixel.x]), looked.classes)
    st.html(f"<div>Prediction &nbsp;{given}</div>")


def _named(class_id: int, classes: pd.DataFrame) -> str:
    if not 0 <= class_id < len(classes):
        return chip("ignored", MISSING)
    row = classes.iloc[class_id]
    return f"<b>{chip(row['name'], row['color'])}</b>"


def _sliders(run: shell.Context, lens: data_pictures.Lens) -> float:
    """Temperature and k; returns the temperature."""
    warm, many = st.columns(2, gap="medium")
    offered = temperatures(lens.temperature)
    key = f"pixel_temperature_{run.name}"
    if st.session_state.get(key) not in offered:
        st.session_state[key] = offered[12]
    with warm:
        chosen = st.select_slider(
            "Temperature",
            offered,
            format_func=lambda value: f"{value:.3g}",
            key=key,
            help="Multiplies all logits: higher makes the model surer of the first class. The "
            f"model's own is {lens.temperature:.3g}.",
        )
    most = min(_MOST, lens.class_count)
    st.session_state[_K] = min(st.session_state.get(_K, 7), most)
    with many:
        st.slider("Classes listed (k)", 1, max(2, most), key=_K)
    return float(chosen)


def _scores(pixel: Pixel, lens: data_pictures.Lens, temperature: float | None) -> pd.DataFrame:
    """Logit, probability and distance of every class at the pixel."""
    from workbench.inference import inspect  # loads torch

    return inspect.scores_at(
        lens.features,
        lens.classes,
        lens.distance,
        x=pixel.x,
        y=pixel.y,
        temperature=temperature,
    )


def _nearest(
    pixel: Pixel, looked: Looked, lens: data_pictures.Lens, scores: pd.DataFrame, key: str
) -> None:
    from workbench.inference import inspect

    nearest = inspect.nearest_of(scores, int(st.session_state[_K]))
    third = "logit" if lens.dense or lens.distance == "linear" else "distance"
    truth = None if looked.truth is None else int(looked.truth[pixel.y, pixel.x])
    rows = class_rows(nearest, looked.classes, truth=truth, third=third, own_ids=looked.own_ids)
    titles = ("Nearest classes" if not lens.dense else "Most probable classes", "")
    class_list.show(rows, (*titles, "Probability", third.capitalize()), key=f"nearest_{key}")


def _facts(
    pixel: Pixel,
    looked: Looked,
    lens: data_pictures.Lens,
    scores: pd.DataFrame,
    temperature: float,
) -> None:
    """The true class's rank, what the temperature does, and what the numbers mean."""
    from workbench.inference import inspect

    truth = -1 if looked.truth is None else int(looked.truth[pixel.y, pixel.x])
    if looked.truth is not None and not 0 <= truth < len(scores):
        st.caption("This pixel has no truth; it does not count.")
    elif looked.truth is not None:
        true = scores.iloc[truth]
        rank = inspect.rank_of(scores, truth)
        far = float("nan") if lens.distance == "linear" else float(true["distance"])
        st.caption(rank_text(rank, len(scores), far, float(true["probability"])))
    first = inspect.nearest_of(scores, 1)
    if temperature != lens.temperature:
        own = inspect.nearest_of(_scores(pixel, lens, None), 1)
        st.caption(shell.plain(temperature_text(own, first, lens.temperature)))
    given = int(looked.prediction[pixel.y, pixel.x])
    if given != int(first["class_id"].iloc[0]):
        st.caption(
            "Looked into again from the kept JPEG, the pixel falls to another class than in the "
            "stored prediction: the two nearest are close."
        )
    if not lens.dense and lens.distance != "linear":
        st.caption(
            "Distance: from this pixel's embedding to the class's, both of unit length, 0 to 2."
        )


def _without_model(
    run: shell.Context, pixel: Pixel, looked: Looked, near: st.delta_generator.DeltaGenerator
) -> None:
    """Without a checkpoint pixels have no embedding; the classes may still have a table."""
    given = int(looked.prediction[pixel.y, pixel.x])
    points = data.class_points(run.path)
    names = frames.labels(looked.classes)
    with near:
        st.caption(
            "This run keeps no checkpoint that can be read, so the pixel itself cannot be "
            "looked into."
        )
        if points is None or not 0 <= given < min(len(points), len(looked.classes)):
            return
        st.markdown(
            f"**Nearest other classes of {shell.plain(names[given])}** "
            ":small[:gray[distance of the classes' unit vectors, 0 to 2]]"
        )
        truth = -1 if looked.truth is None else int(looked.truth[pixel.y, pixel.x])
        lines = [
            Bar(
                name=names[int(row["class_id"])],
                color=str(looked.classes["color"].iloc[int(row["class_id"])]),
                share=float(row["distance"]) / 2,
                number=f"{row['distance']:.3f}",
                note="the truth" if row["class_id"] == truth else "",
            )
            for row in frames.nearest_classes(points, given).head(6).to_dict("records")
            if int(row["class_id"]) in names
        ]
        st.html(bars(lines))
