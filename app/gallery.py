"""A page of small pictures with a line of text each, as one element; a click opens one."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import data, links, shell, state
from app.assets import asset

PAGE = 24
"""Pictures in view at once."""

_component = st.components.v2.component(
    "workbench_gallery",
    html='<div class="gallery"></div>',
    css=asset("gallery.css"),
    js=asset("canvas.js", "gallery.js"),
)


def show(
    run: shell.Context,
    split: str,
    pictures: Sequence[tuple[str, str]],
    *,
    key: str,
    class_id: int | None = None,
) -> None:
    """Draws the pictures; a click on one goes to the page Predictions with it.

    Args:
        run: The open run.
        split: The evaluated split in view.
        pictures: Id and text of each, in order.
        key: Identity on the page.
        class_id: The class to show there; None leaves the choice as it is.
    """
    urls = data.thumbnails(run.path, split, [image_id for image_id, _ in pictures])
    query = {"run": run.name} | ({} if class_id is None else {"class": str(class_id)})
    shown = [
        {"id": image_id, "label": label, "url": urls.get(image_id)} for image_id, label in pictures
    ]
    result = _component(
        key=key, data={"pictures": shown, "query": query}, on_open_change=lambda: None
    )
    opened = result.get("open")
    if isinstance(opened, str) and opened in {image_id for image_id, _ in pictures}:
        state.choose("image", opened)
        if class_id is not None:
            state.choose("class", class_id)
        st.switch_page(links.PREDICTIONS, query_params=query | {"image": opened})
