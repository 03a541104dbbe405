"""What the class map draws and lists, as pure functions."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from app import map_points, pictures

CLASSES = 1284


@pytest.fixture
def points() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f"thing {n}" for n in range(CLASSES)]
    names[300], names[301], names[1283] = "teal star", "Dark  teal star", "500"
    return pd.DataFrame(
        {
            "class_id": np.arange(CLASSES),
            "name": names,
            "x": rng.normal(0, 3, CLASSES),
            "y": rng.normal(0, 1, CLASSES),
        }
    )


def test_extent_holds_every_step() -> None:
    projection = pd.DataFrame(
        {
            "step": [1, 1, 2, 2],
            "umap3_x": [0.0, 1.0, 5.0, np.nan],
            "umap3_y": [2.0, 2.0, 2.0, 2.0],
            "umap3_z": [-1.0, 0.0, 0.0, 9.0],
        }
    )
    view = map_points.extent(projection, "umap3")
    assert view["x"][0] < 0.0 and 5.0 < view["x"][1] < 6.0
    assert view["y"] == (1.0, 3.0)  # no width: still a range
    assert view["z"][0] < -1.0 and view["z"][1] > 9.0


def test_film_has_the_same_classes_at_every_step() -> None:
    table = pd.DataFrame({"class_id": [0, 1, 300], "name": ["a", "b", "c"]})
    projection = pd.DataFrame(
        {
            "step": [20, 20, 20, 10, 10],
            "class_id": [0, 1, 300, 300, 0],
            "pca_x": [1.0, 2.0, 3.0, 33.0, 11.0],
            "pca_y": 0.0,
        }
    )
    steps = map_points.movie_steps(projection, table, "pca2")
    assert [step for step, _ in steps] == [10, 20]
    assert [now["class_id"].tolist() for _, now in steps] == [[0, 300], [0, 300]]
    assert [now["x"].tolist() for _, now in steps] == [[11.0, 33.0], [1.0, 3.0]]


@pytest.mark.parametrize(
    ("text", "chosen", "goal"),
    [
        ("", 300, None),
        ("no such class", 300, None),
        ("teal star", None, 300),  # exactly this name, though two hold the words
        ("TEAL  star ", None, 300),
        ("dark star", None, 301),  # the only hit
        ("star", None, None),
        ("star", 301, 301),
        ("star", 7, None),
        ("1282", None, 1282),  # an id
        ("500", None, None),  # one class's id and another's name
    ],
)
def test_where_a_search_flies(
    points: pd.DataFrame, text: str, chosen: int | None, goal: int | None
) -> None:
    assert map_points.target(points, text, chosen) == goal


@pytest.mark.parametrize("three", [False, True])
def test_a_class_comes_into_view_with_its_neighbourhood(points: pd.DataFrame, three: bool) -> None:
    points = points.assign(z=points["x"] * 0.5) if three else points
    points = points.sample(frac=1, random_state=1)  # rows need not be in the order of ids
    axes = ["x", "y", "z"] if three else ["x", "y"]
    view, near = map_points.around(points, 1283, count=5)
    at = points.set_index("class_id")
    distance = {
        class_id: float(np.linalg.norm(at.loc[class_id, axes] - at.loc[1283, axes]))
        for class_id in at.index
        if class_id != 1283
    }
    assert near == sorted(distance, key=lambda class_id: distance[class_id])[:5]
    for class_id in [1283, *near]:
        for axis in axes:
            assert view[axis][0] < at.loc[class_id, axis] < view[axis][1]


def test_a_map_of_one_class_has_a_view() -> None:
    one = pd.DataFrame({"class_id": [300], "name": ["a"], "x": [1.0], "y": [2.0]})
    view, near = map_points.around(one, 300)
    assert near == []
    assert view == {"x": (0.0, 2.0), "y": (1.0, 3.0)}


def test_edges_by_brute_force() -> None:
    rng = np.random.default_rng(2)
    pairs = pd.DataFrame(
        {"truth": rng.integers(0, 400, 5000), "predicted": rng.integers(0, 400, 5000)}
    ).drop_duplicates()
    pairs["pixels"] = rng.integers(1, 100, len(pairs))
    matrix = np.zeros((400, 400))
    matrix[pairs["truth"], pairs["predicted"]] = pairs["pixels"]
    expected = {}
    for truth in range(400):
        for predicted in range(400):
            share = matrix[truth, predicted] / max(1.0, matrix[truth].sum())
            if truth != predicted and share >= 0.12:
                expected[(truth, predicted)] = share
    edges = map_points.confusion_edges(pairs, 0.12, limit=100_000)
    found = {(row.truth, row.predicted): row.share for row in edges.table.itertuples()}
    assert found == pytest.approx(expected)
    assert edges.total == len(expected) > 50
    few = map_points.confusion_edges(pairs, 0.12, limit=50)
    assert len(few.table) == 50 and few.total == len(expected)
    assert few.table["share"].min() >= edges.table["share"].iloc[50]


def test_no_confusions() -> None:
    empty = pd.DataFrame({"truth": [], "predicted": [], "pixels": []}).astype("int64")
    edges = map_points.confusion_edges(empty, 0.1)
    assert edges.total == 0 and edges.table.empty


def test_pictures_of_the_selected_classes() -> None:
    rows = [
        ("a", 300, 5, 10, 8, 7),
        ("a", 301, 0, 4, 4, 0),
        ("b", 300, 9, 10, 10, 9),
        ("c", 301, 0, 6, 0, 6),  # only predicted there
        ("d", 300, 1, 2, 2, 1),  # not kept
        ("e", 7, 1, 1, 1, 1),  # another class
    ]
    columns = ["image_id", "class_id", "intersection", "union", "truth_pixels", "predicted_pixels"]
    counts = pd.DataFrame(rows, columns=columns)
    found = map_points.pictures_of(
        pictures.index_pictures(["e", "c", "b", "a"], counts), [300, 301]
    )
    assert found["image_id"].tolist() == ["a", "b"]
    assert found["classes"].tolist() == [2, 1]
    assert found["pixels"].tolist() == [12, 10]
    assert found["iou"].tolist() == pytest.approx([0.25, 0.9])
    assert map_points.pictures_of(pictures.index_pictures([], counts), [300]).empty
    assert map_points.pictures_of(pictures.index_pictures(["a"], counts), []).empty
    assert map_points.pictures_of(pictures.index_pictures(["a"], None), [300]).empty


def test_pictures_are_found_quickly_at_full_size() -> None:
    rng = np.random.default_rng(3)
    images = np.array([f"{n:012d}" for n in range(19_809)], dtype=object)
    count = 250_000
    counts = pd.DataFrame(
        {
            "image_id": images[rng.integers(0, len(images), count)],
            "class_id": rng.integers(0, CLASSES, count),
            "intersection": 5,
            "union": 10,
            "truth_pixels": 8,
            "predicted_pixels": 7,
        }
    )
    index = pictures.index_pictures(list(images), counts)
    start = time.process_time()
    found = map_points.pictures_of(index, range(200, 700))
    assert time.process_time() - start < 0.1
    shown = counts[counts["class_id"].between(200, 699)].groupby("image_id").size()
    assert found.set_index("image_id")["classes"].to_dict() == shown.to_dict()
    assert found["classes"].is_monotonic_decreasing


def test_a_pixel_stands_amid_its_classes(points: pd.DataFrame) -> None:
    nearest = pd.DataFrame({"class_id": [300, 1283, 99_999], "probability": [0.3, 0.1, 0.6]})
    place = map_points.pixel_place(points, nearest)
    a, b = points[["x", "y"]].to_numpy()[[300, 1283]]
    assert place == pytest.approx(list(0.75 * a + 0.25 * b))
    same = pd.DataFrame({"class_id": [300, 301], "probability": [0.0, 0.0]})
    middle = points[["x", "y"]].to_numpy()[[300, 301]].mean(axis=0)
    assert map_points.pixel_place(points, same) == pytest.approx(list(middle))
    unknown = pd.DataFrame({"class_id": [99_999], "probability": [1.0]})
    assert map_points.pixel_place(points, unknown) is None
