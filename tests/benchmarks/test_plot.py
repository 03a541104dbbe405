from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from workbench.benchmarks import plot
from workbench.errors import DataError

MACHINE = {"cpu": "Abacus 3", "cpu_count": 7, "gpus": [], "torch": "9.9"}


def row(method: str, classes: int, peak: float | None, **more: Any) -> dict[str, Any]:
    return {
        "bench": "loss",
        "method": method,
        "distance": "linear",
        "device": "cpu",
        "pixels": 4096,
        "dim": 12,
        "classes": classes,
        "dtype": "fp32",
        "peak_bytes": peak,
        "seconds": None if peak is None else peak / 1e9,
        "note": "" if peak is not None else "out of memory: not tried",
        "machine": MACHINE,
        **more,
    }


ROWS = [
    row("dense", 21, 4e7),
    row("dense", 1284, 1e9),
    row("dense", 100_000, None),
    row("streaming", 21, 2e7),
    row("streaming", 1284, 2e7),
    row("streaming", 100_000, 3e7),
    row("liger", 21, None, note="not run: no GPU"),
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(plot, "Figure", Kept)
    return made


def words(figure: Figure) -> set[str]:
    axes = [text.get_text() for one in figure.axes for text in one.texts]
    titles = [one.get_title(loc="left") for one in figure.axes]
    return {*axes, *titles, *(text.get_text() for text in figure.texts)}


def test_the_picture_shows_what_was_measured(figures: list[Figure]) -> None:
    image = Image.open(io.BytesIO(plot.draw_costs(ROWS)))
    assert image.format == "PNG" and image.width > 1500
    (figure,) = figures
    memory, time = figure.axes
    for axes, column, unit in ((memory, "peak_bytes", 2**20), (time, "seconds", 1.0)):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = {tuple(map(float, np.asarray(line.get_xdata()))): line for line in axes.lines}
        whole = np.asarray(lines[(21.0, 1284.0, 100_000.0)].get_ydata(), dtype=float)
        wanted = [r[column] / unit for r in ROWS if r["method"] == "streaming"]
        assert whole.tolist() == pytest.approx(wanted)
        assert (21.0, 1284.0) in lines  # dense, as far as it was measured
        (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
        assert np.asarray(cross.get_xdata()).tolist() == [100_000]
        low, high = axes.get_ylim()
        for line in axes.lines:
            ys = np.asarray(line.get_ydata(), dtype=float)
            assert (ys > low).all() and (ys < high).all()
    shown = words(figure)
    assert {"dense", "streaming", "peak memory, linear logits", "×  out of memory"} <= shown
    assert "Liger" not in shown
    assert any("Abacus 3, 7 cores" in word and "4,096 pixels" in word for word in shown)


def test_a_row_of_panels_for_each_distance_others_know(figures: list[Figure]) -> None:
    ours = [row(method, 21, 2e7, distance="cosine") for method in ("nearest", "streaming")]
    euclidean = [r | {"distance": "euclidean"} for r in ROWS]
    plot.draw_costs([*ROWS, *ours, *euclidean])
    plot.draw_costs(ours)
    titles = [{one.get_title(loc="left") for one in figure.axes} for figure in figures]
    pair = [f"{quantity}, {d} logits" for quantity in ("peak memory", "time") for d in ("linear",)]
    assert titles[0] == {*pair, "peak memory, Euclidean logits", "time, Euclidean logits"}
    assert titles[1] == {"peak memory, cosine logits", "time, cosine logits"}


def test_steps_are_shown_with_the_network_alone(figures: list[Figure]) -> None:
    more = {"bench": "step", "network": "small", "backbone": None, "batch_size": 2, "crop": 64}
    more |= {"baseline_bytes": 1e7, "baseline_seconds": 0.01, "sampled": False}
    rows = [r | more for r in ROWS]
    sampled = [r | {"sampled": True, "pixels": 99} for r in rows]
    plot.draw_costs([*rows, *sampled])
    (figure,) = figures
    assert len(figure.axes) == 4
    assert {"time, all pixels", "time, 99 sampled pixels", "without a head"} <= words(figure)


def test_labels_keep_apart_and_inside() -> None:
    places = plot.spread_out([0.1, 0.11, 0.5, 0.98, 0.99, 1.2], 0.06)
    gaps = np.diff(places)
    assert (gaps > 0.06 - 1e-9).all() and max(places) == 1.0
    assert places[0] == 0.1 and places[2] == 0.5
    assert plot.spread_out([], 0.1) == []


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        plot.draw_costs([row("liger", 21, None, note="not run: no GPU")])
