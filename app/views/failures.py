"""Rare-class failures: every class that fails, why, and what mending it would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import data_failures, failure_detail, failure_frames, frames, shell, state
from app.bars import Bar, bars
from workbench.colors import GROUPS, MISSING
from workbench.evaluation.failures import FINE_IOU, REASONS

_HEIGHT = 470
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
    _explore(run, split)


@st.fragment
def _explore(run: shell.Context, split: str) -> None:
    """Filters, table and the chosen class; a click in it draws nothing else again."""
    found = data_failures.overview(run.path, split)
    if found is None:  # deleted while it was open
        return
    with state.url(fragment=True):
        ids = [int(class_id) for class_id in found.table["class_id"]]
        state.seed("class", [None, *ids], None, int)
        chosen = st.session_state[state.widget_key("class")]
        state.publish("class", chosen)
        # A choice without a widget would be forgotten when another page is opened.
        st.session_state[state.widget_key("class")] = chosen
        if found.failing.empty:
            _chosen(run, split, found, chosen, st.container())
            return
        shown = _filters(found)
        left, right = shell.stack("failures", [3, 2])
        # First what a click asks for: the table is slower to draw, and was there before.
        below = st.container()
        with below:
            _chosen(run, split, found, chosen, right)
        with left:
            _table(shown, found, run.name, split)


def _chosen(
    run: shell.Context,
    split: str,
    found: failure_frames.Overview,
    class_id: int | None,
    place: DeltaGenerator,
) -> None:
    """Why the chosen class fails, beside the table and below it."""
    if class_id is None:
        if not found.failing.empty:
            with place:
                st.info("Pick a row to see why that class fails.", icon=":material/touch_app:")
                st.markdown(_meanings([str(code) for code in found.reasons["kind"]]))
        return
    chosen = failure_detail.Chosen(run, split, found.table, class_id)
    with place, st.container(border=True):
        failure_detail.card(chosen)
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


def _filters(found: failure_frames.Overview) -> pd.DataFrame:
    """The row of filters; returns the failing classes that pass, largest gain first."""
    failing = found.failing
    codes = [str(code) for code in found.reasons["kind"]]
    counts = dict(zip(codes, found.reasons["classes"], strict=True))
    reasons = st.pills(
        "Reason",
        codes,
        selection_mode="multi",
        format_func=lambda code: f"{shell.plain(frames.reason_text(code))} · {counts[code]:,}",
        key="failure_reasons",
        help=_meanings(codes),
        wrap=True,
    )
    columns = shell.flow("filters_failures", [2, 3, 3])
    text = columns[0].text_input("Search", placeholder="name or id", key="failure_search")
    picked = columns[1].pills(
        "Group",
        [str(group) for group in found.groups["kind"]],
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


def _table(shown: pd.DataFrame, found: failure_frames.Overview, run_name: str, split: str) -> None:
    names = frames.labels(found.table)
    counted = frames.has_train_counts(found.table)
    view = pd.DataFrame(
        {
            "name": shown["name"],
            "gain": shown["gain"],
            "iou": shown["iou"],
            "reason": [frames.reason_text(code) for code in shown["reason"]],
            "taken_by": [names.get(int(other), "") for other in shown["taken_by"]],
            "taken_share": shown["taken_share"].where(shown["taken_by"] >= 0),
            "train_images": shown["train_images"] if counted else None,
            "group": shown["group"],
            "val_images": shown["val_images"],
            "precision": shown["precision"],
            "recall": shown["recall"],
            "boundary_share": shown["boundary_share"],
            "unverified_share": shown["unverified_share"],
            "class_id": shown["class_id"],
        }
    )
    optional = [name for name in ("boundary_share", "unverified_share") if view[name].isna().all()]
    view = view.drop(columns=optional)
    key = f"failure_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        picked = frames.selected_row(st.session_state.get(key), view, "class_id")
        if picked is not None:
            state.choose("class", int(str(picked)))

    with st.container(horizontal=True, vertical_alignment="center"):
        said = f"{len(shown):,} of {len(found.failing):,} failing classes, largest gain first."
        st.caption(said, width="content")  # the table's own buttons show up at the right
        st.download_button(
            "Download CSV",
            lambda: failure_frames.export(found.failing, names).to_csv(index=False).encode(),
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
        "name": column.TextColumn("Class", width=160),
        "gain": column.ProgressColumn(
            "mIoU gain", width=104, format="%.5f", min_value=0.0,
            max_value=top if top > 0 else 1.0,
            help="What mean IoU would rise by if every wrong pixel of the class were right.",
        ),
        "iou": column.NumberColumn("IoU", width=60, format="%.3f"),
        "reason": column.TextColumn("Reason", width=162),
        "taken_by": column.TextColumn(
            "Most go to", width=160, help="The other class that takes most of its pixels."
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
