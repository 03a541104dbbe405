"""Entry point of the app: ``streamlit run app/main.py -- --runs DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts only this folder on the path; the pages import `app` and `workbench`.
_REPOSITORY = str(Path(__file__).resolve().parents[1])
# A file of ours: Streamlit would fetch a named icon from another host.
_ICON = str(Path(__file__).with_name("favicon.svg"))
if _REPOSITORY not in sys.path:
    sys.path.insert(0, _REPOSITORY)

from app import garbage, pages, preload  # noqa: E402

st.set_page_config(page_title="Workbench", page_icon=_ICON, layout="wide")

page = st.navigation(pages.all_pages())
preload.send(page.url_path)
# Only now: it loads pandas and plotly, while the browser works on what it was just sent.
with garbage.paused():
    from app import shell

with shell.open_run():
    page.run()
garbage.set_aside()
