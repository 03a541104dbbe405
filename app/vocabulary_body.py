"""What the Vocabulary page shows of a run that has a network: pictures, marks, before and after.

Where nothing was edited it shows the prediction that was kept, so neither torch nor the network
is needed before the first edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import (
    basket,
    data,
    data_classes,
    data_pictures,
    edited,
    frames,
    picker,
    pictures,
    shell,
    state,
    vocabulary_forms,
    vocabulary_frames,
)
from app.bars import Bar, bars
from app.data_classes import Stamp
from app.vocabulary_forms import ADD

if TYPE_CHECKING:
    from workbench.inference.relabel import Labelled

_STRIP = 8
_START = "vocabulary_strip_start"


def show(run: shell.Context) -> None:
    """Draws it, or says why the run's classes cannot be edited."""
    _body(run, () if run.split is None else data.samples(run.path, run.split))


@st.fragment
def _body(run: shell.Context, kept: Sequence[str]) -> None:
    # Here, not outside: the run may be deleted, or its checkpoint torn, while the page is open.
    why = data_classes.why_not(run.path)
    own, now = data.vocabulary(run.path), edited.names(run.path)
    if why is not None or own is None or now is None:
        shell.explain_missing(*(why or (data_classes.UNREADABLE, None)))
        return
    with state.url(fragment=True):  # a click runs this alone, also one that turns to a picture
        state.keep("class", [None, *(int(one) for one in own["class_id"])], None, int)
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
            image_id = state.keep("image", kept, kept[0], str)
            _pictures(run, run.split, kept, image_id, now, marking=action == ADD)


def _pictures(
    run: shell.Context,
    split: str,
    kept: Sequence[str],
    image_id: str,
    now: pd.DataFrame,
    *,
    marking: bool,
) -> None:
    strip = _strip(run, split, kept, image_id)
    sample = data.sample(run.path, split, image_id)
    drawn = None if sample is None else _drawn(run, split, image_id, sample, now)
    if sample is None or drawn is None:
        shell.explain_missing(
            f"The picture {shell.plain(image_id)} cannot be read any more. Make it again:",
            run.command("evaluate"),
        )
        return
    marked = basket.content(run.path, split)
    sent = picker.payload(
        data_pictures.digest(
            run.path,
            split,
            image_id,
            data_pictures.picture_stamp(run.path, split),
            edited.version(run.path),
        ),
        image_id,
        drawn["sent"],
        strip,
        marks=marked[image_id].marks if image_id in marked else (),
        marks_version=data_pictures.digest(run.path, split, basket.version()),
        marking=marking,
    )

    def mark() -> None:
        wide, high = sample.image.size
        sent_back = picker.sent_back("marks")
        marks = vocabulary_frames.read_marks(sent_back, image_id, wide, high)
        if marks is not None:
            basket.put(run.path, split, image_id, basket.Marked(tuple(marks), wide, high))

    def go() -> None:
        wanted = picker.sent_back("picture")
        if isinstance(wanted, str) and wanted in kept:
            state.choose("image", wanted)

    def turn() -> None:
        start = picker.sent_back("turn")
        if isinstance(start, (int, float)) and not isinstance(start, bool):
            st.session_state[_START] = int(max(0, min(len(kept), start)))

    picker.show(sent, on_marks=mark, on_picture=go, on_turn=turn)
    if edited.edits(run.path):
        _moved(drawn)


def _strip(run: shell.Context, split: str, kept: Sequence[str], image_id: str) -> picker.Strip:
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
    found = vocabulary_frames.find_pictures(kept, text)
    if wanted is not None:
        index = data_pictures.picture_index(run.path, split)
        ranked = pictures.find_pictures(index, shown=wanted, order=frames.BEST_FIRST)
        allowed = set(found)
        found = [str(one) for one in ranked["image_id"] if str(one) in allowed]
    # Another search or another picture: the page that shows the picture, else the first.
    about = (run.path, split, text, wanted, image_id)
    if st.session_state.get("vocabulary_strip_about") != about:
        st.session_state["vocabulary_strip_about"] = about
        st.session_state[_START] = found.index(image_id) if image_id in found else 0
    at = int(st.session_state.get(_START, 0))
    start, stop = pictures.page_of(at, len(found), _STRIP)
    shown = found[start:stop]
    return picker.Strip(
        pictures=shown,
        urls=data.thumbnails(run.path, split, shown),
        marks={one: len(m.marks) for one, m in basket.content(run.path, split).items()},
        start=start,
        total=len(found),
        size=_STRIP,
    )


def _drawn(
    run: shell.Context, split: str, image_id: str, sample: data.Sample, now: pd.DataFrame
) -> Mapping[str, Any] | None:
    stamp = data_pictures.picture_stamp(run.path, split)
    if not edited.edits(run.path):
        return _kept(run.path, split, image_id, stamp, sample, now)
    return _draw(run.path, split, image_id, stamp, edited.version(run.path), sample)


@st.cache_resource(show_spinner=False, max_entries=12)
def _kept(
    path: str,
    split: str,
    image_id: str,
    stamp: Stamp,
    _sample: data.Sample,
    _table: pd.DataFrame,
) -> Mapping[str, Any]:
    """A picture with the prediction that was kept with it."""
    labels = picker.Labels(_sample.prediction, _table)
    return {"sent": picker.pictures(_sample.image, labels, None, None)}


@st.cache_resource(show_spinner=False, max_entries=12)
def _draw(
    path: str, split: str, image_id: str, stamp: Stamp, version: int, _sample: data.Sample
) -> Mapping[str, Any] | None:
    """What the browser gets of one picture, and who lost pixels to whom.

    ``version`` names the edits: no two sessions share another, so this may be kept for all. The
    label maps themselves, 16 MB each for a large picture, are not kept.
    """
    from workbench.inference.relabel import relabel
    from workbench.inference.vocabulary_edits import remap

    now, base = edited.current(path), edited.base(path)
    own, features = _labelled(path, split, image_id, stamp), data.features(path, split, image_id)
    if now is None or base is None or own is None or features is None:
        return None
    before, after = own.labels, relabel(features, own, base, now.classes, now.lookup)
    changed = after.copy()
    changed[remap(before, now.lookup) == after] = -1
    old = picker.Labels(before, base.vocabulary.table)
    new = picker.Labels(after, now.classes.vocabulary.table)
    pairs = vocabulary_frames.moved(before, after, now.lookup)
    return {
        "sent": picker.pictures(_sample.image, new, old, changed),
        "lost": _lines(pairs, "before", old),
        "took": _lines(pairs, "after", new),
    }


@st.cache_resource(show_spinner="Segmenting the picture ...", max_entries=3)
def _labelled(path: str, split: str, image_id: str, stamp: Stamp) -> Labelled | None:
    from workbench.inference.relabel import label

    base, features = edited.base(path), data.features(path, split, image_id)
    if base is None or features is None:
        return None
    return label(features, base)


def _lines(pairs: pd.DataFrame, column: str, labels: picker.Labels) -> list[Bar]:
    """The classes of one side of ``vocabulary_frames.moved``."""
    rows = vocabulary_frames.side(pairs, column, labels.ids)
    return [
        Bar(
            name=str(labels.table["name"].iloc[int(row["class_id"])]),
            color=str(labels.table["color"].iloc[int(row["class_id"])]),
            share=float(row["share"]),
            number=f"{int(row['pixels']):,} px",
            note=f"{row['share']:.0%} of it",
        )
        for row in rows.to_dict("records")
    ]


def _moved(drawn: Mapping[str, Any]) -> None:
    """Which classes lost the pixels that changed, and which took them."""
    if not drawn["took"]:
        st.caption("The edits change no pixel of this picture.")
        return
    lost, took = shell.stack("moved", [1, 1])
    for place, title, lines in ((lost, "Lost", drawn["lost"]), (took, "Took", drawn["took"])):
        with place:
            st.markdown(f"**{title} pixels** :small[:gray[in this picture]]")
            st.html(bars(lines))
