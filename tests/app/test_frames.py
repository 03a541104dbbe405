"""From run tables to what a page shows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from app import frames


@pytest.fixture
def classes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class_id": [0, 1, 2, 1283],
            "name": ["teal striped star", "Teal star", "a.c", "star"],
            "group": ["rare", "common", "stuff", "rare"],
            "supercategory": ["star", "star", "background", ""],
            "reason": ["", "swallowed", "absent_from_val", None],
            "iou": [0.5, 0.0, np.nan, 1.0],
            "truth_pixels": [10, 10, 0, 10],
        }
    )


@pytest.mark.parametrize(
    "value", [1283, 1283.0, [1283], (1283, "x"), {"0": 1283}], ids=lambda value: str(type(value))
)
def test_selected_ids_reads_customdata(value: object) -> None:
    event = {"selection": {"points": [{"customdata": value, "point_index": 4}]}}
    assert frames.selected_ids(event) == [1283]


def test_selected_ids_skips_helper_traces_and_repeats() -> None:
    points = [{"customdata": [7]}, {"x": 1.0}, {"customdata": None}, {"customdata": [7]}]
    assert frames.selected_ids({"selection": {"points": points}}) == [7]
    assert frames.selected_ids(None) == frames.selected_ids({}) == []


def test_selected_row(classes: pd.DataFrame) -> None:
    assert frames.selected_row({"selection": {"rows": [3]}}, classes, "class_id") == 1283
    assert frames.selected_row({"selection": {"rows": []}}, classes, "class_id") is None
    assert frames.selected_row({"selection": {"rows": [99]}}, classes, "class_id") is None


def test_selected_class_is_a_plain_number(classes: pd.DataFrame) -> None:
    found = frames.selected_class({"selection": {"cells": [[3, "name"]]}}, classes)
    assert (type(found), found) == (int, 1283)  # a numpy number is no int: Rename would miss it
    assert frames.selected_class({"selection": {"rows": [4]}}, classes) is None
    assert frames.selected_class(None, classes) is None


def test_filters_combine(classes: pd.DataFrame) -> None:
    got = frames.filter_classes(classes, text="star", groups=["rare"], supercategories=["star"])
    assert list(got["class_id"]) == [0]
    got = frames.filter_classes(classes, reasons=["swallowed", "absent_from_val"])
    assert list(got["class_id"]) == [1, 2]


def test_reasons_in_words() -> None:
    assert frames.reason_text("absent_from_val") == "not in this split"
    assert frames.reason_text("some_new_code") == "some new code"
    assert frames.reason_text(None) == frames.reason_text(float("nan")) == ""


def test_every_reason_of_the_evaluation_has_words() -> None:
    from workbench.evaluation.failures import REASONS

    assert set(REASONS) == set(frames.REASONS)


def test_group_scores_leave_absent_classes_out(classes: pd.DataFrame) -> None:
    scores = frames.group_scores(classes)
    assert list(scores["group"]) == ["rare", "common", "stuff"]
    assert list(scores["miou"][:2]) == [0.75, 0.0]
    assert np.isnan(scores["miou"][2])
    assert list(scores["classes"]) == [2, 1, 0]


def test_zeros_everywhere_mean_that_nobody_counted() -> None:
    assert not frames.has_train_counts(pd.DataFrame({"train_images": [0, 0]}))
    assert frames.has_train_counts(pd.DataFrame({"train_images": [0, 1]}))


def test_labels_tell_equal_names_apart() -> None:
    table = pd.DataFrame({"class_id": [0, 1, 1283], "name": ["bat", "cat", "bat"]})
    assert frames.labels(table) == {0: "bat (0)", 1: "cat", 1283: "bat (1283)"}


def test_attributes_are_the_categories_of_the_vocabulary(classes: pd.DataFrame) -> None:
    table = classes.assign(hue=["teal", "teal", "red", ""], one="x", number=[1, 2, 3, 4])
    assert frames.attributes(table) == ["group", "supercategory", "hue"]


def test_confusions_of_a_class() -> None:
    table = pd.DataFrame(
        [(1283, 1283, 50), (1283, 300, 30), (1283, 7, 20), (9, 1283, 150), (9, 9, 5)],
        columns=["truth", "predicted", "pixels"],
    )
    lost = frames.taken_for(table, 1283)
    assert lost.to_dict("list") == {"class_id": [300, 7], "pixels": [30, 20], "share": [0.3, 0.2]}
    won = frames.taken_as(table, 1283)
    assert won.to_dict("list") == {"class_id": [9], "pixels": [150], "share": [0.75]}
    assert frames.taken_for(table, 4).empty


def test_classes_in_view_agree_with_a_count_by_hand() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"name": [f"n{i}" for i in range(1284)], "color": "#123456"})
    truth = rng.choice([-100, 0, 300, 1283], (9, 11))
    prediction = rng.choice([0, 300, 1283, 512], (9, 11))
    view = frames.classes_in_view(truth, prediction, table).set_index("class_id")
    pairs = [(t, p) for t, p in zip(truth.flat, prediction.flat, strict=True) if t >= 0]
    for class_id in (0, 300, 512, 1283):
        both = Counter(pairs)[(class_id, class_id)]
        either = sum(class_id in pair for pair in pairs)
        assert view["iou"][class_id] == pytest.approx(both / either)
        assert view["truth_pixels"][class_id] == sum(t == class_id for t, _ in pairs)
        assert view["predicted_pixels"][class_id] == sum(p == class_id for _, p in pairs)
        assert view["name"][class_id] == f"n{class_id}"
    assert list(view.index)[-1] == 512  # only predicted
    assert len(view) == 4


def test_nearest_classes_in_order() -> None:
    angles = np.array([0.0, 0.1, 2.0, 0.5])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    near = frames.nearest_classes(points, 0)
    assert list(near["class_id"]) == [1, 3, 2]
    assert list(near["rank"]) == [1, 2, 3]
    assert near["distance"][0] == pytest.approx(2 * np.sin(0.05), abs=1e-6)


def test_map_points_take_the_last_step_or_the_one_asked_for() -> None:
    columns = ["umap2_x", "umap2_y", "umap3_x", "umap3_y", "umap3_z", "pca_x", "pca_y", "pca_z"]
    rows = [(step, c, *np.arange(8) + 100 * step) for step in (1, 2) for c in (0, 1283)]
    projection = pd.DataFrame(rows, columns=["step", "class_id", *columns])
    table = pd.DataFrame({"class_id": [0, 7, 1283], "name": ["a", "b", "c"]})
    flat = frames.map_points(projection, table, "umap2")
    assert list(flat["class_id"]) == [0, 1283]
    assert list(flat["x"]) == [200, 200] and "z" not in flat
    deep = frames.map_points(projection, table, "pca3", step=1)
    assert deep[["x", "y", "z"]].iloc[0].tolist() == [105, 106, 107]


def test_no_cell_of_a_table_is_a_formula() -> None:
    """Browsers save what a table shows as CSV, without a look at it."""
    table = pd.DataFrame(
        {
            "name": ["=1+1", " @SUM(A1)", "dog", "", "a=b"],
            "group": pd.Categorical(["-x", "rare", "rare", "-x", "+y"]),
            "iou": [-0.5, 0.5, None, 1.0, 0.0],
            "seen": pd.to_datetime([1, 2, 3, 4, 5], unit="s"),
        }
    )
    safe = frames.without_formulas(table)
    assert safe["name"].tolist() == ["'=1+1", "'@SUM(A1)", "dog", "", "a=b"]
    assert safe["group"].tolist() == ["'-x", "rare", "rare", "'-x", "'+y"]
    pd.testing.assert_frame_equal(safe[["iou", "seen"]], table[["iou", "seen"]])
    assert table["name"][0] == "=1+1"
    harmless = table[["name", "iou"]].iloc[2:]
    pd.testing.assert_frame_equal(frames.without_formulas(harmless), harmless)
