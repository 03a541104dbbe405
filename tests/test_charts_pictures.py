"""Galleries of masks, frequencies of classes, charts of small tables."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from workbench import charts
from workbench.charts.pictures import paint_mask

NAMES = ["sky", "<b>road</b>", "tree"]
COLORS = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0]], dtype=np.uint8)


def pixels_of(trace: go.Image) -> np.ndarray:
    data = base64.b64decode(trace.source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def sample(height: int = 4, width: int = 6, *, parts: int = 2) -> tuple[object, ...]:
    mask = np.zeros((height, width), dtype=np.int64)
    mask[:, width // 2 :] = 1
    mask[0, 0] = -100
    return (Image.new("RGB", (width, height), (9, 9, 9)), *[mask] * (parts - 1))


def test_a_gallery_shows_each_picture_above_its_mask() -> None:
    plot = charts.mask_gallery([sample(), sample()], NAMES, COLORS)
    images = [trace for trace in plot.data if isinstance(trace, go.Image)]
    assert len(images) == 4
    assert [trace.yaxis for trace in images] == ["y", "y3", "y2", "y4"]  # column by column
    assert (pixels_of(images[0]) == 9).all()
    mask = pixels_of(images[1])
    assert mask.shape == (4, 6, 3)
    assert mask[1, 0].tolist() == [10, 20, 30] and mask[1, 5].tolist() == [200, 0, 0]
    assert mask[0, 0].tolist() not in COLORS.tolist()  # no label, no class's colour


def test_the_legend_names_the_classes_shown_most_pixels_first() -> None:
    plot = charts.mask_gallery([sample(parts=3)], NAMES, COLORS)
    legend = [trace for trace in plot.data if isinstance(trace, go.Scatter)]
    assert [trace.name for trace in legend] == ["&lt;b&gt;road&lt;/b&gt;", "sky", "no label"]
    assert legend[0].marker.color == "#c80000"
    assert sum(isinstance(trace, go.Image) for trace in plot.data) == 3


def test_a_long_legend_is_cut_and_says_so() -> None:
    classes = 40
    mask = np.arange(classes).repeat(2).reshape(8, 10)
    names = [f"class {number}" for number in range(classes)]
    colors = np.arange(classes * 3, dtype=np.uint8).reshape(classes, 3)
    plot = charts.mask_gallery([(np.zeros((8, 10, 3), np.uint8), mask)], names, colors)
    shown = [trace.name for trace in plot.data if isinstance(trace, go.Scatter)]
    assert len(shown) == 26 and shown[-2:] == ["16 more", "no label"]


def test_panes_have_as_many_traces_however_many_classes_are_in_view() -> None:
    names = [f"class {number}" for number in range(300)]
    colors = np.arange(900).reshape(300, 3).astype(np.uint8)
    picture = np.zeros((6, 50, 3), np.uint8)
    many, few = np.arange(300).reshape(6, 50), np.full((6, 50), 299)
    few[0, :7] = 5
    shown = []
    for mask, only in ((many, None), (few, None), (few, [5])):
        plot = charts.prediction_panes(picture, mask, mask, names, colors, only=only)
        legend = [trace for trace in plot.data if isinstance(trace, go.Scatter)]
        assert len(legend) == 18
        shown.append([trace.name for trace in legend if trace.showlegend])
    assert shown[0] == [*names[:17], "283 more"]
    assert shown[1:] == [["class 299", "class 5"], ["class 5"]]


def test_what_does_not_fit_side_by_side_comes_below() -> None:
    plot = charts.mask_gallery([sample()] * 5, NAMES, COLORS, columns=2)
    assert sum(isinstance(trace, go.Image) for trace in plot.data) == 10
    assert len([name for name in plot.layout if name.startswith("yaxis")]) == 2 * 6


def test_large_pictures_are_shrunk_with_their_masks() -> None:
    mask = np.zeros((1024, 2048), dtype=np.int64)
    mask[:, ::4] = 2
    picture = np.zeros((1024, 2048, 3), dtype=np.uint8)
    plot = charts.mask_gallery([(picture, mask)], NAMES, COLORS)
    shown = pixels_of(plot.data[1])
    assert shown.shape == (256, 512, 3) and (shown == COLORS[2]).all()


def test_a_gallery_wants_samples_of_one_kind() -> None:
    for samples in ([], [sample(), sample(parts=3)]):
        with pytest.raises(ValueError, match="all pairs, or all triples"):
            charts.mask_gallery(samples, NAMES, COLORS)


def test_painting_looks_every_id_up() -> None:
    ids = np.array([[0, 2], [1, -100]])
    painted = paint_mask(ids, COLORS)
    assert painted[0].tolist() == [[10, 20, 30], [0, 200, 0]]
    assert painted[1, 0].tolist() == [200, 0, 0]
    assert painted.dtype == np.uint8


def table(classes: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class_id": range(classes),
            "name": [f"c{number}" for number in range(classes)],
            "group": "all",
            "supercategory": "",
            "images": range(classes),
            "pixels": [10 * number for number in range(classes)],
        }
    )


def test_frequencies_are_sorted_and_absent_classes_are_counted() -> None:
    plot = charts.class_frequencies(table(5))
    assert list(plot.data[0].x) == ["c4", "c3", "c2", "c1"]
    assert list(plot.data[0].y) == [40, 30, 20, 10]
    assert plot.layout.yaxis.type == "log"
    assert plot.layout.annotations[0].text == "1 of 5 classes do not occur"


def test_frequencies_of_many_classes_are_ranked_and_named_on_hover() -> None:
    rows = table(300)
    rows["group"] = ["rare", "common"] * 150
    plot = charts.class_frequencies(rows, count="images")
    assert list(plot.data[0].x) == list(range(1, 300))
    assert plot.data[0].customdata[0] == "c299"
    assert {trace.name for trace in plot.data[1:]} == {"rare", "common"}
    assert len(set(plot.data[0].marker.color)) == 2


def test_bars_and_lines_of_a_table() -> None:
    rows = pd.DataFrame({"a": [0.1, np.nan], "b<": [0.3, 0.4]}, index=[64, 128])
    bars = charts.table_bars(rows, value="IoU")
    assert [trace.name for trace in bars.data] == ["a", "b&lt;"]
    assert list(bars.data[1].y) == [0.3, 0.4] and bars.layout.yaxis.title.text == "IoU"
    lines = charts.table_lines(rows, x="pixels", value="IoU")
    assert list(lines.data[0].x) == [64, 128] and lines.layout.xaxis.title.text == "pixels"
    assert len(lines.data) == 2
