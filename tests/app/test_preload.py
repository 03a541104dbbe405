"""The scripts that the browser is asked to load early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.file_util import get_static_dir
from streamlit.testing.v1 import AppTest

from app import preload

FOLDER = Path(get_static_dir()) / "static" / "js"


def test_the_installed_streamlit_has_both_once() -> None:
    names = tuple(path.name for path in FOLDER.iterdir())
    found = preload.files(names, (preload.CHART, preload.TABLE))
    assert [name.partition(".")[0] for name in found] == ["PlotlyChart", "DataFrame"]
    assert all((FOLDER / name).stat().st_size > 100_000 for name in found)


@pytest.mark.parametrize(
    "names",
    [(), ("PlotlyChart.js", "xPlotlyChart.a.js", "PlotlyChart.a.js.map", "DataFrame.a.b.js")],
)
def test_nothing_is_guessed(names: tuple[str, ...]) -> None:
    assert preload.files(names, ("PlotlyChart", "DataFrame")) == []


@pytest.mark.parametrize(
    ("page", "charts", "tables"), [(None, 1, 1), ("failures", 0, 1), ("vocabulary", 0, 0)]
)
def test_a_page_sends_what_it_needs(
    synthetic_runs: Path,
    open_app: Callable[..., AppTest],
    page: str | None,
    charts: int,
    tables: int,
) -> None:
    app = open_app(synthetic_runs, None if page is None else f"views/{page}.py")
    sent = "".join(str(part.value) for part in app.get("html"))
    assert sent.count("PlotlyChart.") == charts
    assert sent.count("DataFrame.") == tables
