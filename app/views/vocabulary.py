"""Vocabulary: classes added, renamed, merged and left out, without training again."""

from __future__ import annotations

import streamlit as st

from app import data_pictures, shell, vocabulary_body


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Vocabulary")
    st.caption(
        "Each class is one row of a table beside the network, so classes can be added, renamed, "
        "merged or left out without training. Edits live in this browser session; the run on "
        "disk stays as it is."
    )
    vocabulary_body.show(run)
    if data_pictures.has_model(run.path):
        data_pictures.warm_up(run.path)  # last: the page needs neither torch nor the network


if __name__ == "__main__":
    page()
