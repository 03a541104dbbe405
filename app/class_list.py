"""A short list of classes with a bar each, whose names open the page of the class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from app import shell, state
from app.assets import asset


class Row(NamedTuple):
    """One class of the list.

    Attributes:
        name: Any text.
        color: "#rrggbb".
        share: Length of the bar, 0..1.
        number: What the bar stands for, as text.
        note: Further text, in a lighter tone.
        truth: Whether it is the true class, which stands out.
        open: The class whose page the name opens, None for none.
    """

    name: str
    color: str
    share: float
    number: str
    note: str
    truth: bool
    open: int | None


_component = st.components.v2.component(
    "workbench_class_list",
    html='<div class="list"></div>',
    css=asset("class_list.css"),
    js=asset("canvas.js", "class_list.js"),
)


def show(rows: Sequence[Row], titles: Sequence[str], *, key: str) -> None:
    """Draws the list; a click on a name goes to the page of that class.

    Args:
        rows: From top to bottom.
        titles: Of the four columns: name, bar, number, note.
        key: Identity on the page.
    """
    result = _component(
        key=key,
        data={"rows": [row._asdict() for row in rows], "titles": list(titles)},
        on_open_change=lambda: None,
    )
    opened = result.get("open")
    if isinstance(opened, int) and opened in {row.open for row in rows}:
        state.choose("class", opened)
        st.switch_page(
            "views/classes.py",
            query_params={"run": shell.context().name, "class": str(opened)},
        )
