"""Streamlit's large scripts, asked for before the page knows that it needs them.

The browser gets the code of charts and tables only when the first of them arrives, and then
spends as long on it as Python spent on the page. Asked for at once, both work side by side.
"""

from __future__ import annotations

import functools
import json
import os
import re

import streamlit as st
from streamlit.file_util import get_static_dir

CHART = "PlotlyChart"
TABLE = "DataFrame"
_NEEDED: dict[str, tuple[str, ...]] = {  # by page; not listed: both
    "predictions": (TABLE,),
    "failures": (TABLE,),
    "vocabulary": (),
}
_SCRIPT = """<style>.st-key-preload {{ display: none; }}</style><script>
(() => {{
  const own = document.querySelector('script[type="module"][src*="/static/js/"]');
  if (own) for (const name of {names}) import(new URL(name, own.src).href).catch(() => {{}});
}})();
</script>"""


def send(page: str) -> None:
    """Tells the browser what a page will need; nothing where Streamlit names its files anew.

    Args:
        page: Its path in the address, "" for the first.
    """
    found = files(_names(os.path.join(get_static_dir(), "static", "js")), needed(page))
    if found:
        with st.container(key="preload"):
            st.html(_SCRIPT.format(names=json.dumps(found)), unsafe_allow_javascript=True)


def needed(page: str) -> tuple[str, ...]:
    """The scripts that a page needs to draw what is seen first."""
    return _NEEDED.get(page, (CHART, TABLE))


def files(names: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    """The files among ``names`` that hold the scripts wanted: "PlotlyChart.D9Z0_fxz.js"."""
    patterns = [re.compile(rf"{re.escape(one)}\.[\w-]+\.js") for one in wanted]
    return [name for one in patterns for name in names if one.fullmatch(name)]


@functools.cache
def _names(folder: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()
