"""Charts: frames in, figures out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import charts
from workbench.colors import GROUPS

CLASSES = 1284


@pytest.fixture
def per_class() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    iou = rng.uniform(0, 1, CLASSES)
    iou[5] = np.nan
    return pd.DataFrame(
        {
            "class_id": np.arange(CLASSES),
            "name": [f"class {n}" for n in range(CLASSES)],
            "group": np.array(["rare", "common", "frequent", "stuff"])[np.arange(CLASSES) % 4],
            "iou": iou,
            "train_images": rng.integers(0, 5000, CLASSES),
            "color": "#336699",
            "x": rng.normal(0, 1, CLASSES),
            "y": rng.normal(0, 1, CLASSES),
        }
    )


def test_scatter_is_one_trace_with_ids_above_255(per_class: pd.DataFrame) -> None:
    figure = charts.iou_against_images(per_class)
    points = figure.data[0]
    ids = np.asarray(points.customdata)[:, 0]
    assert len(points.x) == CLASSES - 1  # all but the class that is absent from the split
    assert set(ids) == set(range(CLASSES)) - {5}
    assert len(points.marker.color) == CLASSES - 1
    legend = [trace for trace in figure.data if trace.showlegend]
    assert [list(trace.x) for trace in legend] == [[None]] * 4
    (median,) = (trace for trace in figure.data[1:] if trace not in legend)
    assert median.mode == "lines"
    assert figure.layout.xaxis.type == "log"
    assert "log" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text == "IoU"


def test_scatter_puts_classes_never_trained_on_left_of_one(per_class: pd.DataFrame) -> None:
    per_class.loc[1283, ["train_images", "iou"]] = [0, 0.25]
    figure = charts.iou_against_images(per_class)
    points = figure.data[0]
    at = int(np.flatnonzero(np.asarray(points.customdata)[:, 0] == 1283)[0])
    assert 0 < points.x[at] < 1 and points.y[at] == 0.25
    assert figure.layout.xaxis.ticktext[0] == "0"


def test_highlight_rings_the_class(per_class: pd.DataFrame) -> None:
    figure = charts.iou_against_images(per_class, highlight=1283)
    ring = next(trace for trace in figure.data if trace.marker.symbol == "circle-open")
    assert list(ring.y) == [per_class["iou"][1283]]
    assert ring.hoverinfo == "skip"
    absent = charts.iou_against_images(per_class, highlight=5)
    assert not [trace for trace in absent.data if trace.marker.symbol == "circle-open"]


@pytest.mark.parametrize("three", [False, True])
@pytest.mark.parametrize("color_by", ["iou", "train_images", "group"])
def test_class_map(per_class: pd.DataFrame, three: bool, color_by: str) -> None:
    points = per_class.assign(z=0.0) if three else per_class
    figure = charts.class_map(points, color_by=color_by, highlight=[7, 1283])
    assert figure.data[0].type == ("scatter3d" if three else "scatter")
    assert len(figure.data[0].x) == CLASSES
    assert len(set(figure.data[0].marker.color)) > 3
    assert figure.data[0].marker.cmax == len(figure.data[0].marker.colorscale) - 1
    assert len(figure.data[1].x) == 2


def test_points_have_the_colours_of_the_key(per_class: pd.DataFrame) -> None:
    marker = charts.iou_against_images(per_class).data[0].marker
    scale = dict(marker.colorscale)
    scored = per_class[per_class["iou"].notna()]
    shown = [scale[code / marker.cmax] for code in marker.color]
    assert shown == [GROUPS[group] for group in scored["group"]]


def test_pca_keeps_its_proportions_and_umap_fills_the_frame(per_class: pd.DataFrame) -> None:
    assert charts.class_map(per_class).layout.yaxis.scaleanchor == "x"
    assert charts.class_map(per_class, isotropic=False).layout.yaxis.scaleanchor is None


def test_large_vocabularies_use_webgl(per_class: pd.DataFrame) -> None:
    many = pd.concat([per_class] * 6, ignore_index=True).assign(class_id=np.arange(6 * CLASSES))
    assert charts.class_map(many).data[0].type == "scattergl"


def test_names_are_escaped_everywhere(per_class: pd.DataFrame) -> None:
    evil = '<img src=x onerror="alert(1)"><a href="javascript:alert(2)">'
    per_class.loc[0, "name"] = evil
    per_class["group"] = evil
    groups = pd.DataFrame({"group": [evil], "miou": [0.5], "classes": [3]})
    for figure in (
        charts.class_map(per_class, color_by="group"),
        charts.iou_against_images(per_class),
        charts.group_bars(groups),
    ):
        assert "<img" not in figure.to_json()
        assert "<a " not in figure.to_json()
        assert "&lt;img" in figure.to_json().replace("\\u0026", "&").replace("\\u003c", "<")


def test_more_groups_than_colours_have_bars() -> None:
    names = [f"group {number}" for number in range(30)]
    groups = pd.DataFrame({"group": names, "miou": 0.5, "classes": 3})
    assert len(charts.group_bars(groups).data[0].marker.color) == 30
    changes = groups.assign(change=0.1, low=0.0, high=0.2)
    assert len(charts.change_bars(changes).data[0].marker.color) == 30


def test_group_bars_say_what_is_not_there() -> None:
    groups = pd.DataFrame(
        {"group": ["rare", "common"], "miou": [np.nan, 0.25], "classes": [0, 461]}
    )
    bar = charts.group_bars(groups).data[0]
    assert list(bar.y) == ["common", "rare"]  # plotly draws upwards
    assert list(bar.x) == [0.25, 0.0]
    assert list(bar.text) == ["0.250  ·  461 classes", "no class in this split"]


def test_histogram_counts_every_scored_class_once(per_class: pd.DataFrame) -> None:
    per_class.loc[:9, "iou"] = 0.0
    per_class.loc[10, "iou"] = 1.0
    counts = charts.iou_histogram(per_class).data[0].y
    assert sum(counts) == per_class["iou"].notna().sum()
    assert counts[0] == (per_class["iou"] == 0).sum()


def test_curve_smooths_long_records_only() -> None:
    def traces(rows: int) -> Any:
        frame = pd.DataFrame({"step": np.arange(rows), "loss": np.ones(rows)})
        frame.loc[0, "loss"] = np.nan
        return charts.curve(frame, "loss", label="loss (nats)").data

    assert [len(trace.x) for trace in traces(10)] == [9]
    assert [len(trace.x) for trace in traces(100)] == [99, 99]
    assert np.allclose(traces(100)[1].y, 1.0)


def test_smoothing_does_not_lag() -> None:
    line = pd.Series(np.arange(100.0))
    assert np.allclose(charts.smooth(line, 5)[2:-2], line[2:-2])


def test_empty_tables_give_empty_figures(per_class: pd.DataFrame) -> None:
    nothing = per_class.iloc[:0]
    charts.iou_against_images(nothing)
    charts.class_map(nothing)
    charts.iou_histogram(nothing)
    charts.curve(pd.DataFrame({"step": [], "loss": []}), "loss", label="loss")
    charts.group_bars(pd.DataFrame({"group": [], "miou": [], "classes": []}))


def test_dark_changes_text_only() -> None:
    light, dark = charts.template(False).layout, charts.template(True).layout
    assert light.font.color != dark.font.color
    assert light.paper_bgcolor == dark.paper_bgcolor == "rgba(0,0,0,0)"
