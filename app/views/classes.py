"""Classes: every class in a table and in a plot against its frequency; one in detail."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import class_detail, frames, shell, state
from workbench import charts

_HEIGHT = 480


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Classes")
    split, table = shell.need_evaluation(run)
    _explore(run, split, table)


@st.fragment
def _explore(run: shell.Context, split: str, table: pd.DataFrame) -> None:
    """Filters, table, plot and detail; a click in it draws nothing else again."""
    with state.url(fragment=True):
        ids = [int(class_id) for class_id in table["class_id"]]
        state.seed("class", [None, *ids], None, int)
        shown = _filters(table)
        left, right = shell.stack("classes", [3, 2])
        below = st.container()
        chosen = st.session_state[state.widget_key("class")]
        state.publish("class", chosen)
        # A choice without a widget would be forgotten when another page is opened.
        st.session_state[state.widget_key("class")] = chosen
        # First what a click asks for: table and plot are slower to draw, and were there before.
        with below:
            _detail(run, split, table, chosen)
        with left:
            _table(shown, table)
        with right:
            _scatter(shown)


def _detail(run: shell.Context, split: str, table: pd.DataFrame, chosen: int | None) -> None:
    if chosen is None:
        st.info("Pick a row or a point to see that class in detail.", icon=":material/touch_app:")
    else:
        st.divider()
        class_detail.show(run, split, table, int(chosen))


def _filters(table: pd.DataFrame) -> pd.DataFrame:
    """The row of filters; returns the rows that pass."""
    groups = [str(group) for group in frames.group_scores(table)["group"]]
    columns = shell.flow("filters_classes", [2, 2.4, 2, 2])
    text = columns[0].text_input("Search", placeholder="name or id", key="class_search")
    picked = columns[1].pills(
        "Group",
        groups,
        selection_mode="multi",
        format_func=shell.plain,
        key="class_groups",
    )
    super_names = sorted({str(name) for name in table["supercategory"] if str(name)})
    supercategories = columns[2].multiselect(
        "Supercategory", super_names, placeholder="any", key="class_supercategories"
    )
    codes = sorted({str(code) for code in table["reason"].dropna() if str(code)})
    reasons = columns[3].multiselect(
        "Trouble", codes, format_func=frames.reason_text, placeholder="any", key="class_reasons"
    )
    return frames.filter_classes(
        table, text=text, groups=picked, supercategories=supercategories, reasons=reasons
    )


def _table(shown: pd.DataFrame, table: pd.DataFrame) -> None:
    names = frames.labels(table)
    view = pd.DataFrame(
        {
            "name": shown["name"],
            "class_id": shown["class_id"],
            "iou": shown["iou"],
            "group": shown["group"],
            "train_images": shown["train_images"] if frames.has_train_counts(table) else None,
            "train_pixels": shown["train_pixels"] if frames.has_train_counts(table) else None,
            "val_images": shown["val_images"],
            "reason": [frames.reason_text(code) for code in shown["reason"]],
            "nearest": [
                names.get(int(other), "") if pd.notna(other) else ""
                for other in shown["nearest_class_id"]
            ],
            "nearest_distance": shown["nearest_distance"],
            "supercategory": shown["supercategory"],
            "precision": shown["precision"],
            "recall": shown["recall"],
        }
    )
    key = f"class_table_{abs(hash(tuple(view['class_id'])))}"

    def pick() -> None:
        picked = frames.selected_row(st.session_state.get(key), view, "class_id")
        if picked is not None:
            state.choose("class", int(str(picked)))

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
        "class_id": column.NumberColumn("Id", width=56, format="%d"),
        "name": column.TextColumn("Class", width=190),
        "iou": column.ProgressColumn(
            "IoU", width=120, format="%.3f", min_value=0.0, max_value=1.0,
            help="Empty: the class does not occur in this split.",
        ),
        "group": column.TextColumn("Group", width=80),
        "train_images": column.NumberColumn(
            "Trained on", width=84, help="Training images that show it."
        ),
        "train_pixels": column.NumberColumn(
            "Trained px", width=84, format="compact", help="Training pixels of it."
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


def _scatter(shown: pd.DataFrame) -> None:
    def pick() -> None:
        ids = frames.selected_ids(st.session_state.get("iou_plot"))
        if ids:
            state.choose("class", ids[0])

    st.caption("IoU against frequency. Click a point to open its class.")
    chosen = st.session_state[state.widget_key("class")]
    known = frames.has_train_counts(shown)
    figure = charts.iou_against_images(
        shown,
        count="train_images" if known else "val_images",
        unit="training images" if known else "images of this split",
        highlight=chosen,
        height=_HEIGHT,
        dark=shell.dark(),
    )
    shell.show_plot(figure, "iou_plot", on_select=pick, toolbar=True)


if __name__ == "__main__":
    page()
