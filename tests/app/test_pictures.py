"""Which pictures, which colours, where a pixel lies: the Predictions page without a page."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from app import class_list, distinct, pictures, pixel_panel
from app.frames import BEST_FIRST, BY_NAME, WORST_FIRST
from workbench.vocabulary import palette

COUNTS = pd.DataFrame(
    [
        # image, class, intersection, union, truth, predicted
        ("b", 300, 5, 10, 10, 5),
        ("b", 1283, 0, 4, 0, 4),
        ("a", 300, 9, 10, 10, 9),
        ("a", 7, 2, 10, 6, 6),
        ("c", 1283, 3, 4, 3, 4),
        ("c", 7, 0, 2, 2, 0),
        ("gone", 300, 1, 1, 1, 1),
    ],
    columns=["image_id", "class_id", "intersection", "union", "truth_pixels", "predicted_pixels"],
)


@pytest.fixture
def index() -> pictures.PictureIndex:
    return pictures.index_pictures(["c", "a", "b", "empty"], COUNTS)


def found(table: pd.DataFrame) -> list[str]:
    return [str(one) for one in table["image_id"]]


def test_order_of_all_pictures(index: pictures.PictureIndex) -> None:
    worst = pictures.find_pictures(index)
    assert found(worst) == ["c", "b", "a", "empty"]  # nothing known comes last
    assert worst["score"].tolist()[:3] == pytest.approx([0.375, 0.5, 0.55])
    assert worst["classes"].tolist() == [2, 1, 2, 0]
    assert worst["accuracy"].tolist()[:3] == pytest.approx([3 / 5, 5 / 10, 11 / 16])
    assert found(pictures.find_pictures(index, order=BEST_FIRST)) == ["a", "b", "c", "empty"]
    assert found(pictures.find_pictures(index, order=BY_NAME)) == ["a", "b", "c", "empty"]


def test_filters_by_truth_and_by_prediction(index: pictures.PictureIndex) -> None:
    table = pictures.find_pictures(index, in_truth=300)
    assert found(table) == ["b", "a"]
    assert table["score"].tolist() == [0.5, 0.9]  # of this class, not of the picture
    assert found(pictures.find_pictures(index, predicted=1283)) == ["b", "c"]
    assert found(pictures.find_pictures(index, in_truth=1283)) == ["c"]
    both = pictures.find_pictures(index, in_truth=300, predicted=1283)
    assert found(both) == ["b"] and both["score"].tolist() == [0.5]
    assert found(pictures.find_pictures(index, in_truth=7, predicted=7)) == ["a"]
    assert len(pictures.find_pictures(index, in_truth=5)) == 0
    shown = pictures.find_pictures(index, shown=1283, order=BEST_FIRST)
    assert found(shown) == ["c", "b"] and shown["score"].tolist() == [0.75, 0.0]
    assert found(pictures.find_pictures(index, shown=7)) == ["c", "a"]
    assert index.truth_classes == [7, 300, 1283]
    assert index.predicted_classes == [7, 300, 1283]


def test_without_counts_there_are_still_pictures() -> None:
    index = pictures.index_pictures(["2", "1"], None)
    table = pictures.find_pictures(index, order=WORST_FIRST)
    assert found(table) == ["1", "2"] and table["score"].isna().all()
    assert index.truth_classes == []


def test_a_filter_over_a_quarter_of_a_million_rows_is_quick() -> None:
    rng = np.random.default_rng(0)
    rows, images = 250_000, 19_809
    ids = np.array([f"{n:012d}" for n in range(images)], dtype=object)
    pixels = rng.integers(1, 500, rows)
    counts = pd.DataFrame(
        {
            "image_id": ids[rng.integers(0, images, rows)],
            "class_id": rng.integers(0, 1284, rows),
            "intersection": pixels // 2,
            "union": pixels * 2,
            "truth_pixels": pixels,
            "predicted_pixels": pixels,
        }
    )
    index = pictures.index_pictures(list(ids), counts)
    work = time.process_time()
    table = pictures.find_pictures(index, in_truth=700, predicted=1283, order=BEST_FIRST)
    whole = pictures.find_pictures(index)
    assert time.process_time() - work < 0.3
    assert len(whole) == images and len(table) < 300


@pytest.mark.parametrize(
    ("text", "picture"),
    [
        ("000000010216", "000000010216"),
        ("10216", "000000010216"),
        (" 216 ", "000000010216"),
        ("102", "000000010216"),
        ("KITCHEN", "Kitchen_3"),
        ("0", "000000000000"),
        ("nothing", None),
        ("", None),
        (".*", None),
    ],
)
def test_a_picture_is_found_by_part_of_its_id(text: str, picture: str | None) -> None:
    ids = ["000000010217", "Kitchen_3", "000000010216", "000000000000"]
    if text == "102":  # the first that holds it
        picture = "000000010217"
    assert pictures.find_id(ids, text) == picture


@pytest.mark.parametrize(
    ("position", "count", "page"),
    [
        (0, 5, (0, 5)),
        (59, 120, (0, 60)),
        (60, 121, (60, 120)),
        (999, 121, (120, 121)),
        (3, 0, (0, 0)),
        (-5, 121, (0, 60)),
        (10**9, 121, (120, 121)),
    ],
)
def test_pages_of_the_contact_sheet(position: int, count: int, page: tuple[int, int]) -> None:
    assert pictures.page_of(position, count) == page


@pytest.mark.parametrize(
    ("text", "pixel"),
    [
        ("3,2", (3, 2)),
        ("0,0", (0, 0)),
        ("8,0", None),
        ("0,5", None),
        ("-1,0", None),
        ("3", None),
        ("3,2,1", None),
        ("x,y", None),
        ("1e0,1", None),
        ("1.5,2", None),
        ("9" * 9 + ",1", None),
        ("", None),
        (None, None),
    ],
)
def test_pixels_in_the_url(text: str | None, pixel: tuple[int, int] | None) -> None:
    assert pictures.parse_pixel(text, 8, 5) == pixel
    assert (text in pictures.PixelGrid(8, 5)) == (pixel is not None or text is None)
    if pixel is not None:
        assert str(pictures.Pixel(*pixel)) == text


def test_a_grid_holds_every_pixel_and_none() -> None:
    grid = pictures.PixelGrid(3, 2)
    assert list(grid) == [None, "0,0", "1,0", "2,0", "0,1", "1,1", "2,1"]
    assert len(grid) == 7


def test_classes_of_a_prediction_without_truth() -> None:
    table = pd.DataFrame({"name": [f"n{n}" for n in range(1284)], "color": "#123456"})
    view = pictures.classes_predicted(np.array([[300, 300, 1283], [-100, 300, 5000]]), table)
    assert view["class_id"].tolist() == [300, 1283]
    assert view["predicted_pixels"].tolist() == [3, 1]
    assert view["name"].tolist() == ["n300", "n1283"]


def apart(colors: list[str]) -> float:
    places = distinct.lab(colors)
    return min(
        float(np.linalg.norm(one - other)) for one, other in itertools.combinations(places, 2)
    )


def test_colors_too_near_to_tell_apart_are_moved() -> None:
    near = ["#2f4f2f", "#2f4f30", "#305030", "#2f4f2f", "#ff0000", "#8d939c"]
    got = distinct.distinct_colors(near)
    assert got[0] == near[0] and got[4] == near[4]  # first come, first served
    assert got[5] != near[5]  # it would look like an ignored pixel
    assert apart([*got, "#8d939c"]) >= distinct.APART
    assert apart(near) < distinct.APART


def test_colors_far_apart_stay_and_many_still_differ() -> None:
    far = palette(12)
    assert distinct.distinct_colors(far) == far
    assert distinct.distinct_colors([]) == []
    crowd = distinct.distinct_colors(["#336699"] * 30)
    assert apart(crowd) >= distinct.APART
    assert len(set(distinct.distinct_colors(["#336699"] * 400))) == 400


def test_the_panel_uses_the_colors_of_the_picture() -> None:
    table = pd.DataFrame({"name": ["a", "b", "c"], "color": ["#111111", "#222222", "#333333"]})
    got = pictures.with_colors(table, [{"id": 2, "color": "#abcdef"}])
    assert got["color"].tolist() == ["#111111", "#222222", "#abcdef"]
    assert table["color"].tolist() == ["#111111", "#222222", "#333333"]


def test_what_a_temperature_changes_is_said() -> None:
    own = pd.DataFrame({"class_id": [300], "probability": [0.8]})
    text = pictures.temperature_text(own, own.assign(probability=0.25), 20.0)
    assert "80.0%" in text and "25.0%" in text and "order of the classes stays" in text
    assert "Another class" in pictures.temperature_text(own, own.assign(class_id=5), 20.0)


def test_the_slider_of_temperatures_holds_the_models_own() -> None:
    offered = pixel_panel.temperatures(40.9)
    assert offered[12] == 40.9
    assert offered == sorted(offered) and offered[0] < 6 and offered[-1] > 160


def test_rows_of_the_nearest_classes() -> None:
    classes = pd.DataFrame(
        {
            "class_id": range(1284),
            "name": [f"n{n}" for n in range(1284)],
            "color": "#123456",
        }
    )
    nearest = pd.DataFrame(
        {
            "class_id": [1283, 300],
            "distance": [0.25, 1.5],
            "logit": [3.0, 2.0],
            "probability": [0.75, 0.0001],
        }
    )
    own = np.arange(1284)
    own[300] = -1  # a class that was added: the run has no page of it
    rows = pixel_panel.class_rows(nearest, classes, truth=300, third="distance", own_ids=own)
    assert rows == [
        class_list.Row("n1283", "#123456", 0.75, "75.0%", "0.250", False, 1283),
        class_list.Row("n300", "#123456", 0.0001, "< 0.1%", "1.500", True, None),
    ]


def test_the_rank_of_the_true_class_in_words() -> None:
    assert "nearest of 1,284, at distance 0.500" in pixel_panel.rank_text(1, 1284, 0.5, 0.9)
    text = pixel_panel.rank_text(1017, 1284, float("nan"), 0.0)
    assert "number 1,017 of 1,284, with 0.0%" in text
