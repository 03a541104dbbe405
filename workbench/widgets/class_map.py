"""The class embeddings as a map, over training, with a list of what is picked in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import ipywidgets
import pandas as pd
import plotly.graph_objects as go
from plotly.callbacks import Points

from workbench.charts import class_map
from workbench.class_search import matching_classes
from workbench.errors import RunError
from workbench.runs import RunDirectory
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import Panel, control, open_run, table_html

_LISTED: Final = ("class_id", "name", "group", "iou", "train_images", "nearest")
_COLORS: Final = {
    "IoU": "iou",
    "group": "group",
    "training images": "train_images",
    "supercategory": "supercategory",
    "reason of failure": "reason",
}


class ClassMap(Panel):
    """UMAP or PCA of the class embeddings: neighbours look alike to the model.

    Attributes:
        layout: "UMAP" or "PCA".
        axes: "2D" or "3D".
        color: What the colours mean.
        step: The moment of training.
        search: Words of a name, or an id; what is found is ringed and listed.
        selected: class_ids picked by lasso, click or search.
        table: Their rows.
    """

    def __init__(self, run: RunDirectory | Path | str, split: str = "val") -> None:
        """Shows the last step.

        Args:
            run: A run with a projection (`workbench project RUN`), or its folder.
            split: The evaluation whose IoU to colour by; without one there is no IoU.

        Raises:
            RunError: There is no projection.
        """
        self.run = open_run(run)
        self.projection = self.run.read_projection()
        self.classes = self._class_table(split)
        self.selected: list[int] = []
        offered = {title: name for title, name in _COLORS.items() if name in self.classes}
        used = {"class_id", "name", "color", "nearest", *_COLORS.values()}
        own = sorted({str(name) for name in self.classes} - used)
        attributes = [name for name in own if str(self.classes[name].dtype) in ("str", "object")]
        offered |= {name: name for name in attributes}
        steps = sorted(int(step) for step in self.projection["step"].unique())
        self.layout = control("Dropdown", "map", options=["UMAP", "PCA"])
        self.axes = control("ToggleButtons", "", options=["2D", "3D"])
        self.axes.style.button_width = "4em"
        self.color = control("Dropdown", "colour", options=offered)
        self.step = control("SelectionSlider", "step", options=steps, value=steps[-1])
        self.search = control("Text", "find", placeholder="part of a name", continuous_update=False)
        self.listing = ipywidgets.HTML()
        self.figure = live(self._map())
        self._listen()
        for part in (self.layout, self.axes, self.color, self.step):
            part.observe(lambda _: self._redraw(), names="value")
        self.search.observe(lambda _: self.find(str(self.search.value)), names="value")
        self._list()
        rows = [[self.layout, self.axes, self.color], [self.step, self.search]]
        self.box = ipywidgets.VBox(
            [*(ipywidgets.HBox(row) for row in rows), self.figure, self.listing]
        )

    @property
    def table(self) -> pd.DataFrame:
        """The rows of the classes selected, in the order they were picked."""
        rows = self.classes.set_index("class_id", drop=False).loc[self.selected]
        return rows[[name for name in _LISTED if name in rows]].reset_index(drop=True)

    def find(self, text: str) -> None:
        """Selects the classes whose name holds every word, or whose id it is."""
        found = matching_classes(self.classes, text) & bool(text.strip())
        self.select(self.classes.loc[found, "class_id"])

    def select(self, class_ids: Iterable[int]) -> None:
        """Rings classes and lists them."""
        self.selected = [int(index) for index in class_ids]
        self._redraw()
        self._list()

    def _class_table(self, split: str) -> pd.DataFrame:
        vocabulary = self.run.vocabulary().table
        try:
            scores = self.run.read_per_class(split)
        except RunError:
            return vocabulary
        own = [name for name in vocabulary if name == "class_id" or name not in scores]
        table = scores.merge(vocabulary[own], on="class_id")
        names = table.set_index("class_id")["name"]
        return table.assign(nearest=table["nearest_class_id"].map(names))

    def _map(self) -> go.Figure:
        kind, flat = str(self.layout.value), self.axes.value == "2D"
        prefix = {"UMAP": "umap2" if flat else "umap3", "PCA": "pca"}[kind]
        axes = {f"{prefix}_{axis}": axis for axis in ("xy" if flat else "xyz")}
        places = self.projection.rename(columns=axes)[["step", "class_id", *axes.values()]]
        low, high = places[list(axes.values())].min(), places[list(axes.values())].max()
        room = (high - low) * 0.04
        # The same frame at every step, so that only the classes move.
        view = {axis: (low[axis] - room[axis], high[axis] + room[axis]) for axis in axes.values()}
        now = places[places["step"] == self.step.value].drop(columns="step")
        plot = class_map(
            self.classes.merge(now, on="class_id"),
            color_by=str(self.color.value),
            highlight=self.selected,
            view=view,
            isotropic=kind == "PCA",
            height=560,
        )
        return plot

    def _redraw(self) -> None:
        kinds = [trace.type for trace in self.figure.data]
        refill(self.figure, self._map())
        if kinds != [trace.type for trace in self.figure.data]:
            self._listen()

    def _listen(self) -> None:
        points = self.figure.data[0]
        points.on_click(self._picked, append=True)
        if points.type != "scatter3d":
            points.on_selection(self._picked, append=True)

    def _picked(self, trace: go.Scatter, points: Points, _: object) -> None:
        table: Any = trace.customdata
        ids = [int(table[index][0]) for index in points.point_inds]
        if ids:
            self.select(ids)

    def _list(self) -> None:
        hint = "Draw round classes, click one, or type part of a name."
        self.listing.value = table_html(self.table) if self.selected else f"<i>{hint}</i>"
