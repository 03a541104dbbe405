"""Every page under Streamlit's AppTest: whole runs, half runs, hostile names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.runs import replace_per_class
from streamlit.testing.v1 import AppTest

from app import shell

PAGES = [
    "views/overview.py",
    "views/predictions.py",
    "views/classes.py",
    "views/failures.py",
    "views/class_map.py",
    "views/vocabulary.py",
    "views/memory.py",
]
Open = Callable[..., AppTest]


def words(app: AppTest) -> str:
    parts = [
        *app.title,
        *app.markdown,
        *app.caption,
        *app.info,
        *app.warning,
        *app.error,
        *app.code,
    ]
    return "\n".join(str(part.value) for part in parts)


@pytest.fixture
def half_run(synthetic_runs: Path, tmp_path: Path) -> Path:
    """A copy of the run to break; its folder of runs is the parent."""
    return Path(shutil.copytree(synthetic_runs / "demo", tmp_path / "runs" / "demo"))


@pytest.mark.parametrize("page", PAGES)
def test_page_opens(synthetic_runs: Path, open_app: Open, page: str) -> None:
    app = open_app(synthetic_runs, page)
    assert not app.exception
    assert not app.error
    assert len(app.title) == 1
    assert app.selectbox(key="choice_run").value == "demo"


def test_overview_has_the_headline_numbers(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs)
    from workbench.runs import RunDirectory

    summary = RunDirectory.open(synthetic_runs / "demo").read_summary("val")
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Mean IoU"] == f"{summary['miou']:.3f}"
    assert shown["Mean IoU, union"] == f"{summary['miou_union']:.3f}"
    present, absent = summary["miou_classes"], summary["absent_classes"]
    assert f"{present:,} of 1,284 classes scored on val, {absent:,} absent" in words(app)


def test_all_classes_are_in_the_table(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/classes.py")
    table = app.dataframe[0].value
    assert len(table) == 1284
    assert table["class_id"].tolist() == list(range(1284))
    assert table["iou"].isna().any()  # absent classes have no score, not a score of 0


def test_class_1283_can_be_found_and_opened(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/classes.py")
    app.text_input(key="class_search").set_value("1283").run()
    assert 1283 in app.dataframe[0].value["class_id"].tolist()
    assert len(app.dataframe[0].value) < 1284
    app = open_app(synthetic_runs, "views/classes.py", **{"class": "1283"})
    assert "class 1283" in words(app)
    assert {"IoU", "Precision", "Recall"} <= {metric.label for metric in app.metric}


def test_filters_of_the_class_table(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/classes.py")
    app.button_group(key="class_groups").set_value(["rare"]).run()
    assert set(app.dataframe[0].value["group"]) == {"rare"}
    app.multiselect(key="class_supercategories").set_value(["star"]).run()
    assert set(app.dataframe[0].value["supercategory"]) == {"star"}
    app.text_input(key="class_search").set_value("no such class").run()
    assert not app.exception
    assert app.dataframe[0].value.empty


def test_choice_is_in_the_url_and_survives_a_change_of_page(
    synthetic_runs: Path, open_app: Open
) -> None:
    app = open_app(synthetic_runs, "views/classes.py", **{"class": "1283"})
    app.switch_page("views/class_map.py").run()
    assert app.query_params["class"] == "1283"
    assert app.query_params["run"] == "demo"
    assert "class 1283" in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_class_and_picture_stay_in_the_url_of_every_page(
    synthetic_runs: Path, open_app: Open, page: str
) -> None:
    """Asked for by a link to a page that may show neither."""
    chosen = {"class": "1283", "image": "000000000005"}
    app = open_app(synthetic_runs, page, **chosen)
    assert {name: app.query_params.get(name) for name in chosen} == chosen
    app.switch_page("views/memory.py").run()  # as a link of the sidebar: without a query
    assert {name: app.query_params.get(name) for name in chosen} == chosen
    app = open_app(synthetic_runs, page, **{"class": "99999", "image": "no such"})
    assert not app.exception
    assert app.query_params.get("class") is None
    assert app.query_params.get("image") != "no such"


@pytest.mark.parametrize("value", ["99999", "-1", "x", ""])
def test_nonsense_in_the_url_is_ignored(synthetic_runs: Path, open_app: Open, value: str) -> None:
    names = ("class", "image", "with", "predicted", "pixel", "source", "layout", "color", "order")
    query = dict.fromkeys(names, value)
    app = open_app(synthetic_runs, **query)
    for page in PAGES:
        app.switch_page(page).run()
        assert not app.exception
        assert not app.error


@pytest.mark.parametrize("layout", ["UMAP 2D", "UMAP 3D", "PCA 2D", "PCA 3D"])
def test_map_layouts_and_colours(synthetic_runs: Path, open_app: Open, layout: str) -> None:
    app = open_app(synthetic_runs, "views/class_map.py", layout=layout)
    colors = app.selectbox(key="choice_color").options
    attributes = ["group", "supercategory", "shape", "hue", "texture"]
    assert colors == ["IoU", "frequency", *attributes, "trouble"]
    for name in ("train_images", "group", "hue", "reason"):
        app.selectbox(key="choice_color").set_value(name).run()
        assert not app.exception
    app.text_input(key="map_find").set_value("teal star").run()
    assert "classes found" in words(app)
    assert not app.exception


def test_two_runs_demo_first(half_run: Path, open_app: Open) -> None:
    shutil.copytree(half_run, half_run.with_name("another"))
    app = open_app(half_run.parent)
    assert app.selectbox(key="choice_run").options == ["demo", "another"]
    app.selectbox(key="choice_run").set_value("another").run()
    assert app.title[0].value == "another"
    assert app.query_params["run"] == "another"
    assert not app.exception


def test_no_runs(tmp_path: Path, open_app: Open) -> None:
    app = open_app(tmp_path / "nothing here")
    assert not app.exception
    assert "workbench train" in words(app)


def test_unknown_run_in_the_url(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, run="<b>gone</b>")
    assert "There is no run" in words(app)
    assert "<b>" not in words(app)


@pytest.mark.parametrize("page", PAGES)
def test_run_deleted_while_it_is_open(half_run: Path, open_app: Open, page: str) -> None:
    app = open_app(half_run.parent, page)
    shutil.rmtree(half_run)
    app.run()
    assert not app.exception
    assert "No runs yet" in words(app)


def test_running_training_shows_progress(half_run: Path, open_app: Open) -> None:
    from workbench.runs import RunDirectory

    shutil.rmtree(half_run / "evaluation")
    run = RunDirectory(half_run)
    with run.lock():
        run.write_status("running", step=500, steps=2000, eta_seconds=3700)
        app = open_app(half_run.parent)
        assert not app.exception
        assert app.progress[0].value == 25
        assert app.progress[0].text == "Step 500 of 2,000, about 1 h 2 min left"
        assert "workbench evaluate" in words(app)


BREAKS: dict[str, Callable[[Path], object]] = {
    "nothing but settings": lambda run: [
        shutil.rmtree(item) if item.is_dir() else item.unlink()
        for item in run.iterdir()
        if item.name != "config.yaml"
    ],
    "no vocabulary": lambda run: (run / "vocabulary.parquet").unlink(),
    "damaged vocabulary": lambda run: (run / "vocabulary.parquet").write_bytes(b"PAR1 cut"),
    "damaged settings": lambda run: (run / "config.yaml").write_text("a: [", "utf-8"),
    "settings of another shape": lambda run: (run / "config.yaml").write_text("data: 3", "utf-8"),
    "no evaluation": lambda run: shutil.rmtree(run / "evaluation"),
    "no summary": lambda run: (run / "evaluation/val/summary.json").unlink(),
    "cut summary": lambda run: (run / "evaluation/val/summary.json").write_text("{", "utf-8"),
    "no class table": lambda run: (run / "evaluation/val/per_class.parquet").unlink(),
    "damaged class table": lambda run: (run / "evaluation/val/per_class.parquet").write_bytes(b"x"),
    "no image table": lambda run: (run / "evaluation/val/per_image_class.parquet").unlink(),
    "no confusions": lambda run: (run / "evaluation/val/confusions.parquet").unlink(),
    "no truth": lambda run: shutil.rmtree(run / "evaluation/val/truth"),
    "cut predictions": lambda run: [
        path.write_bytes(path.read_bytes()[:40])
        for path in (run / "evaluation/val/predictions").iterdir()
    ],
    "no pictures": lambda run: shutil.rmtree(run / "evaluation/val/images"),
    "no embeddings": lambda run: shutil.rmtree(run / "embeddings"),
    "no projection": lambda run: (run / "embeddings/projection.parquet").unlink(),
    "damaged projection": lambda run: (run / "embeddings/projection.parquet").write_bytes(b"x"),
    "no metrics": lambda run: (run / "metrics.jsonl").unlink(),
    "cut metrics": lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "lo', "utf-8"),
    "cut status": lambda run: (run / "status.json").write_text("{", "utf-8"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_half_written_runs_open_on_every_page(half_run: Path, open_app: Open, name: str) -> None:
    BREAKS[name](half_run)
    app = open_app(half_run.parent, **{"class": "1283"})
    for page in PAGES:
        app.switch_page(page).run()
        assert not app.exception, page
        assert not app.error, page


@pytest.mark.parametrize(
    ("name", "page", "remedy"),
    [
        ("no evaluation", "views/overview.py", "workbench evaluate"),
        ("no evaluation", "views/classes.py", "workbench evaluate"),
        ("no pictures", "views/predictions.py", "workbench evaluate"),
        ("no projection", "views/class_map.py", "workbench project"),
    ],
)
def test_what_is_missing_comes_with_its_command(
    half_run: Path, open_app: Open, name: str, page: str, remedy: str
) -> None:
    BREAKS[name](half_run)
    assert remedy in words(open_app(half_run.parent, page))


def test_hostile_names(
    open_app: Open, tmp_path: Path, write_hostile_run: Callable[[Path], list[str]]
) -> None:
    names = write_hostile_run(tmp_path / "demo")
    for class_id in (0, len(names) - 1):
        app = open_app(tmp_path, **{"class": str(class_id)})
        for page in PAGES:
            app.switch_page(page).run()
            assert not app.exception
            for block in app.html:
                if block.proto.body.startswith("<style>.st-key-preload"):
                    continue  # the app's own script, which holds no name
                assert "<img" not in block.proto.body
                assert "<script" not in block.proto.body


@pytest.mark.parametrize(
    "text",
    ["<b>x</b>", "**x**", "[a](javascript:alert(1))", ":red[x]", "$x^2$", "`x`", "a_b_c", "# x"],
)
def test_plain_text_stays_plain(text: str) -> None:
    escaped = shell.plain(text)
    assert escaped.replace("\\", "") == text
    bare = [
        sign
        for at, sign in enumerate(escaped)
        if sign in "<*[`$:#_" and (at == 0 or escaped[at - 1] != "\\")
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (90, "2 min"), (3700, "1 h 2 min"), (None, ""), (float("nan"), ""), (-1, "")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert shell.duration(seconds) == text


def test_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell.runs_folder([]) == shell.REPOSITORY / "runs"
    (tmp_path / "runs").mkdir()
    assert shell.runs_folder([]) == tmp_path / "runs"
    assert shell.runs_folder(["--other", "--runs", "there"]) == Path("there")


def test_cached_tables_follow_the_files(half_run: Path, open_app: Open) -> None:
    from workbench.runs import RunDirectory

    app = open_app(half_run.parent, "views/classes.py")
    before = app.dataframe[0].value["iou"]
    run = RunDirectory(half_run)
    table = run.read_per_class("val").assign(iou=0.125)
    replace_per_class(run, table)
    app.run()
    after = app.dataframe[0].value["iou"]
    assert np.isfinite(after).all() and not after.equals(before)
    assert isinstance(after, pd.Series) and (after == 0.125).all()
