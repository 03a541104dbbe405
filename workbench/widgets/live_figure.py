"""A plotly figure that stays in touch with the kernel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import plotly.graph_objects as go
from traitlets import Unicode

_WIDTH = 820  # fits beside the file browser of a small window
_TURN: Final = threading.RLock()  # one for all: who had two figures' could wait for each other

# What the browser runs of a live figure: its changes are kept while plotly is being read.
LOADER: Final = """
const CHANGES = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout", "update",
  "animate", "removeLayoutProps", "removeTraceProps"].map(name => `_py2js_${name}`);
const modules = (globalThis.workbenchPlotly ??= new Map());

function read(source) {
  if (!modules.has(source)) {
    const url = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    modules.set(source, import(url).finally(() => URL.revokeObjectURL(url)));
  }
  return modules.get(source);
}

async function start(context) {
  const {model} = context, missed = [];
  const listeners = CHANGES.map(name => [`change:${name}`, () => {
    if (model.get(name) !== null) missed.push([name, model.get(name)]);
  }]);
  for (const [event, listen] of listeners) model.on(event, listen);
  const widget = (await read(model.get("_plotly"))).default();
  for (const [event, listen] of listeners) model.off(event, listen);
  await widget.initialize(context);
  for (const [name, value] of missed) {
    model.set(name, value);
    model.set(name, null);
  }
  return widget;
}

export default () => {
  let started;
  return {
    initialize(context) { started = start(context); },
    async render(context) { return (await started).render(context); },
  };
};
"""


class _LiveFigure(go.FigureWidget):  # type: ignore[misc,name-defined] # the stubs lack it
    """A figure that loses no message between the kernel and the browser.

    Its traces are in the first message. Plotly opens an empty widget and sends them after it: a
    browser that is busy draws the widget between the two, and what comes then without a message
    of its own is never drawn.

    What the browser tells it and what the kernel changes take turns. JupyterLab's messages reach
    a kernel in two threads, its main one and a subshell. While traitlets take in what the browser
    tells, they keep each trait's notifications for the end, as one; plotly sends a change by
    setting a trait to it and back to None, which as one is no change, and is not sent.

    Plotly's 5 MB of script are read once a page, and after the widget has started. As a widget's
    own script they are read for each, and anywidget gives that two seconds: after them it draws
    the figure all the same, but drops whatever the kernel tells it, for good.
    """

    _esm = LOADER
    _plotly = Unicode(str(go.FigureWidget._esm)).tag(sync=True)  # type: ignore[attr-defined]

    def __init__(self, plot: go.Figure) -> None:
        """Opens the widget once it is complete."""
        self._complete = False
        super().__init__(plot)
        self._complete = True
        self.open()

    def open(self) -> None:
        """As ipywidgets' own, which its constructor calls too early."""
        if self._complete:
            super().open()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Takes in what the browser tells, in turn."""
        with _TURN:
            super().set_state(sync_data)

    @contextmanager
    def batch_update(self) -> Iterator[None]:
        """Sends changes as one, in turn."""
        with _TURN, super().batch_update():
            yield


def live(plot: go.Figure) -> Any:  # noqa: ANN401 the stubs do not know FigureWidget
    """A figure that stays in touch with the kernel.

    It has a width of its own: plotly draws a widget before it is part of the page, where it
    cannot measure how much room there is, and would take 700 pixels.
    """
    return _LiveFigure(go.Figure(plot).update_layout(width=_WIDTH))


def refill(shown: Any, wanted: Any) -> None:  # noqa: ANN401 two figures
    """Makes a shown figure look like another one.

    Traces of the same kinds are changed in place, so that what hangs on them (callbacks, the
    zoom) stays; else they are exchanged.
    """
    with _TURN:
        same = [trace.type for trace in shown.data] == [trace.type for trace in wanted.data]
        with shown.batch_update():
            if same:
                for old, new in zip(shown.data, wanted.data, strict=True):
                    properties = new.to_plotly_json()
                    properties.pop("uid", None)
                    old.update(properties, overwrite=True)
            shown.update_layout(wanted.layout.to_plotly_json(), overwrite=True)
        if not same:
            shown.data = ()
            shown.add_traces([trace.to_plotly_json() for trace in wanted.data])
