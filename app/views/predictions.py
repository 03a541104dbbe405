"""Predictions: a picture, its truth, what the model says, and where it errs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import data, frames, shell, state, viewer
from app.bars import Bar, bars, chip


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Predictions")
    kept = [] if run.split is None else data.samples(run.path, run.split)
    classes = data.vocabulary(run.path)
    if run.split is None or not kept or classes is None:
        shell.explain_missing(
            "No pictures with predictions were kept for this run yet. Evaluation keeps a sample:",
            run.command("evaluate"),
        )
        st.stop()
    ranked = _controls(run, run.split, kept, classes)
    image_id = st.session_state[state.widget_key("image")]
    state.publish("image", image_id)
    _picture(run, run.split, image_id, classes)
    _contact_sheet(run, run.split, ranked)


def _controls(
    run: shell.Context, split: str, kept: list[str], classes: pd.DataFrame
) -> pd.DataFrame:
    """The row of choices; returns the pictures in the order chosen."""
    counts = data.per_image_class(run.path, split)
    names = frames.labels(classes)
    present = _classes_in(counts, kept, names)
    state.seed("with", [None, *present], None, int)
    state.seed("order", frames.ORDERS, frames.WORST_FIRST, str)
    filters, ordering, picker = shell.flow("filters_pictures", [1.2, 1.4, 2.4])
    with filters:
        wanted = st.selectbox(
            "Pictures with",
            present,
            index=None,
            format_func=lambda class_id: names[class_id],
            placeholder="any class",
            key=state.widget_key("with"),
        )
    with ordering:
        order = st.segmented_control(
            "Order by IoU", frames.ORDERS, key=state.widget_key("order"), required=True
        )
    state.publish("with", wanted)
    state.publish("order", order)
    ranked = frames.rank_images(kept, counts, class_id=wanted, order=order or frames.WORST_FIRST)
    ids = [str(image_id) for image_id in ranked["image_id"]]
    scores = dict(zip(ids, ranked["score"], strict=True))
    state.seed("image", ids, ids[0], str)
    with picker, st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            f"Picture, {len(ids)} to choose from",
            ids,
            format_func=lambda image_id: f"{image_id} · IoU {shell.number(scores[image_id], 2)}",
            key=state.widget_key("image"),
        )
        at = ids.index(st.session_state[state.widget_key("image")])
        for icon, help_text, to in (
            (":material/chevron_left:", "Previous picture", at - 1),
            (":material/chevron_right:", "Next picture", at + 1),
        ):
            st.button(
                "",
                icon=icon,
                help=help_text,
                key=f"step_{to - at}",
                disabled=not 0 <= to < len(ids),
                on_click=state.choose,
                args=("image", ids[to % len(ids)]),
            )
    return ranked


def _classes_in(counts: pd.DataFrame | None, kept: list[str], names: dict[int, str]) -> list[int]:
    """Classes that occur in the kept pictures, by name."""
    if counts is None:
        return []
    found = counts.loc[counts["image_id"].astype(str).isin(kept), "class_id"].unique()
    return sorted((int(c) for c in found if int(c) in names), key=lambda c: names[c].lower())


@st.fragment
def _picture(run: shell.Context, split: str, image_id: str, classes: pd.DataFrame) -> None:
    sample = data.sample(run.path, split, image_id)
    if sample is None:
        shell.explain_missing(
            f"The picture {shell.plain(image_id)} cannot be read any more. Make it again:",
            run.command("evaluate"),
        )
        return
    view = frames.classes_in_view(sample.truth, sample.prediction, classes)
    pixel = viewer.show(f"{run.path}|{split}|{image_id}", sample, view)
    if pixel is not None:
        _pixel(run, sample, pixel, classes)


def _pixel(
    run: shell.Context, sample: data.Sample, pixel: viewer.Pixel, classes: pd.DataFrame
) -> None:
    """What lies under the pinned pixel, and what lies near in the space of classes."""
    truth = int(sample.truth[pixel.y, pixel.x])
    given = int(sample.prediction[pixel.y, pixel.x])
    points = data.class_points(run.path)
    names = frames.labels(classes)
    with st.container(border=True):
        facts, near = st.columns([2, 3], gap="large")
        with facts:
            st.markdown(f"**Pixel {pixel.x}, {pixel.y}**")
            st.html(f"<div>Truth &nbsp;{_named(truth, classes)}</div>")
            st.html(f"<div>Prediction &nbsp;{_named(given, classes)}</div>")
            if points is not None and 0 <= given < len(points):
                st.caption(_verdict(truth, given, frames.nearest_classes(points, given), names))
        with near:
            if points is None or not 0 <= given < len(points):
                st.caption("This run keeps no table of class embeddings, so nothing can be near.")
                return
            st.markdown(
                f"**Nearest other classes of {shell.plain(names[given])}** "
                ":small[:gray[distance of the unit vectors, 0 to 2]]"
            )
            near_classes = frames.nearest_classes(points, given).head(6).to_dict("records")
            lines = [
                Bar(
                    name=names[int(row["class_id"])],
                    color=str(classes["color"].iloc[int(row["class_id"])]),
                    share=float(row["distance"]) / 2,  # unit vectors are at most 2 apart
                    number=f"{row['distance']:.3f}",
                    note="the truth" if row["class_id"] == truth else "",
                )
                for row in near_classes
                if int(row["class_id"]) in names
            ]
            st.html(bars(lines))


def _named(class_id: int, classes: pd.DataFrame) -> str:
    if not 0 <= class_id < len(classes):
        return chip("ignored", "#8d939c")
    row = classes.iloc[class_id]
    return f"<b>{chip(row['name'], row['color'])}</b>"


def _verdict(truth: int, given: int, near: pd.DataFrame, names: dict[int, str]) -> str:
    if truth < 0:
        return "This pixel has no truth; it does not count."
    if truth == given:
        return "The prediction is right here."
    row = near[near["class_id"] == truth].iloc[0]
    return (
        f"The true class is number {int(row['rank']):,} of {len(near):,} by distance from the "
        f"predicted one ({row['distance']:.3f}); the nearest is "
        f"{shell.plain(names[int(near['class_id'].iloc[0])])} ({near['distance'].iloc[0]:.3f})."
    )


def _contact_sheet(run: shell.Context, split: str, ranked: pd.DataFrame) -> None:
    st.subheader("All pictures")
    urls = data.thumbnails(run.path, split)
    counts = data.per_image_class(run.path, split)
    table = ranked.assign(picture=ranked["image_id"].map(urls))
    if counts is not None:
        facts = frames.image_scores(counts)[["image_id", "accuracy", "classes"]]
        table = table.merge(facts, on="image_id", how="left")

    def pick() -> None:
        picked = frames.selected_row(st.session_state.get(key), table, "image_id")
        if picked is not None:
            state.choose("image", str(picked))

    key = f"sheet_{abs(hash(tuple(table['image_id'])))}"
    shown = [
        name for name in ("picture", "image_id", "score", "accuracy", "classes") if name in table
    ]
    st.dataframe(
        table[shown],
        key=key,
        on_select=pick,
        selection_mode="single-row",
        hide_index=True,
        width="stretch",
        height=420,
        row_height=64,
        placeholder="–",
        column_config=_columns(),
    )


def _columns() -> dict[str, Any]:
    column = st.column_config
    share: dict[str, Any] = {"format": "%.2f", "min_value": 0.0, "max_value": 1.0}
    return {
        "picture": column.ImageColumn("Picture", width=90),
        "image_id": column.TextColumn("Id"),
        "score": column.ProgressColumn(
            "IoU", help="Mean over its classes, or of the class filtered by.", **share
        ),
        "accuracy": column.ProgressColumn(
            "Pixel accuracy", help="Share of labelled pixels that are right.", **share
        ),
        "classes": column.NumberColumn("Classes in truth"),
    }


if __name__ == "__main__":
    page()
