"""Vocabulary: classes added, renamed, merged and left out, without training again."""

from __future__ import annotations

import streamlit as st

from app import data_classes, shell


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Vocabulary")
    st.caption(
        "Each class is one row of a table beside the network, so classes can be added, renamed, "
        "merged or left out without training. Edits live in this browser session; the run on "
        "disk stays as it is."
    )
    if not data_classes.has_checkpoint(run.path):
        shell.explain_missing(*data_classes.why_not(run.path))
        st.stop()
    with st.spinner("Loading the network ..."):
        from app import edited, vocabulary_body  # load torch

        edited.current(run.path)
    vocabulary_body.show(run)


if __name__ == "__main__":
    page()
