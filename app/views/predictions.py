"""Predictions: a picture, its truth, what the model says, where it errs, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import (
    contact_sheet,
    data,
    data_pictures,
    edited,
    frames,
    own_picture,
    pictures,
    pixel_panel,
    shell,
    state,
    viewer,
)
from app.pictures import Ids, PictureIndex, Pixel

_EVALUATED = "Evaluated pictures"
_OWN = "Your own picture"
_KEPT_WIDGETS = ("unknown", "with_edits", "pixel_k")


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Predictions")
    for key in _KEPT_WIDGETS:  # Streamlit forgets a widget that one run did not draw
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    classes = data.vocabulary(run.path)
    kept = [] if run.split is None else data.samples(run.path, run.split)
    if classes is None or (not kept and not data_pictures.has_model(run.path)):
        _explain_nothing_kept(run)
        st.stop()
    state.seed("source", (_EVALUATED, _OWN), _EVALUATED, str)
    source = st.segmented_control(
        "Pictures",
        (_EVALUATED, _OWN),
        key=state.widget_key("source"),
        required=True,
        label_visibility="collapsed",
    )
    state.publish("source", source if source == _OWN else None)
    if source == _OWN:
        own_picture.show(run, classes)
    elif run.split is None or not kept:
        _explain_nothing_kept(run)
    else:
        _evaluated(run, run.split, classes)
    if data_pictures.has_model(run.path):
        data_pictures.warm_up(run.path)


def _explain_nothing_kept(run: shell.Context) -> None:
    shell.explain_missing(
        "No pictures with predictions were kept for this run yet. Evaluation keeps a sample:",
        run.command("evaluate"),
    )


def _evaluated(run: shell.Context, split: str, classes: pd.DataFrame) -> None:
    index = data_pictures.picture_index(run.path, split)
    _follow_a_link(index)
    ranked = _filters(index, classes)
    if not len(ranked):
        st.info("No kept picture meets both filters.", icon=":material/filter_alt_off:")
        st.button("Show all pictures", on_click=_clear_filters)
        return
    ids = [str(image_id) for image_id in ranked["image_id"]]
    state.seed("image", set(ids), ids[0], str)
    image_id = str(st.session_state[state.widget_key("image")])
    st.session_state[state.widget_key("image")] = image_id
    state.publish("image", image_id)
    at = ids.index(image_id)
    _steps(ids, at, ranked)
    _picture(run, split, image_id, classes)
    contact_sheet.show(run, split, ranked, at)


def _follow_a_link(index: PictureIndex) -> None:
    """Lets go of filters that would hide the picture which a link asks for."""
    if not state.asked_for("image"):
        return
    wanted = st.query_params.get("image")
    filters = {
        name: st.session_state.get(state.widget_key(name), st.session_state.get(f"last_{name}"))
        for name in ("with", "predicted")
        if st.query_params.get(name) is None
    }
    found = pictures.find_pictures(
        index, in_truth=filters.get("with"), predicted=filters.get("predicted")
    )
    if wanted in index.ids and wanted not in set(found["image_id"]):
        _clear_filters()


def _clear_filters() -> None:
    state.choose("with", None)
    state.choose("predicted", None)


def _filters(index: PictureIndex, classes: pd.DataFrame) -> pd.DataFrame:
    """The row of choices; returns the pictures in the order chosen."""
    names = frames.labels(classes)
    chosen: dict[str, int | None] = {}
    columns = shell.flow("filters_pictures", [1.3, 1.3, 1.5, 1.2])
    for column, name, label, there in (
        (columns[0], "with", "Class in truth", index.truth_classes),
        (columns[1], "predicted", "Class predicted", index.predicted_classes),
    ):
        options = [class_id for class_id in there if class_id in names]
        options.sort(key=lambda class_id: names[class_id].lower())
        state.seed(name, {None, *options}, None, int)
        with column:
            chosen[name] = st.selectbox(
                label,
                options,
                index=None,
                format_func=lambda class_id: names[class_id],
                placeholder="any class",
                key=state.widget_key(name),
            )
        state.publish(name, chosen[name])
    state.seed("order", frames.ORDERS, frames.WORST_FIRST, str)
    with columns[2]:
        order = st.segmented_control(
            "Order by IoU", frames.ORDERS, key=state.widget_key("order"), required=True
        )
    state.publish("order", order)
    ranked = pictures.find_pictures(
        index,
        in_truth=chosen["with"],
        predicted=chosen["predicted"],
        order=order or frames.WORST_FIRST,
    )
    with columns[3]:
        _go_to(ranked)
    _offer_the_chosen_class(index, names, chosen["with"])
    return ranked


def _offer_the_chosen_class(index: PictureIndex, names: dict[int, str], wanted: int | None) -> None:
    """A class chosen on another page is one click away, but does not filter unasked."""
    last = st.session_state.get("last_class")
    if last is None or last == wanted or last not in names:
        return
    if last in index.truth_classes:
        st.button(
            f"Only pictures with {shell.plain(names[last])}",
            icon=":material/filter_alt:",
            type="tertiary",
            on_click=state.choose,
            args=("with", last),
            key="only_chosen_class",
        )


def _go_to(ranked: pd.DataFrame) -> None:
    def go() -> None:
        text = str(st.session_state["go_to"])
        found = pictures.find_id([str(one) for one in ranked["image_id"]], text)
        if found is not None:
            state.choose("image", found)
            st.session_state["go_to"] = ""
        st.session_state["not_found"] = text if found is None and text.strip() else None

    st.text_input("Go to picture", placeholder="its id, or part of it", key="go_to", on_change=go)
    missing = st.session_state.get("not_found")
    if missing:
        st.caption(f"No picture here has {shell.plain(missing)} in its id.")


def _steps(ids: Sequence[str], at: int, ranked: pd.DataFrame) -> None:
    """Previous and next, and which picture this is."""
    with st.container(horizontal=True, vertical_alignment="center"):
        for step, icon, help_text in (
            (-1, ":material/chevron_left:", "Previous picture"),
            (1, ":material/chevron_right:", "Next picture"),
        ):
            to = at + step
            st.button(
                "",
                icon=icon,
                help=help_text,
                key=f"step_{step}",
                disabled=not 0 <= to < len(ids),
                on_click=state.choose,
                args=("image", ids[min(max(to, 0), len(ids) - 1)]),
            )
        score = shell.number(ranked["score"].iloc[at], 2)
        st.markdown(
            f"**{shell.plain(ids[at])}** &nbsp;:gray[{at + 1:,} of {len(ids):,} · IoU {score}]"
        )


class _Seen(NamedTuple):
    """What a picture's labels are at the moment: the run's own, or those of edited classes."""

    looked: pixel_panel.Looked
    key: str


@st.fragment
def _picture(run: shell.Context, split: str, image_id: str, classes: pd.DataFrame) -> None:
    sample = data.sample(run.path, split, image_id)
    if sample is None:
        shell.explain_missing(
            f"The picture {shell.plain(image_id)} cannot be read any more. Make it again:",
            run.command("evaluate"),
        )
        return
    has_model = data_pictures.has_model(run.path)
    unknown, with_edits = _switches(run, has_model)
    width, height = sample.image.size
    with state.url(fragment=True):  # a click runs this part of the page alone
        pixel = _pixel_in_view(f"{run.path}|{split}|{image_id}", width, height)
        seen = _look(run, split, image_id, sample, classes, with_edits=with_edits)
        lens = seen.looked.lens
        if lens is None and (unknown or (has_model and pixel is not None)):
            lens = data_pictures.lens(run.path, split, image_id)
        heat = own_picture.heat_map(lens) if unknown and lens is not None else None
        looked = seen.looked._replace(lens=lens)
        key = f"{seen.key}|{heat is not None}"
        sent = _drawn(
            key, viewer.Scene(sample.image, looked.truth, looked.prediction, heat), looked.classes
        )
        viewer.show(key, sent, pixel, lambda at: state.choose("pixel", str(at)))
        if unknown and heat is None:
            st.caption("The checkpoint of this run cannot be read, so nothing is known of pixels.")
        if pixel is not None:
            seen_classes = pictures.with_colors(looked.classes, sent["classes"])
            pixel_panel.show(run, pixel, looked._replace(classes=seen_classes), "kept")


def _switches(run: shell.Context, has_model: bool) -> tuple[bool, bool]:
    """Whether the unknown panel is asked for, and the edited classes."""
    if not has_model:
        return False, False
    with st.container(horizontal=True, gap="medium"):
        unknown = st.toggle(
            "Unknown: how far from every class", key="unknown", help=own_picture.UNKNOWN_HELP
        )
        with_edits = False
        if edited.edits(run.path):
            with_edits = st.toggle(
                "With my edited classes",
                key="with_edits",
                help="Labels the picture again with the classes as edited on Vocabulary.",
            )
    return unknown, with_edits


def _look(
    run: shell.Context,
    split: str,
    image_id: str,
    sample: data.Sample,
    classes: pd.DataFrame,
    *,
    with_edits: bool,
) -> _Seen:
    """The labels of a picture, as they were evaluated or as the edited classes make them."""
    plain = pixel_panel.Looked(sample.truth, sample.prediction, classes, None, None, image_id)
    stamp = data_pictures.picture_stamp(run.path, split)
    key = data_pictures.digest(run.path, split, image_id, stamp)
    table = edited.edited_table(run.path) if with_edits else None
    if table is None:
        return _Seen(plain, key)
    from workbench.inference.vocabulary_edits import remap

    lookup, version = edited.edited_lookup(run.path), edited.version(run.path)
    lens = data_pictures.lens(run.path, split, image_id, table, version)
    if lens is None or lookup is None:
        return _Seen(plain, key)
    changed = pixel_panel.Looked(
        truth=remap(sample.truth, lookup),
        prediction=data_pictures.labels(lens),
        classes=table[1],
        lens=lens,
        own_ids=_own_ids(lookup, len(table[1])),
        image_id=image_id,
    )
    return _Seen(changed, f"{key}|{version}")


def _own_ids(lookup: Ids, count: int) -> Ids:
    """The run's id of each edited class, the first where several were merged; -1 = none."""
    own = np.full(count, -1, dtype=np.int64)
    for old in np.flatnonzero(lookup >= 0)[::-1]:
        own[lookup[old]] = old
    return own


def _pixel_in_view(picture: str, width: int, height: int) -> Pixel | None:
    """The pixel chosen in this picture; one of another picture is let go."""
    if st.session_state.get(state.PIXEL_OF, picture) != picture and not state.asked_for("pixel"):
        state.choose("pixel", None)
    st.session_state[state.PIXEL_OF] = picture
    state.seed("pixel", pictures.PixelGrid(width, height), None, str)
    text = st.session_state[state.widget_key("pixel")]
    state.publish("pixel", text)
    return pictures.parse_pixel(text, width, height)


@st.cache_data(show_spinner=False, max_entries=32)
def _drawn(key: str, _scene: viewer.Scene, _classes: pd.DataFrame) -> dict[str, Any]:
    assert _scene.truth is not None
    view = frames.classes_in_view(_scene.truth, _scene.prediction, _classes)
    return viewer.drawn(_scene, view)


if __name__ == "__main__":
    page()
