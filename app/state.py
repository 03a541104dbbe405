"""What the user chose: held in the session, mirrored in the URL so that it can be shared.

A page link drops the query string; the session remembers. A changed URL (a pasted link,
the browser's back button) wins over the session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import streamlit as st

T = TypeVar("T")

_PUBLISHED = "published_choices"
_WRITTEN = "url_as_written"
_PAGE = "page"
_FRAGMENT = "fragment"
PIXEL_OF = "pixel_of"
"""In the session: the run, split and picture that the chosen pixel is of."""

# Who writes the URL of the script that runs in this thread. Not in the session: a quick click
# stops a script wherever it touches the session, and the mark would stay for good.
_open: ContextVar[str | None] = ContextVar("url_is_written_by", default=None)


def widget_key(name: str) -> str:
    """Session key of the widget that holds a choice."""
    return f"choice_{name}"


def asked_for(name: str) -> bool:
    """Whether the URL asks for something else than was published: a link, the back button."""
    in_url = st.query_params.get(name)
    return (
        in_url is not None
        and in_url != st.session_state.get(f"url_{name}")
        and _open.get() != _FRAGMENT
    )


def seed(name: str, options: Collection[T], default: T, parse: Callable[[str], T]) -> None:
    """Sets a widget's value before it is drawn.

    Args:
        name: Of the choice, and of the URL parameter.
        options: Allowed values.
        default: The value when nothing allowed was chosen.
        parse: Turns the URL's text into a value; a ValueError counts as not allowed.
    """
    key = widget_key(name)
    if asked_for(name):
        try:
            st.session_state[key] = parse(st.query_params[name])
        except ValueError:
            st.session_state[key] = default
    elif key not in st.session_state:
        st.session_state[key] = st.session_state.get(f"last_{name}", default)
    if st.session_state[key] not in options:
        st.session_state[key] = default


def publish(name: str, value: object) -> None:
    """Keeps a choice for the other pages, and for the URL; None takes it out."""
    st.session_state[f"last_{name}"] = value
    st.session_state[f"url_{name}"] = None if value is None else str(value)
    st.session_state.setdefault(_PUBLISHED, []).append(name)


def is_published(name: str) -> bool:
    """Whether this run of the page has published a choice."""
    return name in st.session_state.get(_PUBLISHED, ())


def keep(name: str, options: Collection[T], default: T, parse: Callable[[str], T]) -> T:
    """Keeps a choice that pages share, where no widget of this page holds it.

    Args:
        name: As for ``seed``, and so on.
        options: Allowed values.
        default: The value when nothing allowed was chosen.
        parse: Turns the URL's text into a value.

    Returns:
        The choice, which is published too.
    """
    seed(name, options, default, parse)
    chosen: T = st.session_state[widget_key(name)]
    publish(name, chosen)
    # Without a widget it would be forgotten when another page is opened.
    st.session_state[widget_key(name)] = chosen
    return chosen


@contextmanager
def url(*, fragment: bool = False) -> Iterator[None]:
    """Writes what is published within into the URL, at once: one step in the history.

    Args:
        fragment: A fragment that publishes wraps this around itself. When it runs alone, the
            browser's URL holds no new wish (after quick clicks it merely lags behind); within
            the run of a whole page it leaves everything to the page.
    """
    if _open.get() is not None:
        yield
        return
    _open.set(_FRAGMENT if fragment else _PAGE)
    try:
        st.session_state[_PUBLISHED] = []
        yield
    finally:  # also where a page stops early
        _open.set(None)
        before = st.query_params.to_dict()
        chosen = {name: st.session_state[f"url_{name}"] for name in st.session_state[_PUBLISHED]}
        after = {name: text for name, text in (before | chosen).items() if text is not None}
        late = fragment and after != st.session_state.get(_WRITTEN)  # `before` may lag behind
        if after != before or late:
            st.query_params.from_dict(after)
        st.session_state[_WRITTEN] = after


def choose(name: str, value: object) -> None:
    """Makes a choice from a callback, as if the user had used the widget."""
    # After quick clicks the browser's URL lags behind what was published; it is not a new wish.
    st.session_state[f"url_{name}"] = st.query_params.get(name)
    st.session_state[widget_key(name)] = value
