"""What all pages share: the run that is open, notes on what is missing, safe text."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import bars, data, frames, state
from workbench.runs import RunInfo

REPOSITORY = Path(__file__).resolve().parents[1]

_CONTEXT = "workbench_context"
_STYLE = """
[data-testid="stMainBlockContainer"] { padding: 2.6rem 2.5rem 3rem; }
[data-testid="stMainBlockContainer"] h1 { padding-top: 0; }
[class*="st-key-flow"] [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
[class*="st-key-flow"] [data-testid="stColumn"] { min-width: var(--least, 7.2rem); }
[class*="st-key-flow_filters"] { --least: 13.5rem; }
@media (max-width: 1180px) {
  [class*="st-key-stack"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    { flex-wrap: wrap; }
  [class*="st-key-stack"] > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"]
    > [data-testid="stColumn"] { min-width: 100%; }
}
"""
_BADGES = {
    "done": ("done", "green"),
    "running": ("training", "blue"),
    "interrupted": ("interrupted", "orange"),
    "failed": ("failed", "red"),
    "unknown": ("no status", "gray"),
}


@dataclass(frozen=True)
class Context:
    """The run that the pages show.

    Attributes:
        path: Its folder.
        name: Its name.
        split: The evaluated split in view; None before the first evaluation.
        runs: All runs in the folder, in the order of the picker.
    """

    path: str
    name: str
    split: str | None
    runs: tuple[RunInfo, ...]

    def command(self, verb: str) -> str:
        """The shell command that makes something for this run."""
        return f"workbench {verb} {shlex.quote(_short(self.path))}"


def runs_folder(argv: Sequence[str]) -> Path:
    """Where the runs are: ``--runs DIR``, else ``runs`` here, else the repository's own."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runs", type=Path)
    given, _ = parser.parse_known_args(list(argv))
    if given.runs is not None:
        return Path(given.runs)
    here = Path.cwd() / "runs"
    return here if here.is_dir() else REPOSITORY / "runs"


@contextmanager
def open_run() -> Iterator[None]:
    """Draws the run picker in the sidebar; within, pages show that run."""
    with state.url():
        _pick_run()
        try:
            yield
        finally:  # also where a page stops early
            _keep_choices()


def _pick_run() -> None:
    st.html(f"<style>{_STYLE}{bars.STYLE}</style>")
    folder = runs_folder(sys.argv[1:])
    found = data.runs(folder)
    if not found.shown:
        _explain_no_runs(folder, found)
        st.stop()
    names = [run.name for run in found.shown]
    wanted = st.query_params.get("run")
    state.seed("run", names, names[0], str)
    with st.sidebar:
        name = st.selectbox("Run", names, key=state.widget_key("run"))
        info = found.shown[names.index(name)]
        splits = data.splits(str(info.path))
        split = splits[0] if splits else None
        if len(splits) > 1:
            state.seed("split", splits, splits[0], str)
            split = st.selectbox("Evaluated on", splits, key=state.widget_key("split"))
            state.publish("split", split)
        _describe(info)
        _say_refused(found)
    if wanted is not None and wanted not in names:
        st.warning(f"There is no run {plain(wanted)} here; this is {plain(name)}.")
    state.publish("run", name)
    st.session_state[_CONTEXT] = Context(str(info.path), name, split, tuple(found.shown))


def _keep_choices() -> None:
    """Keeps the chosen class and picture, also in the URL, on pages that do not show them."""
    run = context()
    if not state.is_published("class"):
        table = data.vocabulary(run.path)
        ids = [] if table is None else [int(one) for one in table["class_id"]]
        state.keep("class", [None, *ids], None, int)
    if not state.is_published("image"):
        kept = [] if run.split is None else data.samples(run.path, run.split)
        state.keep("image", [None, *kept], None, str)


def context() -> Context:
    """The run that ``open_run`` opened."""
    found: Context = st.session_state[_CONTEXT]
    return found


def state_words(status: str) -> str:
    """A run's state in words: "training", "no status"."""
    return _BADGES.get(status, (status, ""))[0]


def _describe(info: RunInfo) -> None:
    label, color = _BADGES.get(info.status, (info.status, "gray"))
    parts = [f":{color}-badge[{plain(label)}]"]
    if info.dataset:
        parts.append(plain(info.dataset))
    if info.classes:
        parts.append(f"{info.classes:,} classes")
    st.markdown(" · ".join(parts), width="stretch")


def _explain_no_runs(folder: Path, found: data.Runs) -> None:
    st.title("No runs yet")
    st.info(f"There is no run in {plain(_short(str(folder)))}. Train one, or give another folder.")
    st.code(
        "workbench sample shapeworld data/small --images 300 --size 64 --classes 40\n"
        "workbench prepare shapeworld data/small\n"
        "workbench train --preset smoke --data.root data/small --run runs/first\n"
        "streamlit run app/main.py -- --runs DIR",
        language="bash",
    )
    _say_refused(found)


def _say_refused(found: data.Runs) -> None:
    for name, odd in found.refused.items():
        what = "the run itself" if odd == "." else plain(odd)
        said = f"{what} leads out of the folder of runs, or is no file. Put a copy there instead."
        st.warning(f"**{plain(name)}** is not shown: {said}")


def dark() -> bool:
    """Whether the page is dark; light where the browser has not told."""
    return bool(st.context.theme.type == "dark")


def explain_missing(what: str, command: str | None) -> None:
    """Says kindly that something is not there yet, and what makes it."""
    st.info(what, icon=":material/info:")
    if command is not None:
        st.code(command, language="bash")


def need_evaluation(run: Context) -> tuple[str, pd.DataFrame]:
    """The split in view and its class table; explains and stops where there is none."""
    table = None if run.split is None else data.per_class(run.path, run.split)
    if run.split is None or table is None:
        explain_missing(
            "This run has not been evaluated yet, so there is nothing to show here. "
            "Evaluate it, then come back:",
            run.command("evaluate"),
        )
        st.stop()
    return run.split, table


def flow(name: str, widths: Sequence[float]) -> Sequence[DeltaGenerator]:
    """Columns of one row that move to the next line where they would get too narrow.

    Args:
        name: Unique on the page; filters need more room: begin it with "filters".
        widths: Relative widths.
    """
    with st.container(key=f"flow_{name}"):
        return st.columns(list(widths), gap="small", vertical_alignment="bottom")


def stack(name: str, widths: Sequence[float]) -> Sequence[DeltaGenerator]:
    """Columns that stand below one another on a window narrower than 1180 pixels."""
    with st.container(key=f"stack_{name}"):
        return st.columns(list(widths), gap="medium")


def plain(text: object) -> str:
    """Text for Markdown: every sign that Markdown or Streamlit would act on is escaped."""
    one_line = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~<>$:&\"'^=@])", r"\\\1", one_line)


def show_plot(
    figure: go.Figure,
    key: str,
    *,
    on_select: Callable[[], None] | None = None,
    modes: Iterable[str] = ("points",),
    toolbar: bool = False,
) -> Mapping[str, Any]:
    """Draws a figure at full width in the page's theme.

    Args:
        figure: What to draw.
        key: Stable identity of the chart; its selection lives under it.
        on_select: Called when a selection was made; None leaves the chart deaf.
        modes: "points", "box", "lasso": how one can select.
        toolbar: Whether plotly's own buttons show on hovering.

    Returns:
        The selection event, empty without ``on_select``.
    """
    config: dict[str, Any] = {
        "displaylogo": False,
        "displayModeBar": "hover" if toolbar else False,
        "scrollZoom": toolbar,
    }
    config["modeBarButtonsToRemove"] = ["toImage", "resetScale2d", "zoomIn2d", "zoomOut2d"]
    if on_select is None:
        st.plotly_chart(figure, key=key, width="stretch", config=config)
        return {}
    selection: Any = tuple(modes)
    event: Any = st.plotly_chart(
        figure,
        key=key,
        width="stretch",
        config=config,
        on_select=on_select,
        selection_mode=selection,
    )
    return event if isinstance(event, Mapping) else {}


def pick_table(
    view: pd.DataFrame,
    pick: Callable[[], None],
    *,
    key: str,
    height: int | Literal["content"],
    columns: Mapping[str, Any],
    by_cell: bool = False,
    row_height: int | None = None,
) -> None:
    """Draws a table at full width of which one row can be picked.

    Args:
        view: What is shown.
        pick: Called after a click; reads the selection under ``key``.
        key: Identity of the table; a new one for other rows forgets the selection.
        height: Pixels, or as high as the rows.
        columns: Streamlit's settings of the columns.
        by_cell: Whether a click anywhere in a row picks it, not only its box.
        row_height: Pixels.
    """
    mode: list[Any] = ["single-row", "single-cell"] if by_cell else ["single-row"]
    st.dataframe(
        frames.without_formulas(view),
        key=key,
        on_select=pick,
        selection_mode=mode,
        hide_index=True,
        width="stretch",
        height=height,
        row_height=row_height,
        placeholder="–",
        column_config=columns,
    )


def number(value: object, digits: int = 3) -> str:
    """A share as text; a dash where it is not defined."""
    if isinstance(value, (int, float)) and value == value:
        return f"{value:.{digits}f}"
    return "–"


def duration(seconds: object) -> str:
    """Seconds in words: "1 h 12 min"; "" where not known."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e9:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _short(path: str) -> str:
    """A path as one would type it: relative where it lies below the current folder."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
