"""Classes: every class in a table and in a plot against its frequency; one in detail."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import class_detail, class_rows, frames, picks, shell, state
from workbench import charts

_HEIGHT = 480
_DETAIL = "class_detail"


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Classes")
    split, table = shell.need_evaluation(run)
    _browse(table, class_rows.rows(table), class_rows.options(table))
    _detail(run, split, table)


@st.fragment
def _browse(table: pd.DataFrame, rows: pd.DataFrame, options: class_rows.Options) -> None:
    """Filters, table and plot; a filter draws only these again."""
    shown = _filters(table, options)
    left, right = shell.stack("classes", [3, 2])
    with left:
        _table(shown, table, rows.loc[shown.index])
    with right:
        _scatter(shown, counted=options.counted)


@st.fragment(key=_DETAIL)
def _detail(run: shell.Context, split: str, table: pd.DataFrame) -> None:
    """The chosen class; a click on a row or a point draws only this again."""
    with state.url(fragment=True):
        chosen = picks.seed([int(class_id) for class_id in table["class_id"]])
        if chosen is None:
            said = "Pick a row or a point to see that class in detail."
            st.info(said, icon=":material/touch_app:")
        else:
            st.divider()
            class_detail.show(run, split, table, chosen)
        picks.ring(chosen)


def _filters(table: pd.DataFrame, options: class_rows.Options) -> pd.DataFrame:
    """The row of filters; returns the rows that pass."""
    columns = shell.flow("filters_classes", [2, 2.4, 2, 2])
    text = columns[0].text_input("Search", placeholder="name or id", key="class_search")
    groups = columns[1].pills(
        "Group",
        options.groups,
        selection_mode="multi",
        format_func=shell.plain,
        key="class_groups",
    )
    supercategories = columns[2].multiselect(
        "Supercategory", options.supercategories, placeholder="any", key="class_supercategories"
    )
    reasons = columns[3].multiselect(
        "Trouble",
        options.reasons,
        format_func=frames.reason_text,
        placeholder="any",
        key="class_reasons",
    )
    return frames.filter_classes(
        table, text=text, groups=groups, supercategories=supercategories, reasons=reasons
    )


def _table(shown: pd.DataFrame, table: pd.DataFrame, view: pd.DataFrame) -> None:
    key = f"class_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        picks.take(frames.selected_class(st.session_state.get(key), view), _DETAIL)

    scored = int((shown["truth_pixels"] > 0).sum())
    st.caption(
        f"{len(shown):,} of {len(table):,} classes, {scored:,} of them scored, mean IoU "
        f"{shell.number(shown.loc[shown['truth_pixels'] > 0, 'iou'].mean())}."
    )
    shell.pick_table(
        view,
        pick,
        key=key,
        height=_HEIGHT,
        columns=_columns(),
        by_cell=True,
    )


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "class_id": column.NumberColumn("Id", width=48, format="%d"),
        "name": column.TextColumn("Class", width=190),
        "iou": column.ProgressColumn(
            "IoU", width=108, format="%.3f", min_value=0.0, max_value=1.0,
            help="Empty: the class does not occur in this split.",
        ),
        "group": column.TextColumn("Group", width=80),
        "train_images": column.NumberColumn(
            "Trained on", width=80, help="Training images that show it."
        ),
        "train_pixels": column.NumberColumn(
            "Trained px", width=80, format="compact", help="Training pixels of it."
        ),
        "val_images": column.NumberColumn(
            "Val images", width=80, help="Images of this split that show it."
        ),
        "reason": column.TextColumn("Trouble", width=160),
        "nearest": column.TextColumn("Nearest other class", width=170),
        "nearest_distance": column.NumberColumn(
            "Distance", width=80, format="%.3f", help="Between unit vectors, 0 to 2."
        ),
        "supercategory": column.TextColumn("Supercategory", width=120),
        "precision": column.NumberColumn("Precision", width=80, format="%.3f"),
        "recall": column.NumberColumn("Recall", width=80, format="%.3f"),
    }  # fmt: skip


def _scatter(shown: pd.DataFrame, *, counted: bool) -> None:
    def pick() -> None:
        ids = frames.selected_ids(st.session_state.get("iou_plot"))
        picks.take(ids[0] if ids else None, _DETAIL)

    st.caption("IoU against frequency. Click a point to open its class.")
    figure = charts.iou_against_images(
        shown,
        count="train_images" if counted else "val_images",
        unit="training images" if counted else "images of this split",
        height=_HEIGHT,
        dark=shell.dark(),
    )
    picks.undim(figure)
    shell.show_plot(figure, "iou_plot", on_select=pick, toolbar=True)


if __name__ == "__main__":
    page()
