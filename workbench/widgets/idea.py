"""The idea of the method to play with: one pixel among classes."""

from __future__ import annotations

import ipywidgets
import plotly.graph_objects as go
import torch

from workbench.charts import circle_panes
from workbench.distances import ClassEmbeddings, get_distance
from workbench.losses.one_pixel import along_circle, at_pixel
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import Panel, control


class PixelAmongClasses(Panel):
    """Sliders for temperature, k, D and a pixel; regions, probabilities and gradients.

    The classes are random points in D dimensions. What is drawn is the plane through the
    origin, the true class and its nearest other class; the circle in it holds all pixels of
    the plane. Classes off the plane are projected on it, and compared with all the same.

    Attributes:
        temperature, k, dimensions, angle: The sliders.
        exact, approximate: Probabilities of the true class at the pixel.
    """

    def __init__(self, classes: int = 16, *, seed: int = 0, distance: str = "euclidean") -> None:
        """Draws the classes.

        Args:
            classes: How many, at least 2.
            seed: Of their places.
            distance: Key of ``workbench.distances.DISTANCES``, a normalised one.
        """
        self.count, self.seed = classes, seed
        self.distance = get_distance(distance)
        self.temperature = control(
            "FloatSlider", "temperature T", value=8, min=1, max=60, step=1, continuous_update=True
        )
        most = classes - 1
        self.k = control(
            "IntSlider", "neighbours k", value=min(2, most), min=1, max=most, continuous_update=True
        )
        self.dimensions = control(
            "IntSlider", "dimensions D", value=3, min=2, max=32, continuous_update=True
        )
        self.angle = control(
            "IntSlider", "pixel, degrees", value=40, min=-180, max=180, continuous_update=True
        )
        self.line = ipywidgets.HTML()
        self.figure = live(self._panes())
        for slider in (self.temperature, self.k, self.dimensions, self.angle):
            slider.observe(lambda _: refill(self.figure, self._panes()), names="value")
        rows = [[self.temperature, self.k], [self.dimensions, self.angle]]
        self.box = ipywidgets.VBox(
            [*(ipywidgets.HBox(row) for row in rows), self.line, self.figure]
        )

    def classes(self) -> ClassEmbeddings:
        """The classes as the sliders have them, (C, D) fp64."""
        generator = torch.Generator().manual_seed(self.seed)
        size = int(self.dimensions.value)
        weight = torch.randn(self.count, size, generator=generator, dtype=torch.float64)
        heat = torch.tensor(float(self.temperature.value), dtype=torch.float64)
        return ClassEmbeddings(torch.nn.functional.normalize(weight, dim=1), None, heat)

    def _panes(self) -> go.Figure:
        table, k = self.classes(), int(self.k.value)
        circle = along_circle(table, 0, self.distance, k=k)
        at = torch.deg2rad(torch.tensor(float(self.angle.value), dtype=torch.float64))
        pixel = torch.stack([at.cos(), at.sin()]) @ circle.basis
        found = at_pixel(pixel, table, 0, self.distance, k=k)
        self.exact, self.approximate = found.exact, found.approximate
        pulls = [-found.exact_gradient, -found.approximate_gradient]
        norms = [float(pull.norm()) for pull in pulls]
        self.line.value = (
            f"probability of the true class: exact <b>{found.exact:.3f}</b>, approximate "
            f"<b>{found.approximate:.3f}</b> · length of the gradient: exact <b>{norms[0]:.2f}</b>,"
            f" approximate <b>{norms[1]:.2f}</b>"
        )
        return circle_panes(
            circle.angles.numpy(),
            circle.winner.numpy(),
            circle.exact.numpy(),
            circle.approximate.numpy(),
            (table.weight @ circle.basis.T).numpy(),
            target=0,
            pixel=float(at),
            arrows=[(circle.basis @ pull / table.temperature).tolist() for pull in pulls],
            compared=found.neighbours.tolist(),
        )
