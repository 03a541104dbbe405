"""The pages of the app, in the order of the sidebar, and how to add one of your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from workbench.errors import ConfigError
from workbench.plugins import check_own_name, load_plugins


class _Page(NamedTuple):
    """What draws a page: a file below this folder, or a function; and its entry in the sidebar."""

    body: str | Callable[[], None]
    title: str
    icon: str


PAGES: Final[dict[str, _Page]] = {
    "overview": _Page("views/overview.py", "Overview", ":material/monitoring:"),
    "predictions": _Page("views/predictions.py", "Predictions", ":material/image_search:"),
    "classes": _Page("views/classes.py", "Classes", ":material/table_rows:"),
    "failures": _Page("views/failures.py", "Rare-class failures", ":material/troubleshoot:"),
    "class_map": _Page("views/class_map.py", "Class map", ":material/scatter_plot:"),
    "vocabulary": _Page("views/vocabulary.py", "Vocabulary", ":material/edit_note:"),
    "memory": _Page("views/memory.py", "Memory", ":material/memory:"),
}
"""Path in the address -> page; the first is the one that opens."""

_OURS: Final = frozenset(PAGES)


def register_page(name: str, body: Callable[[], None], title: str, icon: str) -> None:
    """Adds a page of your own behind ours, for all sessions of this server.

    Args:
        name: Its path in the address: letters, digits, ``_``, ``.`` and ``-``; registering a
            name again replaces the page.
        body: Draws the page of the run that is open (``app.shell.context()``).
        title: In the sidebar.
        icon: ``:material/...:`` or an emoji.

    Raises:
        ConfigError: The name is one of our pages', or cannot be a name.
    """
    check_own_name("register_page", name, _OURS)
    PAGES[name] = _Page(body, title, icon)


def all_pages() -> list[StreamlitPage]:
    """All pages, those of ``WORKBENCH_PLUGINS`` among them; stops with a line if one is broken."""
    try:
        load_plugins()
    except ConfigError as error:
        from app import shell  # loads pandas and plotly, which nobody waits for here

        st.error(shell.plain(error))
        st.stop()
    first = next(iter(PAGES))
    return [
        st.Page(page.body, title=page.title, icon=page.icon, url_path=name, default=name == first)
        for name, page in PAGES.items()
    ]
