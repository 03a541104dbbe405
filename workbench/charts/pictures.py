"""Pictures beside their masks, with the classes' colours explained."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from workbench.chart_style import MUTED, OUTLINE, figure
from workbench.colors import to_hex

_ROWS: Final = ("picture", "truth", "prediction")
_LONGEST: Final = 512  # pixels of a side; more is not seen at this size on a page
_WIDTH: Final = 860  # of the whole gallery, to reckon its height
_LEGEND: Final = 25  # entries, but the one for pixels without a label
_NO_COLOR: Final = "rgba(0,0,0,0)"
_UNLABELLED: Final = ((205, 208, 212), (236, 238, 240))  # stripes: a colour no class has

Picture = Image.Image | npt.NDArray[np.uint8]
Sample = tuple[Any, ...]
"""(picture, truth) or (picture, truth, prediction)."""


def mask_gallery(
    samples: Sequence[Sample],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    *,
    columns: int = 4,
    dark: bool = False,
) -> go.Figure:
    """Pictures with their masks below them, and a legend of the classes in them.

    Pixels without a label are striped grey. Large pictures are shrunk.

    Args:
        samples: Of each a picture (PIL, or uint8 (H, W, 3)), its mask (H, W) of class ids,
            negative = no label, and, for all or none, a prediction like the mask.
        names: Of the C classes.
        colors: (C, 3) uint8.
        columns: Pictures side by side; what is more comes below.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure; its first traces are the images row by row, the rest is the legend.

    Raises:
        ValueError: There is no sample, or some have a prediction and others not.
    """
    kinds = {len(sample) for sample in samples}
    if len(kinds) != 1 or not kinds <= {2, 3}:
        raise ValueError("a gallery needs samples that are all pairs, or all triples")
    parts = kinds.pop()
    columns = min(columns, len(samples))
    blocks = -(-len(samples) // columns)
    tall = max(_ratio(sample[0]) for sample in samples)
    plot = make_subplots(
        rows=parts * blocks, cols=columns, horizontal_spacing=0.01, vertical_spacing=0.012
    )
    counts = np.zeros(len(names), dtype=np.int64)
    for place, sample in enumerate(samples):
        block, column = divmod(place, columns)
        layers = [_shrunk(np.asarray(sample[0]))]
        for mask in sample[1:]:
            ids = _shrunk(np.asarray(mask))
            counts += np.bincount(ids[ids >= 0].ravel(), minlength=len(names))
            layers.append(paint_mask(ids, colors))
        for row, pixels in enumerate(layers):
            image = go.Image(source=data_uri(pixels), hoverinfo="skip")
            plot.add_trace(image, row=block * parts + row + 1, col=column + 1)
    base = figure(height=round(parts * blocks * _WIDTH / columns * tall) + 70, dark=dark)
    plot.update_layout(base.layout.to_plotly_json() | {"margin": {"l": 4, "r": 4, "t": 4, "b": 4}})
    _label_rows(plot, parts, blocks, dark)
    add_legend(plot, counts, names, colors, most=_LEGEND)
    _add_entry(plot, "no label", to_hex(np.array(_UNLABELLED))[0])
    return plot


def paint_mask(
    ids: npt.NDArray[np.integer], colors: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Class ids (H, W) to their colours (H, W, 3) uint8; negative ids to grey stripes."""
    y, x = np.indices(ids.shape)
    striped = np.array(_UNLABELLED, dtype=np.uint8)[(x + y) // 3 % 2]
    known = ids >= 0
    painted: npt.NDArray[np.uint8] = np.where(
        known[:, :, None], colors[np.where(known, ids, 0)], striped
    )
    return painted


def _ratio(picture: Picture) -> float:
    height, width = np.asarray(picture).shape[:2]
    return float(height / width)


def _shrunk(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every n-th pixel, so that masks keep their ids and picture and mask still match."""
    step = -(-max(pixels.shape[:2]) // _LONGEST)
    return pixels[::step, ::step]


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels (H, W, 3) or (H, W, 4) as a PNG in a data address, which plotly takes as a source."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _label_rows(plot: go.Figure, parts: int, blocks: int, dark: bool) -> None:
    plot.update_xaxes(visible=False)
    plot.update_yaxes(showticklabels=False, ticks="", showgrid=False, showline=False)
    for row in range(parts * blocks):
        title = {"text": _ROWS[row % parts], "font": {"size": 12, "color": MUTED[dark]}}
        plot.update_yaxes(title=title, row=row + 1, col=1)


def add_legend(
    plot: go.Figure,
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    colors: npt.NDArray[np.uint8],
    *,
    most: int,
    fixed: bool = False,
) -> None:
    """Explains the colours of the classes below a figure, the one with most pixels first.

    Args:
        plot: Changed in place.
        counts: (C,) pixels of each class; those without have no entry.
        names: Of the C classes.
        colors: (C, 3) uint8.
        most: Entries; where there are more classes, the last one says how many more.
        fixed: Whether there are ``most`` traces however few the entries, for a figure that
            changes in place.
    """
    order = [index for index in np.argsort(-counts, kind="stable").tolist() if counts[index]]
    entries = [(str(names[index]), to_hex(colors[[index]])[0]) for index in order]
    if len(entries) > most:
        entries[most - 1 :] = [(f"{len(entries) - most + 1} more", _NO_COLOR)]
    for place in range(most if fixed else len(entries)):
        name, color = entries[place] if place < len(entries) else ("", _NO_COLOR)
        _add_entry(plot, name, color, shown=place < len(entries))
    plot.update_layout(
        showlegend=True,
        legend={
            **{"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "font": {"size": 12}},
            **{"itemclick": False, "itemdoubleclick": False},
        },
    )


def _add_entry(plot: go.Figure, name: str, color: str, *, shown: bool = True) -> None:
    marker = {"symbol": "square", "size": 11, "color": color, "line": {"color": OUTLINE}}
    plot.add_scatter(
        x=np.array([np.nan]),
        y=np.array([np.nan]),
        mode="markers",
        marker=marker,
        name=html.escape(name),
        showlegend=shown,
    )
