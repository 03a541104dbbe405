"""The Overview under AppTest: the runs on disk, a training, and two runs compared."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.runs import replace_per_class
from scipy.stats import ortho_group
from streamlit.testing.v1 import AppTest

from app import data_compare, pace
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary

Open = Callable[..., AppTest]


def words(app: AppTest) -> str:
    parts = [*app.title, *app.markdown, *app.caption, *app.info, *app.warning, *app.error]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def charts_of(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


@pytest.fixture
def runs(synthetic_runs: Path, tmp_path: Path) -> Path:
    """A folder with the run to change; its name is "demo"."""
    shutil.copytree(synthetic_runs / "demo", tmp_path / "runs" / "demo")
    return tmp_path / "runs"


def add_variant(runs: Path, change: np.ndarray | float, *, name: str = "variant") -> RunDirectory:
    """A copy of the run whose classes score differently, its embeddings turned."""
    run = RunDirectory(Path(shutil.copytree(runs / "demo", runs / name)))
    table = run.read_per_class("val")
    table["iou"] = table["iou"] + change
    replace_per_class(run, table)
    points = run.read_points()
    turned = points @ ortho_group.rvs(points.shape[1], random_state=0)
    turned[1283] = -turned[1283]
    run.write_embeddings(2000, torch.from_numpy(turned).float())
    return run


def test_all_runs_are_listed_and_a_row_opens_one(runs: Path, open_app: Open) -> None:
    add_variant(runs, 0.0)
    app = open_app(runs)
    table = next(one.value for one in app.dataframe if "Run" in one.value)
    assert table["Run"].tolist() == ["demo", "variant"]
    assert table["State"].tolist() == ["done", "done"]
    assert table["Classes"].tolist() == [1284, 1284]
    summary = RunDirectory(runs / "demo").read_summary("val")
    assert table["Mean IoU"][0] == pytest.approx(summary["miou"])


def test_a_running_training_is_followed(runs: Path, open_app: Open) -> None:
    run = RunDirectory(Path(shutil.copytree(runs / "demo", runs / "now")))
    shutil.rmtree(run.path / "evaluation")
    run.truncate_metrics(0)
    for step in (10, 20, 30):
        run.append_metrics({"step": step, "loss": 3.0, "seconds": step * 2.0, "val_miou": 0.125})
    with run.lock():
        run.write_status("running", step=500, steps=2000, eta_seconds=3700)
        app = open_app(runs, run="now")
        assert not app.exception
        assert app.progress[0].text == "Step 500 of 2,000, about 1 h 2 min left"
        shown = numbers(app)
        assert shown["Last sign of life"].endswith("s ago")
        assert shown["Mean IoU so far"] == "0.125"
        assert shown["Loss"] == "3.000"
        titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in charts_of(app)]
        assert titles.count("loss (nats per pixel)") == 1  # with the status, not again below
        run.append_metrics({"step": 40, "loss": 2.0, "seconds": 80.0})
        run.write_status("running", step=510, steps=2000, eta_seconds=3000)
        app.run()
        assert app.progress[0].value == 25
        assert numbers(app)["Loss"] == "2.000"
        assert "Step 510" in app.progress[0].text


def test_a_silent_training_is_doubted(runs: Path, open_app: Open) -> None:
    run = RunDirectory(runs / "demo")
    with run.lock():
        run.write_status("running", step=500, steps=2000)
        path = runs / "demo" / "status.json"
        status = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**status, "heartbeat": time.time() - 1300}), "utf-8")
        app = open_app(runs)
        assert numbers(app)["Last sign of life"] == "21 min ago"
        assert "or it hangs" in words(app)


def test_a_training_that_stopped_early_says_why(runs: Path, open_app: Open) -> None:
    said = "stopped early: 3 evaluations were not better than the val mIoU 0.4123 of step 500"
    RunDirectory(runs / "demo").write_status("done", step=500, steps=2000, message=said)
    app = open_app(runs)
    assert said in words(app)


def test_an_interrupted_training_says_when(runs: Path, open_app: Open) -> None:
    RunDirectory(runs / "demo").write_status("running", step=500, steps=2000)
    path = runs / "demo" / "status.json"
    status = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**status, "heartbeat": time.time() - 7300}), "utf-8")
    app = open_app(runs)
    assert "interrupted, last sign of life 2 h ago" in words(app)
    assert "--resume" in words(app)
    table = next(one.value for one in app.dataframe if "Run" in one.value)
    assert table["State"].tolist() == ["interrupted"]


def test_a_training_that_has_written_nothing_yet(runs: Path, open_app: Open) -> None:
    folder = runs / "demo"
    for name in ("evaluation", "embeddings"):
        shutil.rmtree(folder / name)
    (folder / "metrics.jsonl").unlink()
    run = RunDirectory(folder)
    with run.lock():
        run.write_status("running", step=0, steps=2000)
        app = open_app(runs)
        assert not app.exception
        assert app.progress[0].value == 0
        assert "No training record yet" in words(app)


def test_two_runs_are_compared(runs: Path, open_app: Open) -> None:
    table = RunDirectory(runs / "demo").read_per_class("val")
    scored = np.flatnonzero(table["truth_pixels"] > 0)
    change = np.zeros(len(table))
    change[scored[:30]] = -0.01
    change[scored[-40:]] = 0.02
    add_variant(runs, change)
    app = open_app(runs, compare="variant")
    assert not app.exception and not app.error
    shown = numbers(app)
    mean = (40 * 0.02 - 30 * 0.01) / len(scored)
    assert shown["Mean change"] == f"{mean:+.3f}"
    assert (shown["Better"], shown["Worse"]) == ("40", "30")
    assert shown["Same"] == f"{len(scored) - 70:,}"
    assert shown["Median drift"] == "0.000"  # it was only turned
    assert "1,284 classes of one vocabulary in both" in words(app)
    gains = app.dataframe[-1].value
    assert len(gains) == 40
    assert set(gains["class_id"]) == set(scored[-40:])
    app.button_group(key="compare_list").set_value("Biggest losses").run()
    assert set(app.dataframe[-1].value["class_id"]) == set(scored[:30])
    app.button_group(key="compare_list").set_value("Biggest drift").run()
    assert app.dataframe[-1].value["class_id"].iloc[0] == 1283
    app.button_group(key="compare_list").set_value("All classes").run()
    assert len(app.dataframe[-1].value) == 1284
    assert app.query_params["compare"] == "variant"


def test_one_chart_of_the_comparison_at_a_time(runs: Path, open_app: Open) -> None:
    add_variant(runs, 0.0)
    app = open_app(runs, compare="variant")

    def axes() -> set[str]:
        titles = [figure["layout"]["yaxis"].get("title") or {} for figure in charts_of(app)]
        return {str(title.get("text")) for title in titles}

    assert "IoU in variant" not in axes() and "Change of each group" in words(app)
    app.button_group(key="compare_chart").set_value("Classes").run()
    assert "IoU in variant" in axes() and "Change of each group" not in words(app)
    app.button_group(key="compare_chart").set_value("Drift").run()
    assert not app.exception
    assert "IoU in variant" not in axes() and "would drift" in words(app)
    app.button_group(key="compare_chart").set_value("Groups").run()
    assert not app.exception
    assert "would drift" not in words(app)
    assert "Change of each group" in words(app)


def test_a_comparison_is_worked_out_once_until_a_run_changes(
    runs: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_variant(runs, 0.0)
    made: list[int] = []
    real = data_compare.side_by_side
    monkeypatch.setattr(
        data_compare, "side_by_side", lambda *given: [made.append(1), real(*given)][1]
    )
    app = open_app(runs, compare="variant")
    app.button_group(key="compare_list").set_value("All classes").run()
    assert len(made) == 1
    run = RunDirectory(runs / "variant")
    table = run.read_per_class("val")
    replace_per_class(run, table.assign(iou=table["iou"] + 0.25))
    app.run()
    assert len(made) == 2
    assert numbers(app)["Mean change"] == "+0.250"


def test_the_chosen_class_is_followed_into_the_comparison(runs: Path, open_app: Open) -> None:
    add_variant(runs, 0.0)
    app = open_app(runs, compare="variant", **{"class": "1283"})
    assert "class 1283 · IoU" in words(app)
    assert app.query_params["class"] == "1283"


def test_other_vocabularies_are_compared_by_name(runs: Path, open_app: Open) -> None:
    run = add_variant(runs, 0.0)
    table = run.vocabulary().table
    names = table["name"].where(table.index >= 84, "new " + table["name"])
    per_class = run.read_per_class("val").assign(name=names)
    run.write_evaluation(
        "val",
        summary=run.read_summary("val"),
        per_class=per_class,
        per_image_class=run.read_per_image_class("val"),
        confusions=run.read_confusions("val"),
    )
    app = open_app(runs, compare="variant")
    assert not app.exception
    said = words(app)
    assert "1,200 classes by name in both" in said
    assert "84 only in demo" in said and "84 only in variant" in said


def test_embeddings_of_other_width_are_said_to_be(runs: Path, open_app: Open) -> None:
    run = add_variant(runs, 0.0)
    wide = np.pad(RunDirectory(runs / "demo").read_points(), ((0, 0), (0, 8)))
    run.write_embeddings(2000, torch.from_numpy(wide).float())
    app = open_app(runs, compare="variant")
    app.button_group(key="compare_chart").set_value("Drift").run()
    assert not app.exception
    assert "24 and 32 dimensions" in words(app)
    assert numbers(app)["Median drift"] == "0.000"


@pytest.mark.parametrize("missing", ["evaluation", "embeddings"])
@pytest.mark.parametrize("of", ["demo", "variant"])
def test_half_a_run_in_a_comparison(runs: Path, open_app: Open, missing: str, of: str) -> None:
    add_variant(runs, 0.0)
    shutil.rmtree(runs / of / missing)
    app = open_app(runs, compare="variant")
    assert not app.exception and not app.error
    said = words(app)
    if missing == "evaluation":
        assert f"{of} has not been evaluated yet" in said
    else:
        assert "no class embeddings" in said
        assert numbers(app)["Median drift"] == "–"


def test_comparison_with_a_run_that_went(runs: Path, open_app: Open) -> None:
    add_variant(runs, 0.0)
    add_variant(runs, 0.0, name="third")
    app = open_app(runs, compare="variant")
    shutil.rmtree(runs / "variant")
    app.run()
    assert not app.exception
    assert app.selectbox(key="choice_compare").value is None
    app.selectbox(key="choice_run").set_value("third").run()
    assert not app.exception


def test_hostile_names_in_a_comparison(
    tmp_path: Path, open_app: Open, write_hostile_run: Callable[[Path], list[str]]
) -> None:
    write_hostile_run(tmp_path / "demo")
    shutil.copytree(tmp_path / "demo", tmp_path / "<b>x</b>")
    app = open_app(tmp_path, compare="<b>x</b>", **{"class": "0"})
    assert not app.exception
    assert "<b>x" not in "\n".join(str(part.value) for part in app.markdown).replace("\\<", "")
    for figure in charts_of(app):
        assert "<img" not in json.dumps(figure)


def test_vocabularies_without_a_common_class(
    runs: Path, tmp_path: Path, open_app: Open, write_hostile_run: Callable[[Path], list[str]]
) -> None:
    write_hostile_run(runs / "other")
    app = open_app(runs, compare="other")
    assert not app.exception and not app.error
    assert isinstance(RunDirectory(runs / "other").vocabulary(), Vocabulary)
    assert "no class of the same name" in words(app)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (4.9, "4 s ago"),
        (119, "119 s ago"),
        (121, "2 min ago"),
        (7300, "2 h ago"),
        (200_000, "2 days ago"),
        (-3, "0 s ago"),
        (None, ""),
        (float("nan"), ""),
        ("x", ""),
    ],
)
def test_ago(seconds: object, text: str) -> None:
    assert pace.ago(seconds) == text


def test_age_of_a_status() -> None:
    assert pace.age({"heartbeat": 90.0}, 100.0) == 10.0
    assert pace.age({"heartbeat": 200.0}, 100.0) == 0.0  # a clock that runs ahead
    for beat in (None, True, "x", float("nan")):
        assert pace.age({"heartbeat": beat}, 100.0) is None


def test_images_per_second_over_the_newest_records() -> None:
    steps = np.arange(10, 1010, 10)
    slow, fast = np.linspace(0, 800, 80), 800 + 5.0 * np.arange(1, 21)
    metrics = pd.DataFrame({"step": steps, "seconds": np.concatenate([slow, fast])})
    assert pace.images_per_second(metrics, 16) == pytest.approx(10 / 5.0 * 16)
    assert pace.images_per_second(metrics.drop(columns="seconds"), 16) is None
    assert pace.images_per_second(metrics.head(1), 16) is None
    assert pace.images_per_second(metrics, None) is None
    assert pace.images_per_second(metrics.assign(seconds=1.0), 16) is None
    assert pace.newest(metrics.assign(loss=[1.0] * 99 + [np.nan]), "loss") == 1.0
    assert pace.newest(metrics, "loss") is None


def test_metrics_are_read_once_until_they_change(
    runs: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    real = RunDirectory.metrics
    monkeypatch.setattr(RunDirectory, "metrics", lambda run: [reads.append(1), real(run)][1])
    app = open_app(runs)
    app.run()
    assert len(reads) == 1
    with (runs / "demo" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 2010, "loss": 1.0}\n')
    os.utime(runs / "demo" / "metrics.jsonl", ns=(1, 1))
    app.run()
    assert len(reads) == 2
