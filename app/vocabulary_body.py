"""What the Vocabulary page shows of a run that has a network: pictures, marks, before and after.

Apart from the page itself, because it loads torch, which takes seconds the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from app import basket, data, data_classes, edited, frames, picker, shell, state, vocabulary_forms
from app import vocabulary_frames as words
from app.bars import Bar, bars
from app.data_classes import Stamp
from app.vocabulary_forms import ADD
from workbench.inference.class_sets import ClassSet
from workbench.inference.relabel import Labelled, label, relabel
from workbench.inference.vocabulary_edits import Edited, remap

T = TypeVar("T")

_STRIP = 8
_START = "vocabulary_strip_start"
_MOVED = "vocabulary_other_picture"


def show(run: shell.Context) -> None:
    """Draws it, or says why the run's classes cannot be edited."""
    table = data.vocabulary(run.path)
    if table is not None:
        _share("class", [None, *(int(one) for one in table["class_id"])], None, int)
    kept = [] if run.split is None else data.samples(run.path, run.split)
    if kept:
        _share("image", kept, kept[0], str)
    _body(run, kept)


def _share(name: str, options: list[T], default: T, parse: Callable[[str], T]) -> None:
    """Keeps a choice that other pages share, also where no widget of this one holds it."""
    state.seed(name, options, default, parse)
    chosen = st.session_state[state.widget_key(name)]
    state.publish(name, chosen)
    # Without a widget it would be forgotten when another page is opened.
    st.session_state[state.widget_key(name)] = chosen


@st.fragment
def _body(run: shell.Context, kept: list[str]) -> None:
    if st.session_state.pop(_MOVED, False):
        st.rerun()  # the picture belongs into the URL, which only the whole page writes
    # Here, not outside: the run may be deleted, or its checkpoint torn, while the page is open.
    now, before = edited.current(run.path), edited.base(run.path)
    if now is None or before is None:
        shell.explain_missing(*data_classes.why_not(run.path))
        return
    left, right = shell.stack("vocabulary", [3, 2])
    with right:
        action = vocabulary_forms.show(run, now)
    with left:
        if run.split is None or not kept:
            shell.explain_missing(
                "No pictures were kept for this run, so there is nothing to mark pixels in. "
                "Evaluation keeps a sample:",
                run.command("evaluate"),
            )
            return
        _pictures(run, run.split, kept, now, before, marking=action == ADD)


def _pictures(
    run: shell.Context,
    split: str,
    kept: list[str],
    now: Edited,
    before: ClassSet,
    *,
    marking: bool,
) -> None:
    image_id = str(st.session_state[state.widget_key("image")])
    strip = _strip(run, split, kept, image_id)
    sample = data.sample(run.path, split, image_id)
    drawn = None if sample is None else _drawn(run, split, image_id, sample)
    if sample is None or drawn is None:
        shell.explain_missing(
            f"The picture {shell.plain(image_id)} cannot be read any more. Make it again:",
            run.command("evaluate"),
        )
        return
    marked = basket.content(run.path, split)
    sent = picker.payload(
        f"{run.path}|{split}|{image_id}|{edited.version(run.path)}",
        image_id,
        drawn["sent"],
        strip,
        marks=marked[image_id].marks if image_id in marked else (),
        marks_version=basket.version(),
        marking=marking,
    )

    def mark() -> None:
        wide, high = sample.image.size
        marks = words.read_marks(picker.sent_back("marks"), image_id, wide, high)
        if marks is not None:
            basket.put(run.path, split, image_id, basket.Marked(tuple(marks), wide, high))

    def go() -> None:
        wanted = picker.sent_back("picture")
        if isinstance(wanted, str) and wanted in kept:
            state.choose("image", wanted)
            st.session_state[_MOVED] = True

    def turn() -> None:
        start = picker.sent_back("turn")
        if isinstance(start, (int, float)) and not isinstance(start, bool):
            st.session_state[_START] = int(max(0, min(len(kept), start)))

    picker.show(sent, on_marks=mark, on_picture=go, on_turn=turn)
    if edited.edits(run.path):
        _moved(drawn, before.vocabulary.table, now)


def _strip(run: shell.Context, split: str, kept: list[str], image_id: str) -> picker.Strip:
    """The row that finds pictures, and the page of them that is in view."""
    table = data.vocabulary(run.path)
    counts = data.per_image_class(run.path, split)
    names = {} if table is None else frames.labels(table)
    text_field, class_field = shell.flow("filters_vocabulary", [1, 1])
    text = text_field.text_input(
        "Find a picture", placeholder="part of its id", key="vocabulary_find"
    )
    wanted = class_field.selectbox(
        "Pictures with",
        [] if counts is None else list(names),
        index=None,
        format_func=lambda class_id: names.get(class_id, str(class_id)),
        placeholder="any class, in truth or prediction",
        key="vocabulary_with",
    )
    found = words.find_pictures(kept, text)
    if wanted is not None and counts is not None:
        ranked = frames.rank_images(kept, counts, class_id=wanted, order=frames.BEST_FIRST)
        allowed = set(found)
        found = [str(one) for one in ranked["image_id"] if str(one) in allowed]
    # Another search or another picture: the page that shows the picture, else the first.
    about = (run.path, split, text, wanted, image_id)
    if st.session_state.get("vocabulary_strip_about") != about:
        st.session_state["vocabulary_strip_about"] = about
        st.session_state[_START] = found.index(image_id) if image_id in found else 0
    start, shown = words.strip(found, int(st.session_state.get(_START, 0)), _STRIP)
    return picker.Strip(
        pictures=shown,
        urls=data.thumbnails(run.path, split, shown),
        marks={one: len(m.marks) for one, m in basket.content(run.path, split).items()},
        start=start,
        total=len(found),
        size=_STRIP,
    )


def _drawn(
    run: shell.Context, split: str, image_id: str, sample: data.Sample
) -> dict[str, Any] | None:
    stamp = data_classes.pictures_stamp(run.path, split)
    version = edited.version(run.path) if edited.edits(run.path) else 0
    return _draw(run.path, split, image_id, stamp, version, sample)


@st.cache_resource(show_spinner=False, max_entries=12)
def _draw(
    path: str, split: str, image_id: str, stamp: Stamp, version: int, _sample: data.Sample
) -> dict[str, Any] | None:
    """Label maps of one picture and what the browser gets of them.

    ``version`` names the edits, 0 for none: no two sessions share another, so this may be kept
    for all.
    """
    now, base = edited.current(path), edited.base(path)
    own = _labelled(path, split, image_id, stamp)
    if now is None or base is None or own is None:
        return None
    before = own.labels
    old = picker.Labels(before, base.vocabulary.table)
    if not edited.edits(path):
        return {"sent": picker.pictures(_sample.image, old, None, None)}
    features = data.features(path, split, image_id)
    if features is None:
        return None
    after = relabel(features, own, base, now.classes, now.lookup)
    same = remap(before, now.lookup) == after
    changed = after.copy()
    changed[same] = -1
    new = picker.Labels(after, now.classes.vocabulary.table)
    return {
        "sent": picker.pictures(_sample.image, new, old, changed),
        "moved": words.moved(before, after, now.lookup),
        "before": before,
        "after": after,
    }


@st.cache_resource(show_spinner="Segmenting the picture ...", max_entries=12)
def _labelled(path: str, split: str, image_id: str, stamp: Stamp) -> Labelled | None:
    base, features = edited.base(path), data.features(path, split, image_id)
    if base is None or features is None:
        return None
    return label(features, base)


def _moved(drawn: Mapping[str, Any], old: pd.DataFrame, now: Edited) -> None:
    """Which classes lost the pixels that changed, and which took them."""
    pairs = drawn["moved"]
    if pairs.empty:
        st.caption("The edits change no pixel of this picture.")
        return
    new = now.classes.vocabulary.table
    lost, won = shell.stack("moved", [1, 1])
    for place, title, column, table in (
        (lost, "Lost pixels", "before", old),
        (won, "Took pixels", "after", new),
    ):
        rows = words.side(pairs, column, drawn[column])
        lines = [
            Bar(
                name=str(table["name"].iloc[int(row["class_id"])]),
                color=str(table["color"].iloc[int(row["class_id"])]),
                share=float(row["share"]),
                number=f"{int(row['pixels']):,} px",
                note=f"{row['share']:.0%} of it",
            )
            for row in rows.to_dict("records")
        ]
        with place:
            st.markdown(f"**{title}** :small[:gray[in this picture]]")
            st.html(bars(lines))
