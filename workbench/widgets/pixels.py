"""One pixel of a picture among the classes."""

from __future__ import annotations

import html
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.callbacks import Points

from workbench.charts import pixel_panes
from workbench.errors import RunError
from workbench.inference import load_model
from workbench.inference.inspect import extract_features, nearest_at
from workbench.runs import RunDirectory
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import Panel, control, open_run, table_html


class PixelInspector(Panel):
    """Click a pixel: its nearest classes, how probable and how far.

    Attributes:
        place: Column and row of the pixel.
        table: Its nearest classes: class_id, name, probability, distance, logit.
        image: Chooses the picture.
        k: How many classes to show.
        temperature: Multiplies the logits; begins at the model's own.
        x, y: The pixel, for those who do not click.
    """

    def __init__(
        self, run: RunDirectory | Path | str, split: str = "val", image_id: str | None = None
    ) -> None:
        """Loads the model and looks at the middle of a picture.

        Args:
            run: An evaluated run with a checkpoint, or its folder.
            split: The part of the dataset.
            image_id: One of the pictures kept; None takes the first.

        Raises:
            RunError: There is no such picture, or no checkpoint.
        """
        self.run, self.split = open_run(run), split
        images = self.run.samples(split)
        if not images or image_id not in (None, *images):
            raise RunError(
                f"{self.run.path} keeps no picture {image_id or ''} of {split!r}; "
                f"make them with: workbench evaluate {self.run.path} --split {split}"
            )
        self.model, _ = load_model(self.run)
        table = self.model.table
        self.classes = None if table is None else table()
        self.names = self.run.vocabulary().names
        self._hex = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in self.run.vocabulary().colors]
        own = 1.0 if self.classes is None else float(self.classes.temperature.detach())
        self.image = control("Dropdown", "picture", options=images, value=image_id or images[0])
        self.k = control("IntSlider", "k", value=min(7, len(self.names)), min=1, max=20)
        self.temperature = control(
            "FloatLogSlider", "temperature", value=own, min=-1, max=3, readout_format=".3g"
        )
        self.x = control("IntSlider", "x", min=0, max=1)
        self.y = control("IntSlider", "y", min=0, max=1)
        self.listing = ipywidgets.HTML()
        self._busy = False
        self._load()
        self.figure = live(self._panes())
        self._listen()
        rows = [[self.image, self.k, self.temperature], [self.x, self.y]]
        self.box = ipywidgets.VBox(
            [*(ipywidgets.HBox(row) for row in rows), self.figure, self.listing]
        )

    def look_at(self, x: int, y: int) -> None:
        """Goes to a pixel, its column and row from the top left.

        Raises:
            ValueError: It lies outside of the picture.
        """
        height, width = self.features.size
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"pixel {x}, {y} lies outside of {width} x {height}")
        self.place = (x, y)
        self._busy = True
        self.x.value, self.y.value = x, y
        self._busy = False
        self._redraw()

    def _listen(self) -> None:
        for slider in (self.k, self.temperature):
            slider.observe(lambda _: self._redraw(), names="value")
        for slider in (self.x, self.y):
            slider.observe(lambda _: self._slid(), names="value")
        self.image.observe(lambda _: self._changed(), names="value")
        self.figure.data[0].on_click(self._clicked)
        self.figure.update_layout(dragmode=False)

    def _load(self) -> None:
        picture, truth, _ = self.run.read_sample(self.split, self.image.value)
        self.picture, self.truth = picture, truth
        self.features = extract_features(self.model, np.asarray(picture))
        self.place = (picture.width // 2, picture.height // 2)
        self._busy = True
        self.x.max, self.y.max = picture.width - 1, picture.height - 1
        self.x.value, self.y.value = self.place
        self._busy = False

    def _panes(self) -> go.Figure:
        found = nearest_at(
            self.features,
            self.classes,
            self.model.distance,
            x=self.place[0],
            y=self.place[1],
            k=int(self.k.value),
            temperature=float(self.temperature.value),
        )
        found.insert(1, "name", [self.names[index] for index in found["class_id"]])
        self.table: pd.DataFrame = found[["class_id", "name", "probability", "distance", "logit"]]
        label = int(self.truth[self.place[1], self.place[0]])
        true = self.names[label] if label >= 0 else "no label"
        self.listing.value = f"truth: <b>{html.escape(true)}</b>" + table_html(self.table)
        colors = [self._hex[index] for index in found["class_id"]]
        return pixel_panes(self.picture, self.place, found.assign(color=colors))

    def _redraw(self) -> None:
        refill(self.figure, self._panes())
        self.figure.update_layout(dragmode=False)

    def _changed(self) -> None:
        self._load()
        self._redraw()

    def _slid(self) -> None:
        if not self._busy:
            self.look_at(int(self.x.value), int(self.y.value))

    def _clicked(self, _: object, points: Points, __: object) -> None:
        if points.xs:
            self.look_at(round(points.xs[0]), round(points.ys[0]))
