"""The class map under AppTest: searching, steps, confusions, a pixel, half-written runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from workbench.runs import RunDirectory

PAGE = "views/class_map.py"
Open = Callable[..., AppTest]


def words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.info])


def chart(app: AppTest, at: int = 0) -> dict[str, Any]:
    """The figure drawn, as plotly's JSON."""
    spec: dict[str, Any] = json.loads(app.get("plotly_chart")[at].proto.spec)
    return spec


def trace(figure: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((one for one in figure["data"] if one.get("name") == name), None)


@pytest.fixture
def moving_run(synthetic_runs: Path, tmp_path: Path) -> Path:
    """A folder of runs whose one run has maps of three steps."""
    folder = Path(shutil.copytree(synthetic_runs / "demo", tmp_path / "runs" / "demo"))
    run = RunDirectory(folder)
    last = run.read_projection()
    coordinates = [name for name in last if name not in ("step", "class_id")]
    steps = []
    for step in (500, 1000, 2000):
        now = last.assign(step=step)
        now[coordinates] *= step / 2000
        steps.append(now)
    run.write_projection(pd.concat(steps, ignore_index=True))
    return folder.parent


@pytest.mark.parametrize("layout", ["UMAP 2D", "UMAP 3D", "PCA 2D", "PCA 3D"])
def test_search_flies_to_the_class_and_back(
    synthetic_runs: Path, open_app: Open, layout: str
) -> None:
    app = open_app(synthetic_runs, PAGE, layout=layout)
    whole = chart(app)["layout"]
    app.text_input(key="map_find").set_value("1283").run()
    assert not app.exception
    assert "1 class found" in words(app)
    near = chart(app)["layout"]
    where = "scene" in near
    before, after = (whole["scene"], near["scene"]) if where else (whole, near)
    for axis in ("xaxis", "yaxis"):
        width = np.diff(before[axis]["range"])[0]
        assert np.diff(after[axis]["range"])[0] < 0.7 * width
    names = [text for one in chart(app)["data"] for text in one.get("text") or []]
    vocabulary = RunDirectory(synthetic_runs / "demo").vocabulary().table
    assert vocabulary["name"].iloc[1283] in names
    assert len(names) > 5  # its neighbourhood too
    app.button(key="map_back").click().run()
    assert app.text_input(key="map_find").value == ""
    assert chart(app)["layout"] == whole


def test_several_hits_are_ringed_and_nothing_flies(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    whole = chart(app)["layout"]["xaxis"]["range"]
    app.text_input(key="map_find").set_value("star teal").run()
    figure = chart(app)
    assert figure["layout"]["xaxis"]["range"] == whole
    table = app.dataframe[0].value
    assert len(table) > 1
    assert all("teal" in name and "star" in name for name in table["name"])
    figure_names = [text for one in figure["data"] for text in one.get("text") or []]
    assert set(table["name"]) == set(figure_names)


def test_pictures_of_what_was_found_come_in_pages(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    stuff = RunDirectory(synthetic_runs / "demo").vocabulary().table
    word = stuff["name"][stuff["group"] == "stuff"].str.split().str[-1].mode()[0]
    app.text_input(key="map_find").set_value(f"{word} ").run()
    assert "with these classes" in words(app)


def test_confusions_are_drawn_above_a_share(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    assert trace(chart(app), "confusions") is None
    app.select_slider(key="choice_edges").set_value(0.3).run()
    assert not app.exception
    middle = trace(chart(app), "confusion")
    assert middle is not None
    hover = middle["hovertext"]
    assert 0 < len(hover) <= 300
    shares = [int(text.rpartition(", ")[2].rstrip("%")) for text in hover]
    assert min(shares) >= 30
    assert "confusions from 30%" in words(app).replace("\\", "")
    assert app.query_params["edges"] == "0.3"


def test_steps_move_the_points(moving_run: Path, open_app: Open) -> None:
    app = open_app(moving_run, PAGE, layout="PCA 2D")
    last = chart(app)
    app.select_slider(key="choice_step").set_value(500).run()
    first = chart(app)
    assert first["data"][0]["x"] != last["data"][0]["x"]
    assert first["layout"]["xaxis"]["range"] == last["layout"]["xaxis"]["range"]
    assert app.query_params["step"] == "500"
    again = open_app(moving_run, PAGE, step="500", layout="PCA 2D")
    assert chart(again)["data"][0]["x"] == first["data"][0]["x"]


def test_playing_the_training(moving_run: Path, open_app: Open) -> None:
    app = open_app(moving_run, PAGE)
    app.toggle(key="map_play").set_value(True).run()
    assert not app.exception
    figure = chart(app)
    assert [frame["name"] for frame in figure["frames"]] == ["500", "1000", "2000"]
    app.button_group(key="choice_layout").set_value("PCA 3D").run()
    assert not app.exception
    assert not chart(app).get("frames")
    assert "two dimensions" in words(app)


def test_a_run_of_one_step_has_nothing_to_play(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    assert not [toggle for toggle in app.toggle if toggle.key == "map_play"]


def test_caveat_of_umap(synthetic_runs: Path, open_app: Open) -> None:
    assert "distant groups lie means little" in words(open_app(synthetic_runs, PAGE))
    pca = open_app(synthetic_runs, PAGE, layout="PCA 2D")
    assert "distant groups" not in words(pca)


@pytest.mark.parametrize("pixel", ["3,4", "x", "9999,1", "-1,2", ""])
def test_a_pixel_without_a_model_is_left_out(
    synthetic_runs: Path, open_app: Open, pixel: str
) -> None:
    app = open_app(synthetic_runs, PAGE, pixel=pixel, image="000000000003")
    assert not app.exception and not app.error
    assert trace(chart(app), "pixel") is None


def test_the_pixel_of_another_page_is_a_star(repository: Path, open_app: Open) -> None:
    runs = repository / "runs"
    image = RunDirectory(runs / "demo").samples("val")[0]
    app = open_app(runs, PAGE, pixel="64,64", image=image)
    assert not app.exception
    star = trace(chart(app), "pixel")
    assert star is not None
    assert "nearest classes, weighted by their probability" in words(app)
    assert app.query_params["pixel"] == "64,64"
    ranges = chart(app)["layout"]
    assert ranges["xaxis"]["range"][0] < star["x"][0] < ranges["xaxis"]["range"][1]
    outside = open_app(runs, PAGE, pixel="4000,64", image=image)
    assert trace(chart(outside), "pixel") is None


def test_a_pixel_of_another_picture_is_no_star(repository: Path, open_app: Open) -> None:
    """Chosen on Predictions in one picture; then another was opened elsewhere."""
    runs = repository / "runs"
    first, second = RunDirectory(runs / "demo").samples("val")[:2]
    app = open_app(runs, "views/predictions.py", run="demo", pixel="64,64", image=first)
    for image, seen in ((second, False), (first, True)):
        app.session_state["last_image"] = image
        app.switch_page(PAGE)
        app.query_params.clear()
        app.run()
        assert not app.exception
        assert (trace(chart(app), "pixel") is not None) == seen


def test_maps_without_an_evaluation(moving_run: Path, open_app: Open) -> None:
    shutil.rmtree(moving_run / "demo" / "evaluation")
    app = open_app(moving_run, PAGE, **{"class": "1283"})
    assert not app.exception and not app.error
    assert not [one for one in app.select_slider if one.key == "choice_edges"]
    app.text_input(key="map_find").set_value("1283").run()
    assert not app.exception


def test_an_empty_map_says_how_to_make_one(moving_run: Path, open_app: Open) -> None:
    run = RunDirectory(moving_run / "demo")
    run.write_projection(run.read_projection().iloc[:0])
    app = open_app(moving_run, PAGE)
    assert not app.exception
    assert "workbench project" in "\n".join(str(part.value) for part in app.code)


def test_a_run_with_fewer_steps_is_opened_after_one_with_more(
    moving_run: Path, synthetic_runs: Path, open_app: Open
) -> None:
    shutil.copytree(synthetic_runs / "demo", moving_run / "still")
    app = open_app(moving_run, PAGE)
    app.select_slider(key="choice_step").set_value(500).run()
    app.selectbox(key="choice_run").set_value("still").run()
    assert not app.exception
    assert "step" not in app.query_params
