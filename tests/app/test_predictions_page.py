"""The Predictions page under AppTest: filters, paging, pixels, pictures handed in."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.runs import add_checkpoint
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import data_pictures
from app.views import predictions
from workbench.inference import inspect, load_model
from workbench.runs import RunDirectory

PAGE = "views/predictions.py"
OWN = "Your own picture"
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def trained(synthetic_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the invented run, and a checkpoint in it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(synthetic_runs / "demo", folder / "demo")
    add_checkpoint(folder / "demo", "streaming")
    return folder


@pytest.fixture
def own_copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "demo", tmp_path / "runs" / "demo"))


def said(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.code]
    return "\n".join(str(part.value).replace("\\", "") for part in parts)


def is_well(app: AppTest) -> None:
    assert not app.exception
    assert not app.error


def sheet(app: AppTest) -> pd.DataFrame:
    return app.dataframe[-1].value


def image(app: AppTest) -> str:
    return str(app.query_params["image"])


def test_order_and_filters(synthetic_runs: Path, open_app: Open) -> None:
    counts = RunDirectory(synthetic_runs / "demo").read_per_image_class("val")
    app = open_app(synthetic_runs, PAGE)
    worst = image(app)
    app.button_group(key="choice_order").set_value("Best first").run()
    best_first = sheet(app)
    assert best_first["score"].is_monotonic_decreasing
    assert best_first["image_id"].iloc[-1] == worst
    app.selectbox(key="choice_with").set_value(1283).run()
    rows = counts[(counts["class_id"] == 1283) & (counts["truth_pixels"] > 0)]
    kept = RunDirectory(synthetic_runs / "demo").samples("val")
    assert set(sheet(app)["image_id"]) == set(rows["image_id"]) & set(kept)
    app.selectbox(key="choice_predicted").set_value(1283).run()
    rows = rows[rows["predicted_pixels"] > 0]
    assert set(sheet(app)["image_id"]) == set(rows["image_id"]) & set(kept)
    assert image(app) in set(sheet(app)["image_id"])
    assert (app.query_params["with"], app.query_params["predicted"]) == ("1283", "1283")
    is_well(app)


def test_no_picture_meets_both_filters(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    options = [app.selectbox(key=f"choice_{name}").options for name in ("with", "predicted")]
    counts = RunDirectory(synthetic_runs / "demo").read_per_image_class("val")
    kept = counts[counts["image_id"].isin(RunDirectory(synthetic_runs / "demo").samples("val"))]
    there = {int(c) for c in kept.loc[kept["truth_pixels"] > 0, "class_id"]}
    first = min(there)
    with_first = set(kept.loc[(kept["class_id"] == first) & (kept["truth_pixels"] > 0), "image_id"])
    other = kept[(kept["predicted_pixels"] > 0) & ~kept["image_id"].isin(with_first)]
    elsewhere = set(other["class_id"]) - set(
        kept.loc[kept["image_id"].isin(with_first) & (kept["predicted_pixels"] > 0), "class_id"]
    )
    assert len(options[0]) == len(there)
    app.selectbox(key="choice_with").set_value(first)
    app.selectbox(key="choice_predicted").set_value(min(elsewhere)).run()
    is_well(app)
    assert "No kept picture meets both filters" in said(app)
    (button,) = [button for button in app.button if button.label == "Show all pictures"]
    button.click().run()
    assert len(sheet(app)) == len(set(kept["image_id"]))


def test_steps_and_jumps(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, PAGE)
    order = sheet(app)["image_id"].tolist()
    app.button(key="step_1").click().run()
    assert image(app) == order[1]
    assert f"2 of {len(order)}" in said(app)
    app.button(key="step_-1").click().run()
    assert image(app) == order[0]
    assert app.button(key="step_-1").disabled
    app.text_input(key="go_to").set_value(str(int(order[7]))).run()
    assert image(app) == order[7]
    assert app.text_input(key="go_to").value == ""
    app.text_input(key="go_to").set_value("<b>nowhere</b>").run()
    assert image(app) == order[7]
    assert "No picture here has" in said(app)
    is_well(app)


def test_the_sheet_turns_its_pages(
    synthetic_runs: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pictures.PAGE", 10)
    monkeypatch.setattr("app.pictures.page_of.__defaults__", (10,))
    app = open_app(synthetic_runs, PAGE)
    first = sheet(app)["image_id"].tolist()
    assert len(first) == 10 and "1 to 10 of 24" in said(app)
    assert sheet(app)["picture"].str.startswith("data:image/jpeg").all()
    app.button(key="sheet_forth").click().run()
    app.button(key="sheet_forth").click().run()
    assert len(sheet(app)) == 4 and "21 to 24 of 24" in said(app)
    assert app.button(key="sheet_forth").disabled
    app.text_input(key="go_to").set_value(first[3]).run()  # the sheet follows the picture
    assert sheet(app)["image_id"].tolist() == first


def test_a_link_to_a_picture_wins_over_filters_made_before(
    synthetic_runs: Path, open_app: Open
) -> None:
    app = open_app(synthetic_runs, PAGE)
    everything = sheet(app)["image_id"].tolist()
    app.selectbox(key="choice_with").set_value(1283).run()
    hidden = next(one for one in everything if one not in set(sheet(app)["image_id"]))
    app.query_params["image"] = hidden
    del app.query_params["with"]
    app.run()
    assert image(app) == hidden
    assert app.selectbox(key="choice_with").value is None
    is_well(app)


def test_the_class_of_another_page_is_offered(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/classes.py", **{"class": "1283"})
    app.switch_page(PAGE).run()
    assert app.selectbox(key="choice_with").value is None
    app.button(key="only_chosen_class").click().run()
    assert app.selectbox(key="choice_with").value == 1283


def test_a_pixel_is_looked_into(trained: Path, open_app: Open) -> None:
    run = RunDirectory(trained / "demo")
    kept = run.samples("val")[5]
    picture, truth, _ = run.read_sample("val", kept)
    app = open_app(trained, PAGE, image=kept, pixel="40,50")
    is_well(app)
    assert app.query_params["pixel"] == "40,50"
    assert "Pixel 40, 50" in said(app)
    model, _ = load_model(run)
    assert model.table is not None
    features = inspect.extract_features(model, np.array(picture))
    classes, true = model.table(), int(truth[50, 40])
    rank = inspect.rank_of(inspect.scores_at(features, classes, "cosine", x=40, y=50), true)
    assert f"number {rank:,} of 1,284" in said(app)
    key = "pixel_temperature_demo"
    app.select_slider(key=key).set_value(2.5).run()  # an eighth of 20
    assert "At the model's temperature" in said(app)
    app.slider(key="pixel_k").set_value(20).run()
    is_well(app)
    app.button(key="step_1").click().run()  # a pixel belongs to its picture
    assert "Pixel 40, 50" not in said(app)
    assert "pixel" not in app.query_params
    is_well(app)


@pytest.mark.parametrize("pixel", ["96,0", "x", "-1,2", "1,2,3"])
def test_a_pixel_outside_is_ignored(trained: Path, open_app: Open, pixel: str) -> None:
    app = open_app(trained, PAGE, pixel=pixel)
    is_well(app)
    assert "Pixel" not in said(app)


@pytest.mark.parametrize(("loss", "distance"), [("dense", "cosine"), ("streaming", "linear")])
def test_models_without_distances(own_copy: Path, open_app: Open, loss: str, distance: str) -> None:
    shutil.rmtree(own_copy / "checkpoints")
    add_checkpoint(own_copy, loss, distance)
    app = open_app(own_copy.parent, PAGE, pixel="40,50")
    app.toggle(key="unknown").set_value(True).run()
    is_well(app)
    assert "of 1,284" in said(app) and "nan" not in said(app)
    assert "unit length" not in said(app)


def test_unknown_and_edited_classes(trained: Path, open_app: Open) -> None:
    app = open_app(trained, PAGE, pixel="40,50")
    assert not [toggle for toggle in app.toggle if toggle.key == "with_edits"]
    app.toggle(key="unknown").set_value(True).run()
    is_well(app)
    app.switch_page("views/vocabulary.py").run()
    app.button_group(key="vocabulary_action").set_value("Rename").run()
    app.selectbox(key="vocabulary_rename").set_value(1283)
    app.text_input(key="vocabulary_new_name").set_value("my own name")
    next(button for button in app.button if button.label == "Rename").click().run()
    app.switch_page(PAGE).run()
    app.toggle(key="with_edits").set_value(True).run()
    is_well(app)
    assert "Pixel 40, 50" in said(app)


def test_the_ids_of_edited_classes_lead_back_to_the_runs() -> None:
    lookup = np.array([2, -100, 0, 0, 1])  # 2 and 3 were merged, 1 left out, 3 was added
    assert predictions._own_ids(lookup, 4).tolist() == [2, 4, 0, -1]


def test_without_a_checkpoint_the_classes_still_have_neighbours(
    synthetic_runs: Path, open_app: Open
) -> None:
    app = open_app(synthetic_runs, PAGE, pixel="40,50")
    is_well(app)
    assert "keeps no checkpoint" in said(app)
    assert "Nearest other classes of" in said(app)
    assert not app.toggle
    app.button_group(key="choice_source").set_value(OWN).run()
    is_well(app)
    assert "cannot segment a new picture" in said(app) and "workbench train" in said(app)


def test_a_damaged_checkpoint(own_copy: Path, open_app: Open) -> None:
    (weights,) = own_copy.glob("checkpoints/*/model.safetensors")
    weights.write_bytes(b"broken")
    app = open_app(own_copy.parent, PAGE, pixel="40,50")
    is_well(app)
    assert "keeps no checkpoint that can be read" in said(app)
    app.toggle(key="unknown").set_value(True).run()
    is_well(app)
    app.button_group(key="choice_source").set_value(OWN).run()
    app.file_uploader(key="own_file").set_value(("a.png", png(), "image/png")).run()
    is_well(app)
    assert "cannot be read" in said(app)


def png(size: tuple[int, int] = (90, 70)) -> bytes:
    pixels = np.random.default_rng(2).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_handed_in(trained: Path, open_app: Open) -> None:
    before = sorted(str(path) for path in trained.rglob("*"))
    app = open_app(trained, PAGE, source=OWN)
    assert "never saved" in said(app) and "20 MB" in said(app)
    app.file_uploader(key="own_file").set_value(("a.png", png(), "image/png")).run()
    is_well(app)
    app.toggle(key="own_unknown").set_value(True).run()
    is_well(app)
    lens = data_pictures.own_lens(str(trained / "demo"), Image.open(io.BytesIO(png())))
    assert lens is not None
    app.session_state["own_pixel"] = (lens.key, "80,60")
    app.run()
    is_well(app)
    assert "Pixel 80, 60" in said(app) and "true class" not in said(app)
    assert sorted(str(path) for path in trained.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"GIF89a nothing", "no JPEG, PNG or WebP"),
        (png()[:2000], "damaged or cut off"),
        (b"", "empty"),
        (bytes(21 * 2**20), "limit is 20 MB"),
    ],
)
def test_bad_files_get_a_friendly_message(
    trained: Path, open_app: Open, content: bytes, says: str
) -> None:
    app = open_app(trained, PAGE, source=OWN)
    app.file_uploader(key="own_file").set_value(("<b>x.png", content, "image/png")).run()
    is_well(app)
    assert says in said(app)


def test_a_run_without_kept_pictures_still_segments(own_copy: Path, open_app: Open) -> None:
    shutil.rmtree(own_copy / "evaluation")
    app = open_app(own_copy.parent, PAGE)
    is_well(app)
    assert "workbench evaluate" in said(app)
    app.button_group(key="choice_source").set_value(OWN).run()
    app.file_uploader(key="own_file").set_value(("a.png", png(), "image/png")).run()
    is_well(app)
    assert app.toggle(key="own_unknown")
