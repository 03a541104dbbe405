"""Links from page to page that keep what was chosen."""

from __future__ import annotations

import streamlit as st

from app import shell

PREDICTIONS = "views/predictions.py"
CLASSES = "views/classes.py"
FAILURES = "views/failures.py"
CLASS_MAP = "views/class_map.py"

_ICONS = {
    PREDICTIONS: ":material/image_search:",
    CLASSES: ":material/table_rows:",
    FAILURES: ":material/troubleshoot:",
    CLASS_MAP: ":material/scatter_plot:",
}


def to(page: str, label: str, *, class_id: int | None = None, image: str | None = None) -> None:
    """Draws a link to another page.

    Args:
        page: One of the pages named above.
        label: What it says, safe for Markdown.
        class_id: The class to show there; None leaves the choice as it is.
        image: The picture to show there; None leaves the choice as it is.
    """
    query = {"run": shell.context().name}
    if class_id is not None:
        query["class"] = str(class_id)
    if image is not None:
        query["image"] = image
    st.page_link(page, label=label, icon=_ICONS[page], query_params=query)
