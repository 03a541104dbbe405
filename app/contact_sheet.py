"""The contact sheet: kept pictures with their scores, a page of thumbnails at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd
import streamlit as st

from app import data, frames, pictures, shell, state

_FIRST = "sheet_first"
_SEEN = "sheet_seen"


def show(run: shell.Context, split: str, ranked: pd.DataFrame, at: int) -> None:
    """Draws the page of thumbnails that holds the picture in view, or the page turned to.

    Args:
        run: The run that is open.
        split: The evaluated split.
        ranked: From ``pictures.find_pictures``.
        at: Row of the picture in view.
    """
    st.subheader("All pictures" if len(ranked) > 1 else "The only picture")
    count = len(ranked)
    seen = (run.path, split, at, count, str(ranked["image_id"].iloc[0]))
    if st.session_state.get(_SEEN) != seen:  # another picture: the sheet opens at its page
        st.session_state[_SEEN] = seen
        st.session_state[_FIRST] = pictures.page_of(at, count)[0]
    first, last = pictures.page_of(int(st.session_state.get(_FIRST, 0)), count)
    if count > pictures.PAGE:
        _turn(first, last, count)
    table = ranked.iloc[first:last].reset_index(drop=True)
    urls = data.thumbnails(run.path, split, [str(one) for one in table["image_id"]])
    table.insert(0, "picture", table["image_id"].map(urls))

    def pick() -> None:
        picked = frames.selected_row(st.session_state.get(key), table, "image_id")
        if picked is not None:
            state.choose("image", str(picked))

    names = hashlib.sha256("|".join(map(str, table["image_id"])).encode()).hexdigest()[:12]
    key = f"sheet_{names}"
    shell.pick_table(
        table,
        pick,
        key=key,
        height=420,
        columns=_columns(),
        row_height=64,
    )


def _turn(first: int, last: int, count: int) -> None:
    def turn(to: int) -> None:
        st.session_state[_FIRST] = to

    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous page",
            icon=":material/chevron_left:",
            disabled=first == 0,
            on_click=turn,
            args=(first - pictures.PAGE,),
            key="sheet_back",
        )
        st.button(
            "Next page",
            icon=":material/chevron_right:",
            disabled=last >= count,
            on_click=turn,
            args=(last,),
            key="sheet_forth",
        )
        st.markdown(f":gray[{first + 1:,} to {last:,} of {count:,}]")


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
