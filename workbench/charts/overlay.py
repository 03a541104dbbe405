"""One picture with what is known of its pixels laid over it, and what one pixel is near to."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.chart_style import MUTED, OUTLINE, STAR, figure
from workbench.charts.class_map import EDGE
from workbench.charts.pictures import Picture, add_legend, data_uri, paint_mask
from workbench.colors import to_rgb

Ids = npt.NDArray[np.integer[Any]]

LAYERS: Final = ("truth", "prediction", "error")
"""What is laid over the picture, in the order of their traces."""
FIRST_LAYER: Final = 4
"""Index of the first of these traces; before them the bare picture stands four times."""
_TITLES: Final = ("picture", "truth", "prediction", "error: wrong pixels in red")
_LEGEND: Final = 18  # entries
_PAGE: Final = 860  # pixels of width, to reckon the height from


def prediction_panes(
    picture: Picture,
    truth: Ids,
    prediction: Ids,
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    *,
    only: Collection[int] | None = None,
    opacity: float = 0.75,
    dark: bool = False,
) -> go.Figure:
    """A picture four times: bare, and under its truth, its prediction and its errors.

    The panes zoom together. Pixels without a label are striped grey and are no errors.

    Args:
        picture: PIL, or uint8 (H, W, 3).
        truth: (H, W) class ids, negative = no label.
        prediction: (H, W) class ids.
        names: Of the C classes.
        colors: (C, 3) uint8.
        only: class_ids to paint, leaving the others bare; None paints all.
        opacity: Of what lies over the picture, 0..1.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure with the same number of traces whatever the picture: four images, the three
        of `LAYERS` from `FIRST_LAYER` on, and the legend of the classes in view, the one with
        most pixels first.
    """
    pixels = np.asarray(picture)
    ratio = pixels.shape[0] / pixels.shape[1]
    columns = 4 if ratio > 0.75 else 2
    spots = [(place // columns + 1, place % columns + 1) for place in range(4)]
    plot = make_subplots(
        rows=4 // columns,
        cols=columns,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.012,
        vertical_spacing=0.07,
        subplot_titles=list(_TITLES),
    )
    bare = data_uri(pixels)
    for row, column in spots:
        plot.add_trace(go.Image(source=bare, hoverinfo="skip", name="picture"), row, column)
    layers = _layers(truth, prediction, colors, only)
    for (row, column), name, layer in zip(spots[1:], LAYERS, layers, strict=True):
        image = go.Image(source=data_uri(layer), opacity=opacity, name=name, hoverinfo="skip")
        plot.add_trace(image, row, column)
    base = figure(height=round(_PAGE / columns * ratio * (4 // columns)) + 110, dark=dark)
    plot.update_layout(base.layout.to_plotly_json() | {"margin": {"l": 4, "r": 4, "t": 26, "b": 4}})
    plot.update_annotations(font={"size": 12, "color": MUTED[dark]})
    plot.update_xaxes(visible=False)
    plot.update_yaxes(visible=False)
    counts = _in_view(truth, prediction, len(names), only)
    add_legend(plot, counts, names, colors, most=_LEGEND, fixed=True)
    return plot


def _layers(
    truth: Ids, prediction: Ids, colors: npt.NDArray[np.uint8], only: Collection[int] | None
) -> list[npt.NDArray[np.uint8]]:
    """Truth, prediction and error as (H, W, 4): transparent where the picture is to be seen."""
    shown = [np.ones(truth.shape, dtype=bool)] * 2
    if only is not None:
        shown = [np.isin(mask, list(only)) for mask in (truth, prediction)]
    wrong = (truth >= 0) & (truth != prediction) & (shown[0] | shown[1])
    red = np.broadcast_to(to_rgb([EDGE])[0].astype(np.uint8), (*truth.shape, 3))
    painted = [paint_mask(truth, colors), paint_mask(prediction, colors), red]
    visible = [*shown, wrong]
    if only is None:  # what has no label is neither right nor wrong
        unlabelled = truth < 0
        painted[2] = np.where(unlabelled[:, :, None], painted[0], red)
        visible[2] = wrong | unlabelled
    return [
        np.dstack([rgb, np.where(mask, 255, 0).astype(np.uint8)])
        for rgb, mask in zip(painted, visible, strict=True)
    ]


def _in_view(
    truth: Ids, prediction: Ids, classes: int, only: Collection[int] | None
) -> npt.NDArray[np.int64]:
    """(C,) pixels that a class has in truth and prediction together, if it is shown."""
    ids = np.concatenate([truth.ravel(), prediction.ravel()])
    counts = np.bincount(ids[ids >= 0], minlength=classes)
    if only is not None:
        counts[np.isin(np.arange(classes), list(only), invert=True)] = 0
    return counts


def pixel_panes(
    picture: Picture,
    place: tuple[int, int],
    found: pd.DataFrame,
    *,
    height: int = 400,
    dark: bool = False,
) -> go.Figure:
    """A picture with one pixel marked, and the classes that are near to it.

    Args:
        picture: PIL, or uint8 (H, W, 3).
        place: Column and row of the pixel.
        found: The nearest classes, the most probable first: name, color ("#rrggbb"),
            probability, distance (NaN: there is none).
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure of three traces: the picture, the mark, and the bars of the probabilities.
    """
    plot = make_subplots(cols=2, horizontal_spacing=0.22, column_widths=[0.48, 0.52])
    pixels = np.asarray(picture)
    image = go.Image(source=data_uri(pixels), name="picture", hovertemplate="%{x}, %{y}")
    plot.add_trace(image, row=1, col=1)
    plot.add_scatter(
        x=[place[0]], y=[place[1]], mode="markers", marker=STAR, hoverinfo="skip", row=1, col=1
    )
    far = found["distance"].to_numpy(np.float64)
    likely = found["probability"].to_numpy(np.float64)
    notes = [
        f"{p:.3g}" + (f" at {d:.3f}" if np.isfinite(d) else "")
        for p, d in zip(likely, far, strict=True)
    ]
    ranked = [f"{at}. {html.escape(str(name))}" for at, name in enumerate(found["name"], 1)]
    plot.add_bar(
        x=found["probability"],
        y=np.array(ranked, dtype=object),
        orientation="h",
        marker={"color": list(found["color"]), "line": {"color": OUTLINE, "width": 1}},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        row=1,
        col=2,
    )
    base = figure(height=height, dark=dark, layout={"showlegend": False, "bargap": 0.3})
    plot.update_layout(base.layout.to_plotly_json())
    plot.update_xaxes(visible=False, row=1, col=1)
    plot.update_yaxes(visible=False, row=1, col=1)
    title = "probability, and distance" if found["distance"].notna().any() else "probability"
    plot.update_xaxes(title_text=title, range=[0, 1.45], tickvals=[0, 0.5, 1], row=1, col=2)
    plot.update_yaxes(autorange="reversed", showgrid=False, ticks="", row=1, col=2)
    return plot
