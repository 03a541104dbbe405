"""The idea in pictures: classes and pixels as points on a circle and on a sphere."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.chart_style import MUTED, OUTLINE, STAR, figure
from workbench.colors import CATEGORIES, IOU_RAMP

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]

EXACT: Final = "#2b6cb0"
APPROXIMATE: Final = "#d1495b"
_BARE: Final = {"visible": False, "showspikes": False}
_SCENE: Final = {
    **{"xaxis": _BARE, "yaxis": _BARE, "zaxis": _BARE, "aspectmode": "cube"},
    "camera": {"eye": {"x": 1.1, "y": 1.1, "z": 0.7}},
}
_RING: Final = 1.2  # radius of the decision regions, outside of the points
_ARROW: Final = 0.7  # radii of an arrow of length 1


def class_color(index: int) -> str:
    """The colour of a class in these pictures."""
    return CATEGORIES[index % len(CATEGORIES)]


def circle_panes(
    angles: Floats,
    winner: Ints,
    exact: Floats,
    approximate: Floats,
    places: Floats,
    *,
    target: int,
    pixel: float,
    arrows: Sequence[Sequence[float]],
    compared: Collection[int],
    height: int = 460,
    dark: bool = False,
) -> go.Figure:
    """A plane through the origin of the embedding space, and the probability along its circle.

    Args:
        angles: (n,) radians, rising, from the target.
        winner: (n,) the nearest class at each.
        exact: (n,) probability of the target among all classes.
        approximate: (n,) among itself and the k nearest.
        places: (C, 2) the unit class embeddings projected on the plane; those that do not lie
            in it are nearer to the middle than 1.
        target: The true class.
        pixel: Angle of the pixel.
        arrows: Minus the gradient of the exact loss and of the approximate one, divided by
            the temperature and projected on the plane.
        compared: The k classes of the approximation.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure of eight traces: decision regions, classes, compared classes, two arrows, the
        pixel, exact and approximate probability.
    """
    plot = make_subplots(cols=2, column_widths=[0.45, 0.55], horizontal_spacing=0.12)
    plot.add_trace(_regions(angles, winner), row=1, col=1)
    _add_classes(plot, places, target, compared, dark)
    _add_arrows(plot, pixel, arrows)
    _add_curves(plot, angles, exact, approximate, pixel)
    base = figure(height=height, dark=dark)
    plot.update_layout(base.layout.to_plotly_json())
    plot.update_layout(legend={"orientation": "h", "y": -0.16, "x": 0}, hovermode="closest")
    bare: dict[str, Any] = {"visible": False, "range": [-1.5, 1.5]}
    plot.update_xaxes(**bare, row=1, col=1)
    plot.update_yaxes(**bare, scaleanchor="x", row=1, col=1)
    plot.update_xaxes(
        title_text="angle of the pixel from the true class, degrees",
        range=[-180, 180],
        tickvals=[-180, -90, 0, 90, 180],
        row=1,
        col=2,
    )
    plot.update_yaxes(title_text="probability of the true class", range=[0, 1.05], row=1, col=2)
    return plot


def _add_classes(
    plot: go.Figure, places: Floats, target: int, compared: Collection[int], dark: bool
) -> None:
    count = len(places)
    names = [f"class {index}" + ", the true one" * (index == target) for index in range(count)]
    look = {
        "size": [18 if index == target else 12 for index in range(count)],
        "color": [class_color(index) for index in range(count)],
        "line": {"width": 1.5, "color": "#ffffff"},
    }
    plot.add_scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers+text",
        text=[str(index) for index in range(count)],
        textfont={"size": 10, "color": "#ffffff"},
        marker=look,
        hovertext=names,
        hoverinfo="text",
        name="classes",
        showlegend=False,
        row=1,
        col=1,
    )
    chosen = places[sorted(compared)]
    ring = {"symbol": "circle-open", "size": 22, "color": MUTED[dark], "line": {"width": 2}}
    plot.add_scatter(
        x=chosen[:, 0], y=chosen[:, 1], mode="markers", marker=ring, name="compared (k nearest)",
        hoverinfo="skip", row=1, col=1,
    )  # fmt: skip


def _regions(angles: Floats, winner: Ints) -> go.Scatter:
    """The ring of all pixels of the plane, coloured by the class each would be given."""
    return go.Scatter(
        x=_RING * np.cos(angles),
        y=_RING * np.sin(angles),
        mode="markers",
        marker={"color": [class_color(int(index)) for index in winner], "size": 9, "opacity": 0.5},
        hovertext=[f"nearest: class {index}" for index in winner],
        hoverinfo="text",
        name="decision regions",
        showlegend=False,
    )


def _add_arrows(plot: go.Figure, pixel: float, arrows: Sequence[Sequence[float]]) -> None:
    vectors = np.asarray(arrows, dtype=np.float64) * _ARROW
    start = np.array([np.cos(pixel), np.sin(pixel)])
    looks = [("pull of the exact loss", EXACT, 5), ("of the approximate one", APPROXIMATE, 2.5)]
    for vector, (name, color, width) in zip(vectors, looks, strict=True):
        end = start + vector
        plot.add_scatter(
            x=[start[0], end[0]],
            y=[start[1], end[1]],
            mode="lines+markers",
            marker={"symbol": "arrow", "size": [0, 13], "angleref": "previous"},
            line={"color": color, "width": width},
            name=name,
            hoverinfo="skip",
            row=1,
            col=1,
        )
    plot.add_scatter(
        x=[start[0]], y=[start[1]], mode="markers", marker=STAR, name="the pixel", row=1, col=1
    )


def _add_curves(
    plot: go.Figure, angles: Floats, exact: Floats, approximate: Floats, pixel: float
) -> None:
    degrees = np.degrees(angles)
    for values, name, color, dash in (
        (exact, "exact probability", EXACT, "solid"),
        (approximate, "approximate, k nearest", APPROXIMATE, "dash"),
    ):
        plot.add_scatter(
            x=degrees,
            y=values,
            mode="lines",
            line={"color": color, "width": 2.5, "dash": dash},
            name=name,
            hovertemplate="%{x:.0f}°: %{y:.3f}",
            row=1,
            col=2,
        )
    line = {"color": OUTLINE, "width": 2, "dash": "dot"}
    x = float(np.degrees(pixel))
    plot.add_shape(type="line", x0=x, x1=x, y0=0, y1=1.05, line=line, xref="x2", yref="y2")


def sphere(
    classes: Floats,
    pixels: Floats,
    labels: Ints,
    names: Sequence[str],
    *,
    probability: Floats | None = None,
    height: int = 480,
    dark: bool = False,
) -> go.Figure:
    """Classes and pixels as points, on a circle (D = 2) or a sphere (D = 3).

    Args:
        classes: (C, D) class embeddings, D = 2 or 3; drawn at unit length.
        pixels: (n, D) pixel embeddings, likewise.
        labels: (n,) true class of each pixel.
        names: Of the classes.
        probability: (n,) 0..1, by which the pixels are coloured instead of by their class.
        height: Pixels.
        dark: Whether it will stand on dark paper.

    Returns:
        A figure of two traces: the pixels, small, and the classes, large, in the same colours.

    Raises:
        ValueError: D is neither 2 nor 3.
    """
    size = classes.shape[1]
    if size not in (2, 3):
        raise ValueError(f"points in {size} dimensions cannot be drawn as they are")
    kind = go.Scatter if size == 2 else go.Scatter3d
    plot = figure(height=height, dark=dark, layout={"showlegend": False, "hovermode": "closest"})
    said = [html.escape(str(name)) for name in names]
    groups = [
        (pixels, [class_color(int(i)) for i in labels], 4.0 if size == 2 else 2.5, 0.5, labels),
        (classes, [class_color(i) for i in range(len(classes))], 15.0, 1.0, range(len(classes))),
    ]
    for points, colors, width, opacity, ids in groups:
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        axes = dict(zip("xyz", unit.T, strict=False))
        large = width > 10
        plot.add_trace(
            kind(
                **axes,
                mode="markers+text" if large else "markers",
                text=said if large else None,
                textposition="top center",
                marker={"size": width * (0.7 if size == 3 and large else 1.0), "color": colors},
                opacity=opacity,
                hovertext=[said[int(index)] for index in ids],
                hoverinfo="text",
            )
        )
    if probability is not None:
        _shade(plot, probability)
    if size == 2:
        plot.update_xaxes(visible=False, range=[-1.4, 1.4])
        plot.update_yaxes(visible=False, range=[-1.3, 1.3], scaleanchor="x")
        return plot
    return plot.update_layout(scene=_SCENE, dragmode="orbit")


def _shade(plot: Any, probability: Floats) -> None:  # noqa: ANN401 a figure, as the stubs see it
    """Colours the pixels by a number; those of a sphere become a surface, which hides its back."""
    pixels, classes = plot.data
    bar = {"title": {"text": "probability", "side": "right"}, "thickness": 14, "len": 0.7}
    scale = {"colorscale": list(IOU_RAMP), "cmin": 0, "cmax": 1, "showscale": True, "colorbar": bar}
    said = [f"{value:.3f}" for value in probability]
    if pixels.type == "scatter":
        pixels.update(marker={"color": probability, **scale}, opacity=1, hovertext=said)
        return
    surface = go.Mesh3d(
        **{axis: pixels[axis] for axis in "xyz"},
        **{"alphahull": 0, "intensity": probability, "hovertext": said, "hoverinfo": "text"},
        lighting={"ambient": 1, "diffuse": 0, "specular": 0},
        **scale,
    )
    classes.update({axis: 1.05 * classes[axis] for axis in "xyz"})  # or half of each were inside
    plot.data = ()
    plot.add_traces([surface, classes])
