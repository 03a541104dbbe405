"""Rare-class failures: every class that fails, why, and what mending it would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import data_failures, failure_detail, failure_frames, frames, picks, shell, state
from app.bars import Bar, bars
from workbench.colors import GROUPS, MISSING
from workbench.evaluation.failures import FINE_IOU, REASONS

_HEIGHT = 470
_CARD, _BELOW = "failure_card", "failure_below"
# A flag to type is torn apart by a line break within it.
_STYLE = "<style>[data-testid='stMarkdownContainer'] li code { white-space: nowrap; }</style>"


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Rare-class failures")
    st.html(_STYLE)
    split, _ = shell.need_evaluation(run)
    found = data_failures.overview(run.path, split)
    if found is None:
        shell.explain_missing("The evaluation has no classes.", run.command("evaluate"))
        st.stop()
    _headline(found)
    if found.failing.empty:
        st.success(f"No class is below an IoU of {FINE_IOU}.", icon=":material/check:")
    else:
        _sums(found)
    top = st.container()
    left, right = shell.stack("failures", [3, 2])
    if not found.failing.empty:
        with left:
            _browse(run.name, split, found, _options(found), top)
    with right:
        _card(run, split, found)
    _below(run, split, found)


class _Options(NamedTuple):
    """What the filters offer, and what the table needs beside its rows.

    Attributes:
        counts: How many classes fail for each reason code.
        groups: Of the failing classes.
        names: Of all classes, by id.
        rows: The failing classes as the table shows them.
    """

    counts: dict[str, int]
    groups: list[str]
    names: dict[int, str]
    rows: pd.DataFrame


def _options(found: failure_frames.Overview) -> _Options:
    names = frames.labels(found.table)
    kinds = zip(found.reasons["kind"], found.reasons["classes"], strict=True)
    return _Options(
        {str(code): int(classes) for code, classes in kinds},
        [str(group) for group in found.groups["kind"]],
        names,
        failure_frames.rows(found.failing, names, counted=frames.has_train_counts(found.table)),
    )


@st.fragment
def _browse(
    run_name: str,
    split: str,
    found: failure_frames.Overview,
    options: _Options,
    top: DeltaGenerator,
) -> None:
    """Filters and table; a filter draws only these again."""
    with top:
        shown = _filters(found.failing, options)
    _table(shown, found, options, run_name, split)


@st.fragment(key=_CARD)
def _card(run: shell.Context, split: str, found: failure_frames.Overview) -> None:
    """Why the chosen class fails, beside the table."""
    with state.url(fragment=True):
        class_id = picks.seed([int(class_id) for class_id in found.table["class_id"]])
        if class_id is not None:
            with st.container(border=True):
                failure_detail.card(failure_detail.Chosen(run, split, found.table, class_id))
        elif not found.failing.empty:
            st.info("Pick a row to see why that class fails.", icon=":material/touch_app:")
            st.markdown(_meanings([str(code) for code in found.reasons["kind"]]))


@st.fragment(key=_BELOW)
def _below(run: shell.Context, split: str, found: failure_frames.Overview) -> None:
    """Where the chosen class goes wrong, and its margin."""
    class_id = st.session_state[state.widget_key("class")]
    if class_id is not None:
        chosen = failure_detail.Chosen(run, split, found.table, int(class_id))
        failure_detail.examples(chosen)
        failure_detail.margins(chosen)


def _headline(found: failure_frames.Overview) -> None:
    absent = int((found.table["reason"] == "absent_from_val").sum())
    scored = len(found.table) - absent
    failing = len(found.failing) - absent
    said = (
        f"{failing:,} of {scored:,} scored classes are below an IoU of {FINE_IOU}"
        + (f"; {absent:,} more are absent from this split" if absent else "")
        + "."
    )
    if found.gain == found.gain:
        said += (
            f" Mean IoU is {shell.number(found.miou)}; with every pixel of theirs right it would "
            f"be {shell.number(found.miou + found.gain)}."
        )
    st.caption(said)


def _sums(found: failure_frames.Overview) -> None:
    """How many classes fail for each reason and in each group."""
    left, right = shell.stack("sums", [3, 2])
    unit = ":small[:gray[bar: share of what is missing to a mean IoU of 1, if all were mended]]"
    with left:
        st.markdown(f"**Reasons** {unit}")
        rows = found.reasons.to_dict("records")
        st.html(bars([_bar(row, frames.reason_text(row["kind"]), "") for row in rows]))
    with right:
        st.markdown("**Groups**")
        rows = found.groups.to_dict("records")
        colors = [GROUPS.get(str(row["kind"]), MISSING) for row in rows]
        pairs = zip(rows, colors, strict=True)
        st.html(bars([_bar(row, str(row["kind"]), color) for row, color in pairs]))


def _bar(row: dict[Any, Any], name: str, color: str) -> Bar:
    gain = float(row["gain"])
    known = gain == gain
    return Bar(
        name=name,
        color=color,
        share=float(row["share"]) if known else 0.0,
        number=f"{int(row['classes']):,} " + ("class" if row["classes"] == 1 else "classes"),
        note=f"{gain:+.4f} mIoU · {row['share']:.0%}" if known else "",
    )


def _filters(failing: pd.DataFrame, options: _Options) -> pd.DataFrame:
    """The row of filters; returns the failing classes that pass, largest gain first."""
    counts = options.counts
    reasons = st.pills(
        "Reason",
        list(counts),
        selection_mode="multi",
        format_func=lambda code: f"{shell.plain(frames.reason_text(code))} · {counts[code]:,}",
        key="failure_reasons",
        help=_meanings(list(counts)),
        wrap=True,
    )
    columns = shell.flow("filters_failures", [2, 3, 3])
    text = columns[0].text_input("Search", placeholder="name or id", key="failure_search")
    picked = columns[1].pills(
        "Group",
        options.groups,
        selection_mode="multi",
        format_func=shell.plain,
        key="failure_groups",
        wrap=True,
    )
    return frames.filter_classes(failing, text=text, groups=picked, reasons=reasons)


def _meanings(codes: Sequence[str]) -> str:
    """What the reasons mean, as a Markdown list."""
    known = [code for code in REASONS if code in codes]
    return "\n".join(f"- **{REASONS[code].words}**: {REASONS[code].meaning}." for code in known)


def _table(
    shown: pd.DataFrame,
    found: failure_frames.Overview,
    options: _Options,
    run_name: str,
    split: str,
) -> None:
    view = options.rows.loc[shown.index]
    key = f"failure_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        picks.take(frames.selected_class(st.session_state.get(key), view), _CARD, _BELOW)

    with st.container(horizontal=True, vertical_alignment="center"):
        said = f"{len(shown):,} of {len(found.failing):,} failing classes, largest gain first."
        st.caption(said, width="content")  # the table's own buttons show up at the right
        st.download_button(
            "Download CSV",
            lambda: (
                failure_frames.export(found.failing, options.names).to_csv(index=False).encode()
            ),
            file_name=f"failures_{run_name}_{split}.csv",
            mime="text/csv",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
            help="All failing classes with all columns.",
        )
    shell.pick_table(
        view,
        pick,
        key=key,
        height=_HEIGHT,
        columns=_columns(float(found.table["gain"].max())),
        by_cell=True,
    )


def _columns(top: float) -> dict[str, Any]:
    column = st.column_config
    share: dict[str, Any] = {"format": "percent", "width": 84}
    return {
        "name": column.TextColumn("Class", width=156),
        "gain": column.ProgressColumn(
            "mIoU gain", width=92, format="%.5f", min_value=0.0,
            max_value=top if top > 0 else 1.0,
            help="What mean IoU would rise by if every wrong pixel of the class were right.",
        ),
        "iou": column.NumberColumn("IoU", width=56, format="%.3f"),
        "reason": column.TextColumn("Reason", width=162),
        "taken_by": column.TextColumn(
            "Most go to", width=140, help="The other class that takes most of its pixels."
        ),
        "taken_share": column.NumberColumn("Share", help="Of its labelled pixels.", **share),
        "train_images": column.NumberColumn(
            "Trained on", width=84, help="Training images that show it."
        ),
        "group": column.TextColumn("Group", width=80),
        "val_images": column.NumberColumn("Images", width=70, help="Of this split, that show it."),
        "precision": column.NumberColumn("Precision", width=80, format="%.3f"),
        "recall": column.NumberColumn("Recall", width=80, format="%.3f"),
        "boundary_share": column.NumberColumn(
            "Near outlines", help="Of its wrong pixels, close to a boundary of the truth.", **share
        ),
        "unverified_share": column.NumberColumn(
            "Not checked", help="Of its false alarms, in images nobody checked for it.", **share
        ),
        "class_id": column.NumberColumn("Id", width=56, format="%d"),
    }  # fmt: skip


if __name__ == "__main__":
    page()
