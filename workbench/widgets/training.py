"""A training to look at while it runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ipywidgets
import pandas as pd
import plotly.graph_objects as go

from workbench.charts import training_panels
from workbench.progress import say
from workbench.runs import RunDirectory
from workbench.trainers.hooks import Hook, Record
from workbench.trainers.trainer import Trainer
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import Panel, open_run

_MOST: Final = 1000  # records drawn; beyond it every second one goes


class TrainingMonitor(Panel, Hook):
    """The curves of a training, while it runs in the same kernel or afterwards.

    ::

        train(settings, path, hooks=[TrainingMonitor()])   # shows itself at the first step
        TrainingMonitor("runs/mine")                        # the curves of a run that is there

    The kernel is busy while it trains, but what it sends is drawn all the same. At the end a
    plain figure takes the place of the live one: in a saved notebook each live one holds 5 MB
    of plotly's script. Outside of Jupyter nothing is shown, and one line is said at the end.

    Attributes:
        metrics: The records drawn: step, loss, and val_miou where there was an evaluation.
        summary: Step, loss, mIoU, images per second and time left, in words.
    """

    def __init__(
        self,
        run: RunDirectory | Path | str | None = None,
        *,
        every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes an empty monitor, or one of a run.

        Args:
            run: A run whose curves to show; None waits for a training.
            every: Seconds between two drawings, at least.
            clock: Seconds that go on.
        """
        self.every, self._clock = every, clock
        self.metrics = pd.DataFrame({"step": [], "loss": [], "val_miou": []})
        self.summary = "waiting for the first step"
        self._records: list[Record] = []
        self._stride, self._steps = 1, 0
        self._first: tuple[int, float] | None = None
        self._drawn = -math.inf
        self._score: tuple[float, int] | None = None
        self._handle: Any = None
        self.box = None
        self._live = run is None and _in_notebook()
        if run is not None:
            self._read(open_run(run))
        self.figure = self._curves()
        if self._live:
            self.figure = live(training_panels(self.metrics))
            self.line = ipywidgets.HTML(self.summary)
            self.bar = ipywidgets.IntProgress(
                min=0, max=max(1, self._steps), layout={"width": "100%"}
            )
            self.box = ipywidgets.VBox([self.bar, self.line, self.figure])

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Keeps the figures of a step and draws them, if it is time."""
        settings = trainer.config.train
        step, now = int(record["step"]), self._clock()
        self._steps = settings.steps
        if self._first is None:
            self._first = step, now
        if "val_miou" in record:
            self._score = float(record["val_miou"]), step
        if step % self._stride == 0 or "val_miou" in record:
            names = ("step", "loss", "val_miou")
            self._records.append({name: record[name] for name in names if name in record})
        if now - self._drawn < self.every and step < self._steps:
            return
        self.summary = self._words(record, now, settings.batch_size)
        self._drawn = now
        self._draw(step)

    def at_end(self, trainer: Trainer) -> None:
        """Leaves the finished curves, also for a reader without a kernel."""
        if not self._live:
            say(self.summary)
            return
        parts, self._live = (self.box, self.bar, self.line, self.figure), False
        self.box, self.figure = None, self._curves()
        if self._handle is not None:
            self._handle.update(self)
        for part in parts:
            part.close()

    def _curves(self) -> go.Figure:
        plot = training_panels(self.metrics, steps=self._steps or None, height=300)
        title = {"text": self.summary, "font": {"size": 13}, "x": 0.01}
        return plot.update_layout(title=title, margin_t=44)

    def _draw(self, step: int) -> None:
        self._thin()
        columns = ["step", "loss", "val_miou"]
        self.metrics = pd.DataFrame(self._records).reindex(columns=columns)
        if not self._live:
            return
        refill(self.figure, training_panels(self.metrics, steps=self._steps))
        self.line.value, self.bar.max, self.bar.value = self.summary, self._steps, step
        if self._handle is None and _in_notebook():
            from IPython.display import display

            self._handle = display(self, display_id=True)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.summary}>"

    def _thin(self) -> None:
        while len(self._records) > _MOST:
            self._stride *= 2
            kept = [r for r in self._records if r["step"] % self._stride == 0 or "val_miou" in r]
            if len(kept) == len(self._records):
                return
            self._records = kept

    def _words(self, record: Record, now: float, images: int) -> str:
        step = int(record["step"])
        said = [f"step {step:,} of {self._steps:,}", f"loss {record['loss']:.3f}"]
        if self._score is not None:
            said.append(f"mIoU {self._score[0]:.3f} at step {self._score[1]:,}")
        if self._first is not None and step > self._first[0]:
            # The first step warms up; it is left out of the rate.
            seconds = max(now - self._first[1], 1e-9) / (step - self._first[0])
            said.append(f"{images / seconds:.1f} images/s")
            left = round(seconds * (self._steps - step))
            said.append(f"{left // 60}:{left % 60:02d} left" if step < self._steps else "done")
        return " · ".join(said)

    def _read(self, run: RunDirectory) -> None:
        metrics = run.metrics().reindex(columns=["step", "loss", "val_miou"])
        every = -(-len(metrics) // _MOST) or 1
        self.metrics = metrics[metrics["val_miou"].notna() | (metrics.index % every == 0)]
        status = run.status()
        reached = int(metrics["step"].max()) if len(metrics) else 0
        self._steps = int(status.get("steps") or reached or 1)
        said = [str(status.get("state", "")), f"step {status.get('step', 0):,} of {self._steps:,}"]
        losses, scores = metrics["loss"].dropna(), metrics["val_miou"].dropna()
        said += [f"loss {losses.iloc[-1]:.3f}"] if len(losses) else []
        said += [f"mIoU {scores.iloc[-1]:.3f}"] if len(scores) else []
        self.summary = " · ".join(said)


def _in_notebook() -> bool:
    """Whether a front end listens: there is an IPython with a kernel."""
    import sys

    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
