"""The pictures an evaluation kept, with truth, prediction and error."""

from __future__ import annotations

from pathlib import Path

import ipywidgets
import plotly.graph_objects as go

from workbench.charts import prediction_panes
from workbench.charts.overlay import FIRST_LAYER, LAYERS
from workbench.errors import RunError
from workbench.runs import RunDirectory
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import Panel, control, open_run


class PredictionViewer(Panel):
    """Picture, truth, prediction and error side by side, zooming together.

    Attributes:
        image: Chooses a picture; `previous` and `next` step through them.
        opacity: Of what lies over the picture.
        only: The name of one class: only it is painted, and only pictures with it are offered.
    """

    def __init__(self, run: RunDirectory | Path | str, split: str = "val") -> None:
        """Shows the first picture kept.

        Args:
            run: An evaluated run, or its folder.
            split: The part of the dataset.

        Raises:
            RunError: No picture was kept of this split.
        """
        self.run, self.split = open_run(run), split
        self.images = self.run.samples(split)
        if not self.images:
            raise RunError(
                f"{self.run.path} keeps no pictures of {split!r}; "
                f"make them with: workbench evaluate {self.run.path} --split {split}"
            )
        vocabulary = self.run.vocabulary()
        self.names, self.colors = vocabulary.names, vocabulary.colors
        table = self.run.read_per_image_class(split)
        table = table[table["image_id"].astype(str).isin(self.images)]
        self._holders = table.groupby("class_id")["image_id"].agg(lambda ids: sorted(map(str, ids)))
        known = [self.names[index] for index in self._holders.index]
        self.image = control("Dropdown", "picture", options=self.images)
        self.previous = control("Button", "◀ previous", layout={"width": "auto"})
        self.next = control("Button", "next ▶", layout={"width": "auto"})
        self.opacity = control("FloatSlider", "opacity", value=0.75, min=0, max=1, step=0.05)
        self.only = control(
            "Combobox", "only", options=sorted(known), placeholder="all classes: type a name"
        )
        self.note = ipywidgets.HTML()
        self.figure = live(self._panes())
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self._filtering = False
        self.image.observe(self._chose, names="value")
        self.opacity.observe(self._fade, names="value")
        self.only.observe(lambda _: self._filter(), names="value")
        self._say()
        first = ipywidgets.HBox([self.previous, self.image, self.next])
        second = ipywidgets.HBox([self.opacity, self.only, self.note])
        self.box = ipywidgets.VBox([first, second, self.figure])

    def _chosen(self) -> int | None:
        """The class of the filter; None where its text names none."""
        name = " ".join(str(self.only.value).split())
        return self.names.index(name) if name in self.names else None

    def _panes(self) -> go.Figure:
        picture, truth, prediction = self.run.read_sample(self.split, self.image.value)
        chosen = self._chosen()
        return prediction_panes(
            picture,
            truth,
            prediction,
            self.names,
            self.colors,
            only=None if chosen is None else {chosen},
            opacity=float(self.opacity.value),
        )

    def _chose(self, _: object) -> None:
        if not self._filtering:
            self._redraw()

    def _redraw(self) -> None:
        refill(self.figure, self._panes())
        self._say()

    def _say(self) -> None:
        options = self.image.options
        self.note.value = f"{options.index(self.image.value) + 1} of {len(options)} pictures"

    def _fade(self, _: object) -> None:
        with self.figure.batch_update():
            for trace in self.figure.data[FIRST_LAYER : FIRST_LAYER + len(LAYERS)]:
                trace.opacity = float(self.opacity.value)

    def _step(self, by: int) -> None:
        options = self.image.options
        self.image.value = options[(options.index(self.image.value) + by) % len(options)]

    def _filter(self) -> None:
        chosen = self._chosen()
        held = self.images
        if chosen is not None and chosen in self._holders.index:
            held = [name for name in self.images if name in self._holders[chosen]]
        before = self.image.value
        self._filtering = True  # one redrawing: other options choose the first of them
        self.image.options = held
        self.image.value = before if before in held else held[0]
        self._filtering = False
        self._redraw()
