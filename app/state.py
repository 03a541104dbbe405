"""What the user chose: held in the session, mirrored in the URL so that it can be shared.

A page link drops the query string; the session remembers. A changed URL (a pasted link,
the browser's back button) wins over the session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

import streamlit as st

T = TypeVar("T")

_PUBLISHED = "published_choices"


def widget_key(name: str) -> str:
    """Session key of the widget that holds a choice."""
    return f"choice_{name}"


def seed(name: str, options: Collection[T], default: T, parse: Callable[[str], T]) -> None:
    """Sets a widget's value before it is drawn.

    Args:
        name: Of the choice, and of the URL parameter.
        options: Allowed values.
        default: The value when nothing allowed was chosen.
        parse: Turns the URL's text into a value; a ValueError counts as not allowed.
    """
    key = widget_key(name)
    in_url = st.query_params.get(name)
    if in_url is not None and in_url != st.session_state.get(f"url_{name}"):
        try:
            st.session_state[key] = parse(in_url)
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


@contextmanager
def url() -> Iterator[None]:
    """Writes what is published within into the URL, at once: one step in the history."""
    st.session_state[_PUBLISHED] = []
    try:
        yield
    finally:  # also where a page stops early
        before = st.query_params.to_dict()
        chosen = {name: st.session_state[f"url_{name}"] for name in st.session_state[_PUBLISHED]}
        after = {name: text for name, text in (before | chosen).items() if text is not None}
        if after != before:
            st.query_params.from_dict(after)


def choose(name: str, value: object) -> None:
    """Makes a choice from a callback, as if the user had used the widget."""
    st.session_state[widget_key(name)] = value
