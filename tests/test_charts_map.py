"""The class map's charts: rings, names, confusions, a pixel, and the film of the training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench import charts

CLASSES = 1284
EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def points() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "class_id": np.arange(CLASSES),
            "name": [f"class {n}" for n in range(CLASSES)],
            "group": np.array(["rare", "common", "frequent", "stuff"])[np.arange(CLASSES) % 4],
            "iou": rng.uniform(0, 1, CLASSES),
            "train_images": rng.integers(0, 5000, CLASSES),
            "x": rng.normal(0, 1, CLASSES),
            "y": rng.normal(0, 1, CLASSES),
        }
    )


def edges(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["truth", "predicted", "share"])


@pytest.mark.parametrize("three", [False, True])
def test_confusions_are_one_broken_line_and_say_what_they_are(
    points: pd.DataFrame, three: bool
) -> None:
    points = points.assign(z=np.arange(CLASSES) / 10.0) if three else points
    drawn = edges((300, 1283, 0.34), (7, 300, 0.2), (7, 99_999, 0.5))  # the last is not there
    figure = charts.class_map(points, edges=drawn)
    line = next(trace for trace in figure.data if trace.name == "confusions")
    assert line.mode == "lines" and line.hoverinfo == "skip"
    for axis in "xyz" if three else "xy":
        at = points[axis]
        expected = [at[300], at[1283], np.nan, at[7], at[300], np.nan]
        np.testing.assert_array_equal(np.asarray(line[axis], dtype=float), expected)
    middle = next(trace for trace in figure.data if trace.name == "confusion")
    assert middle.x[0] == pytest.approx((points["x"][300] + points["x"][1283]) / 2)
    assert middle.hovertext[0] == "<b>class 300</b> taken for <b>class 1283</b>, 34%"
    assert middle.customdata is None  # a selection must not take it for a class
    cloud = next(trace for trace in figure.data if trace.customdata is not None)
    assert len(cloud.x) == CLASSES


def test_few_ringed_classes_are_named(points: pd.DataFrame) -> None:
    points.loc[1283, "name"] = "n" * 400
    figure = charts.class_map(points, highlight=[1283], label=[1283, 300])
    texts = [list(trace.text) for trace in figure.data if trace.mode == "markers+text"]
    assert texts[0] == ["class 300"]
    assert len(texts[1][0]) < 40
    many = charts.class_map(points, highlight=range(200))
    assert [trace for trace in many.data if trace.mode == "markers+text"] == []
    rings = [trace for trace in many.data if trace.marker.symbol == "circle-open"]
    assert len(rings[0].x) == 200


@pytest.mark.parametrize("three", [False, True])
def test_view_zooms(points: pd.DataFrame, three: bool) -> None:
    view = {axis: (-0.5, 0.5) for axis in ("xyz" if three else "xy")}
    figure = charts.class_map(points.assign(z=0.0) if three else points, view=view)
    where = figure.layout.scene if three else figure.layout
    assert where.xaxis.range == (-0.5, 0.5) and where.yaxis.range == (-0.5, 0.5)


def test_a_pixel_is_a_star_where_the_map_has_its_axes(points: pd.DataFrame) -> None:
    figure = charts.class_map(points, pixel=[0.25, -0.5])
    star = next(trace for trace in figure.data if trace.name == "pixel")
    assert (list(star.x), list(star.y), star.marker.symbol) == ([0.25], [-0.5], "star")
    three = charts.class_map(points.assign(z=0.0), pixel=[0.25, -0.5])
    assert [trace for trace in three.data if trace.name == "pixel"] == []


def test_film_has_a_frame_per_step_with_the_classes_in_place(points: pd.DataFrame) -> None:
    later = points.assign(x=points["x"] + 1.0)
    steps = [(500, points), (5000, later)]
    film = charts.class_map_movie(steps, highlight=[1283])
    assert [frame.name for frame in film.frames] == ["500", "5000"]
    np.testing.assert_array_equal(film.data[0].x, points["x"])
    moved, ring = film.frames[1].data
    np.testing.assert_allclose(np.asarray(moved.x), later["x"], atol=1e-6)
    np.testing.assert_allclose(np.asarray(ring.x), [later["x"][1283]], atol=1e-6)
    assert tuple(film.frames[1].traces) == (0, 1)
    assert film.data[1].marker.symbol == "circle-open"
    assert [step.label for step in film.layout.sliders[0].steps] == ["500", "5,000"]
    assert film.layout.updatemenus[0].buttons[0].method == "animate"


def test_names_in_lines_and_labels_are_escaped(points: pd.DataFrame) -> None:
    points["name"] = EVIL
    figure = charts.class_map(points, highlight=[7], label=[8], edges=edges((7, 8, 0.5)))
    assert "<img" not in figure.to_json()
    film = charts.class_map_movie([(1, points), (2, points)], highlight=[7])
    assert "<img" not in film.to_json()


@pytest.fixture
def compared(points: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    before = rng.uniform(0, 1, CLASSES)
    after = np.clip(before + rng.normal(0, 0.1, CLASSES), 0, 1)
    after[5] = np.nan
    return points.drop(columns=["iou", "x", "y"]).assign(
        iou_a=before, iou_b=after, change=after - before, drift=rng.uniform(0, 1, CLASSES)
    )


def test_iou_against_iou_is_one_trace(compared: pd.DataFrame) -> None:
    figure = charts.iou_against_iou(compared, names=("first", EVIL), highlight=1283)
    cloud = figure.data[0]
    ids = np.asarray(cloud.customdata)[:, 0]
    assert set(ids) == set(range(CLASSES)) - {5}
    at = int(np.flatnonzero(ids == 1283)[0])
    assert cloud.x[at] == compared["iou_a"][1283] and cloud.y[at] == compared["iou_b"][1283]
    assert "first" in figure.layout.xaxis.title.text
    assert "<img" not in figure.to_json()
    ring = next(trace for trace in figure.data if trace.marker.symbol == "circle-open")
    assert list(ring.y) == [compared["iou_b"][1283]]


def test_drift_is_drawn_where_both_are_known(compared: pd.DataFrame) -> None:
    compared.loc[300, "drift"] = np.nan
    figure = charts.drift_against_change(compared, chance=1.3)
    assert set(np.asarray(figure.data[0].customdata)[:, 0]) == set(range(CLASSES)) - {5, 300}
    assert figure.layout.xaxis.range[1] > 1.3
    without = charts.drift_against_change(compared, chance=float("nan"))
    assert len(without.layout.shapes) == len(figure.layout.shapes) - 1


def test_bars_of_change_carry_their_interval() -> None:
    groups = pd.DataFrame(
        {
            "group": ["rare", EVIL],
            "change": [0.1, np.nan],
            "low": [0.05, np.nan],
            "high": [0.2, np.nan],
            "classes": [337, 0],
        }
    )
    figure = charts.change_bars(groups)
    bar = figure.data[0]
    assert list(bar.x)[1] == 0.1
    assert bar.error_x.array[1] == pytest.approx(0.1)
    assert bar.error_x.arrayminus[1] == pytest.approx(0.05)
    assert "<img" not in figure.to_json()
    charts.change_bars(groups.iloc[:0])


def test_nothing_to_compare_gives_empty_figures(compared: pd.DataFrame) -> None:
    nothing = compared.iloc[:0]
    charts.iou_against_iou(nothing, names=("a", "b"))
    charts.drift_against_change(nothing, chance=float("nan"))
