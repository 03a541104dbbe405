"""The page on failing classes and the detail of a class under Streamlit's AppTest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.runs import replace_per_class
from streamlit.testing.v1 import AppTest

from app import gallery
from workbench.runs import RunDirectory

PAGE = "views/failures.py"
Open = Callable[..., AppTest]


def words(app: AppTest) -> str:
    parts = [*app.title, *app.markdown, *app.caption, *app.info, *app.code, *app.subheader]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def html(app: AppTest) -> str:
    """All HTML but the app's own script, which holds no name."""
    bodies = [str(block.proto.body) for block in app.html]
    return "\n".join(one for one in bodies if not one.startswith("<style>.st-key-preload"))


@pytest.fixture(scope="module")
def failing(synthetic_runs: Path) -> pd.DataFrame:
    table = RunDirectory.open(synthetic_runs / "demo").read_per_class("val")
    return table[table["reason"] != ""].set_index("class_id")


@pytest.fixture
def own_run(synthetic_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synthetic_runs / "demo", tmp_path / "runs" / "demo"))


def test_every_failing_class_is_listed_by_gain(
    synthetic_runs: Path, open_app: Open, failing: pd.DataFrame
) -> None:
    app = open_app(synthetic_runs, PAGE)
    assert not app.exception
    table = app.dataframe[0].value
    assert set(table["class_id"]) == set(failing.index)
    assert table["gain"].is_monotonic_decreasing and table["gain"].iloc[0] > 0
    assert "scored classes are below an IoU of 0.25" in words(app)
    assert "Pick a row" in words(app)
    for code, count in failing["reason"].value_counts().items():
        assert f"{count:,} " in html(app), code


def test_filters(synthetic_runs: Path, open_app: Open, failing: pd.DataFrame) -> None:
    app = open_app(synthetic_runs, PAGE)
    code = failing["reason"].value_counts().index[0]
    app.button_group(key="failure_reasons").set_value([code]).run()
    shown = app.dataframe[0].value
    assert set(shown["class_id"]) == set(failing.index[failing["reason"] == code])
    app.button_group(key="failure_groups").set_value(["rare"]).run()
    wanted = failing.index[(failing["reason"] == code) & (failing["group"] == "rare")]
    assert set(app.dataframe[0].value["class_id"]) == set(wanted)
    app.text_input(key="failure_search").set_value("no such class").run()
    assert not app.exception
    assert app.dataframe[0].value.empty


@pytest.mark.parametrize("reason", ["swallowed", "never_predicted", "absent_from_val", ""])
def test_a_chosen_class_is_explained(synthetic_runs: Path, open_app: Open, reason: str) -> None:
    run = RunDirectory.open(synthetic_runs / "demo")
    table = run.read_per_class("val")
    row = table[table["reason"] == reason].iloc[-1]
    app = open_app(synthetic_runs, PAGE, **{"class": str(row["class_id"])})
    assert not app.exception
    said = words(app)
    assert f"class {row['class_id']} · {row['group']}" in said
    if reason in ("swallowed", "never_predicted"):
        other = table.loc[int(row["swallowed_by"])]
        assert f"({100 * row['swallowed_share']:.0f} %) go to **{other['name']}**" in said
        assert f"has {other['train_images']:,}." in said
        assert "In the class table" in said
        assert "What may help" in said
    assert str(row["name"]) in html(app)
    assert app.query_params["class"] == str(row["class_id"])


def test_crops_link_to_the_picture(synthetic_runs: Path, open_app: Open) -> None:
    run = RunDirectory.open(synthetic_runs / "demo")
    counts = run.read_per_image_class("val")
    counts = counts[counts["image_id"].isin(run.samples("val"))]
    missed = counts[(counts["intersection"] == 0) & (counts["truth_pixels"] > 50)].iloc[0]
    app = open_app(synthetic_runs, PAGE, **{"class": str(missed["class_id"])})
    links = [link.proto for link in app.get("page_link")]
    image = [link for link in links if missed["image_id"] in link.query_string]
    assert len(image) == 1
    assert f"class={missed['class_id']}" in image[0].query_string
    assert "px missed, most to" in words(app)
    labels = {link.label for link in links}
    assert {"In Predictions", "The class in full", "On the map"} <= labels


def test_the_choice_comes_from_and_goes_to_other_pages(
    synthetic_runs: Path, open_app: Open
) -> None:
    app = open_app(synthetic_runs, "views/classes.py", **{"class": "1283"})
    app.switch_page(PAGE).run()
    assert "class 1283" in words(app)
    app.switch_page("views/classes.py").run()
    assert "class 1283" in words(app)
    assert app.query_params["class"] == "1283"


@pytest.mark.parametrize("value", ["99999", "-1", "x", ""])
def test_nonsense_in_the_url(synthetic_runs: Path, open_app: Open, value: str) -> None:
    app = open_app(synthetic_runs, PAGE, **{"class": value})
    assert not app.exception and not app.error
    assert "Pick a row" in words(app)


@pytest.mark.parametrize(
    "part",
    ["embeddings", "checkpoints", "evaluation/val/images", "evaluation/val/confusions.parquet"],
)
def test_works_without(own_run: Path, open_app: Open, failing: pd.DataFrame, part: str) -> None:
    gone = own_run / part
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink(missing_ok=True)
    class_id = failing.index[failing["reason"] == "swallowed"][0]
    app = open_app(own_run.parent, PAGE, **{"class": str(class_id)})
    assert not app.exception and not app.error
    assert set(app.dataframe[0].value["class_id"]) == set(failing.index)
    assert f"class {class_id}" in words(app)
    assert ("In the class table" in words(app)) == (part != "embeddings")


def test_an_evaluation_from_before_there_were_more_columns(own_run: Path, open_app: Open) -> None:
    run = RunDirectory(own_run)
    table = run.read_per_class("val")
    table = table.drop(columns=["boundary_errors", "swallowed_by", "swallowed_share"])
    replace_per_class(run, table)
    app = open_app(own_run.parent, PAGE, **{"class": "1283"})
    assert not app.exception
    assert "boundary_share" not in app.dataframe[0].value
    assert "class 1283" in words(app)


def test_a_run_where_all_is_well(own_run: Path, open_app: Open) -> None:
    run = RunDirectory(own_run)
    run.write_evaluation(
        "val",
        summary=run.read_summary("val"),
        per_class=run.read_per_class("val").assign(reason=""),
        per_image_class=run.read_per_image_class("val"),
        confusions=run.read_confusions("val"),
    )
    app = open_app(own_run.parent, PAGE, **{"class": "1283"})
    assert not app.exception
    assert app.success and not app.dataframe
    assert "class 1283" in words(app)


def test_not_evaluated_yet(own_run: Path, open_app: Open) -> None:
    shutil.rmtree(own_run / "evaluation")
    assert "workbench evaluate" in words(open_app(own_run.parent, PAGE))


def test_hostile_names(
    open_app: Open, tmp_path: Path, write_hostile_run: Callable[[Path], list[str]]
) -> None:
    names = write_hostile_run(tmp_path / "demo")
    for class_id in range(len(names)):
        app = open_app(tmp_path, PAGE, **{"class": str(class_id)})
        assert not app.exception
        assert "<img" not in html(app) and "<script" not in html(app)
        for block in (*app.markdown, *app.caption):
            assert "](javascript:" not in str(block.value)


def test_all_pictures_of_a_class_in_order(
    synthetic_runs: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[tuple[str, str]]] = []
    show = gallery.show

    def spy(*args: Any, **kwargs: Any) -> None:
        drawn.append(list(args[2]))
        show(*args, **kwargs)

    monkeypatch.setattr(gallery, "PAGE", 16)
    monkeypatch.setattr(gallery, "show", spy)
    run = RunDirectory.open(synthetic_runs / "demo")
    counts = run.read_per_image_class("val")
    counts = counts[counts["image_id"].isin(run.samples("val")) & (counts["truth_pixels"] > 0)]
    class_id = int(counts["class_id"].value_counts().index[0])  # 1283 is in every picture
    own = counts[counts["class_id"] == class_id].set_index("image_id")
    iou = own["intersection"] / own["union"]
    assert len(own) > 16
    app = open_app(synthetic_runs, "views/classes.py", **{"class": str(class_id)})

    def shown() -> list[float]:
        assert [label for _, label in drawn[-1]] == [
            f"IoU {iou[name]:.2f}" for name, _ in drawn[-1]
        ]
        return [float(label[4:]) for _, label in drawn[-1]]

    first = shown()
    assert len(first) == 16 and first == sorted(first, reverse=True)
    app.pagination(key=f"class_page_{class_id}_Best first").set_value(2).run()
    assert len(shown()) == len(own) - 16
    assert sorted(first + shown()) == sorted(iou.round(2))
    app.button_group(key="choice_class_order").set_value("Worst first").run()
    assert shown() == sorted(shown()) and len(shown()) == 16
