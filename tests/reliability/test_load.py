"""The app under load: what the figures are made of, and in `make test-slow` a few people.

`make reliability` has twenty at it for ten minutes.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from helpers.load import changes, figures
from helpers.load.changes import Change, Widget, left, point_ids, possible
from helpers.load.figures import Act, Sample
from helpers.load.protocol import Lost, Tab
from helpers.load.work import run_load
from streamlit.proto.Element_pb2 import Element

from workbench.benchmarks import app_browser

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    *("open Overview", "open Predictions", "open Classes", "open Rare-class failures"),
    *("open Class map", "open Vocabulary", "open Memory"),
}


@pytest.mark.slow
def test_nobody_sees_an_error(tmp_path: Path) -> None:
    rows = run_load(
        REPOSITORY / "runs",
        "demo",
        tmp_path / "server.log",
        sessions=3,
        seconds=15.0,
        think=0.0,
        browser=False,
        seed=1,
    )
    whole, memory = rows[0], rows[-1]
    assert whole["problems"] == [] and whole["errors"] == whole["tracebacks"] == 0
    actions = {row["action"]: row["count"] for row in rows if row["what"] == "action"}
    assert set(actions) > PAGES  # other things were done too
    assert whole["acts"] == sum(actions.values()) > 21
    assert 2**26 < memory["resident_bytes"] < 2**32


@pytest.mark.slow
def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "app", tmp_path / "checkout" / "app")
    shell = tmp_path / "checkout" / "app" / "shell.py"
    begins = "def context() -> Context:\n"  # what every page calls, whichever is opened in time
    text = shell.read_text("utf-8")
    assert begins in text
    shell.write_text(text.replace(begins, f'{begins}    raise RuntimeError("x")\n'))
    whole, *rows = run_load(
        REPOSITORY / "runs",
        "demo",
        tmp_path / "server.log",
        sessions=1,
        seconds=6.0,
        warm_up=6.0,
        think=0.0,
        browser=False,
        checkout=tmp_path / "checkout",
    )
    opened = [row for row in rows if str(row.get("action", "")).startswith("open ")]
    errors = sum(row["errors"] for row in opened)
    assert errors > 0
    assert whole["tracebacks"] >= errors
    assert whole["errors"] >= 2 * errors
    assert whole["warm_up_acts"] > 0
    found = [one["count"] for one in whole["problems"] if one["what"].startswith("open ")]
    assert sum(found) > errors  # those of the warm-up too


def test_a_lost_connection_is_noticed(tmp_path: Path) -> None:
    port = app_browser.free_port()
    app = app_browser.serve(REPOSITORY / "runs", tmp_path / "server.log", port)
    with app as server, Tab(server.address) as tab:
        tab.open("memory")
        server.process.kill()
        with pytest.raises(Lost, match="connection lost"):
            tab.go("classes")


def test_latencies_by_hand() -> None:
    rng = random.Random(5)
    seconds = [rng.random() for _ in range(101)]
    acts = [Act("search", one, "") for one in seconds]
    acts += [Act("search", None, "no answer"), Act("button", None, "connection lost")]
    button, search = figures.latencies(acts)
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    assert search["p50"] == pytest.approx(statistics.median(seconds), abs=1e-4)
    assert search["p95"] == pytest.approx(cuts[94], abs=1e-4)
    assert search["slowest"] == pytest.approx(max(seconds), abs=1e-4)
    assert (search["count"], search["errors"]) == (101, 1)
    assert (button["count"], button["p50"], button["p95"], button["errors"]) == (0, None, None, 1)
    assert figures.problems([*acts, acts[-1]]) == [
        {"what": "button: connection lost", "count": 2},
        {"what": "search: no answer", "count": 1},
    ]


def test_memory_after_the_warm_up() -> None:
    before = [Sample(second, 9_000_000 - second) for second in range(0, 60, 2)]
    after = [Sample(second, 5_000_000 + 1000 * second) for second in range(60, 120, 3)]
    found = figures.memory([*before, *after], warm_up=60)
    assert found["bytes_per_minute"] == 60_000
    assert found["growth_bytes"] == 57_000  # from second 60 to second 117
    assert found["resident_bytes"] == 5_060_000
    assert found["growth_share"] == round(57_000 / 5_060_000, 4)
    assert found["peak_bytes"] == 9_000_000
    waves = [Sample(at, 10**9 + (-1) ** at * 10**8) for at in range(0, 1000)]
    assert abs(figures.memory(waves, warm_up=100)["growth_share"]) < 0.01
    with pytest.raises(ValueError, match="1 samples after 117 s"):
        figures.memory(after, warm_up=117)


def test_few_samples_are_kept_with_both_ends() -> None:
    samples = [Sample(at, at * 2**20) for at in range(301)]
    kept = figures.thinned(samples, 7)
    assert kept == [[50 * at, 50.0 * at] for at in range(7)]
    assert figures.thinned(samples[:3], 7) == [[0, 0.0], [1, 1.0], [2, 2.0]]


def widget(kind: str, name: str, fragment: str = "", path: tuple[int, ...] = (0,), **fields: Any):  # noqa: ANN201
    """A widget of a page, as Streamlit sends it."""
    element = Element()
    proto = getattr(element, kind)
    for field, value in {"id": name, **fields}.items():
        if isinstance(value, list):
            getattr(proto, field).extend(value)
        else:
            setattr(proto, field, value)
    return {name: Widget(kind, proto, fragment, path)}


def made(page: dict[str, Widget], seed: int = 0) -> list[Change]:
    return possible(page, random.Random(seed))


def test_widgets_get_values_that_they_offer() -> None:
    page = (
        widget("text_input", "t", "part")
        | widget("selectbox", "s", options=["a", "b"])
        | widget("slider", "k", min=1, max=9, step=2)
        | widget("slider", "w", options=["low", "high"])
        | widget("pagination", "p", num_pages=1300)
        | widget("button", "b")
        | widget("button", "off", disabled=True)
        | widget("selectbox", "none")
    )
    for seed in range(20):
        by = {(c.states or c.triggers)[0].id: c for c in made(page, seed)}
        assert set(by) == {"t", "s", "k", "w", "p", "b"}
        assert by["t"].states[0].string_value in changes.WORDS
        assert by["t"].action == "search" and by["t"].fragment == "part"
        assert by["s"].states[0].string_value in ("a", "b")
        assert by["k"].states[0].double_array_value.data[0] in (1, 3, 5, 7, 9)
        assert by["w"].states[0].string_array_value.data[0] in ("low", "high")
        assert 1 <= by["p"].states[0].int_value <= 1300
        assert by["b"].states == () and by["b"].triggers[0].trigger_value


def test_a_form_is_sent_as_a_whole() -> None:
    page = widget("text_input", "name", form_id="rename") | widget(
        "selectbox", "which", form_id="rename", options=["dog 1", "dog 2"]
    )
    assert made(page) == []
    page |= widget("button", "go", form_id="rename", is_form_submitter=True)
    (change,) = made(page)
    assert [state.id for state in change.states] == ["name", "which"]
    assert [state.id for state in change.triggers] == ["go"]
    names = {made(page, seed)[0].states[0].string_value for seed in range(30)}
    assert len(names) == 30  # classes may not share one
    adding = widget("button", "add", form_id="vocabulary_add", is_form_submitter=True)
    assert made(adding) == []
    marked = widget("button", "x-vocabulary_away_1", disabled=True)
    assert [change.action for change in made(adding | marked)] == ["form"]


def test_rows_and_points() -> None:
    table = pa.table({"name": [f"class {n}" for n in range(300)]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    page = widget("dataframe", "rows", selection_mode=[0])
    assert made(page) == []  # nothing to pick in an empty table
    page["rows"].proto.arrow_data.data = sink.getvalue().to_pybytes()
    (change,) = made(page)
    picked = json.loads(change.states[0].string_value)["selection"]
    assert 0 <= picked["rows"][0] < 12 and picked["cells"] == []
    ids = np.arange(400, 900)
    figure = go.Figure(go.Scatter(x=ids, y=ids, customdata=ids[:, None]))
    assert point_ids(str(figure.to_json())) == ids.tolist()
    assert point_ids(str(go.Figure(go.Bar(x=[1], y=[2])).to_json())) == []
    assert point_ids(str(go.Figure().to_json())) == []


def test_what_is_left_after_a_part_ran() -> None:
    """As in the browser: what the part did not draw again is gone, all else stays."""
    page = (
        widget("button", "outside", path=(0, 0))
        | widget("button", "in part, gone", "part", (0, 1, 0))
        | widget("button", "in part, again", "part", (0, 1, 1))
        | widget("button", "in a part within, gone", "within", (0, 1, 2, 0))
        | widget("button", "beside", "other", (0, 2, 0))
    )
    seen = widget("button", "in part, again", "part", (0, 1, 1))
    found = left(page, seen, blocks=[(0, 1, 2)], fragments=["part"])
    assert set(found) == {"outside", "in part, again", "beside"}
    assert set(left(page, seen, blocks=[], fragments=[])) == {"in part, again"}
