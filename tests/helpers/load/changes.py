"""What a person may do on a page: the widgets that lie there, and a change of one of them.

Pure: from Streamlit's messages to the message that its page in the browser would send.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from streamlit.proto.PlotlyChart_pb2 import PlotlyChart
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState

WORDS: Final = ("", "a", "dog", "er", "st", "12", "1203", "tree", "nothing is called this")
"""What is searched for."""

_ROWS: Final = 12  # a person picks one of those in view
_INTERNAL: Final = "$$STREAMLIT_INTERNAL_KEY"
_ONLY_WITH: Final = {"vocabulary_add": "vocabulary_away_"}
"""Forms that refuse, in words, until a widget is there: a class is added of marked pixels."""


class Widget(NamedTuple):
    """A widget of a page.

    Attributes:
        kind: Field of Streamlit's Element: "text_input".
        proto: Its message.
        fragment: Id of the part of the page that runs alone for it; "" for the whole page.
        path: Where it lies.
    """

    kind: str
    proto: Any
    fragment: str
    path: tuple[int, ...]


class Change(NamedTuple):
    """What one act sends.

    Attributes:
        action: What it is called among the figures.
        states: New values, which stay.
        triggers: Values that are sent once: clicks.
        fragment: As for `Widget`.
    """

    action: str
    states: tuple[WidgetState, ...]
    triggers: tuple[WidgetState, ...]
    fragment: str


def possible(widgets: Mapping[str, Widget], rng: random.Random) -> list[Change]:
    """One change of every widget that can be changed, forms as wholes.

    Args:
        widgets: Those of a page, by id.
        rng: Chooses the values.
    """
    found = [_change(one, rng) for one in widgets.values() if not _form(one)]
    forms = {_form(one): one for one in widgets.values() if _is_submit(one)}
    for form, needed in _ONLY_WITH.items():
        if not any(needed in name for name in widgets):
            forms.pop(form, None)
    found += [
        _submit(button, [w for w in widgets.values() if _form(w) == form], rng)
        for form, button in forms.items()
    ]
    return [one for one in found if one is not None]


def _form(widget: Widget) -> str:
    return str(getattr(widget.proto, "form_id", ""))


def _is_submit(widget: Widget) -> bool:
    return widget.kind == "button" and widget.proto.is_form_submitter


def _change(widget: Widget, rng: random.Random) -> Change | None:
    proto = widget.proto
    if getattr(proto, "disabled", False):
        return None
    if widget.kind == "button":
        return _clicked("button", widget, WidgetState(id=proto.id, trigger_value=True))
    if widget.kind == "bidi_component":
        return _component(widget, rng)
    state = WidgetState(id=proto.id)
    action = _fill(widget, state, rng)
    return None if action is None else Change(action, (state,), (), widget.fragment)


def _submit(button: Widget, fields: Sequence[Widget], rng: random.Random) -> Change | None:
    """All fields of a form, and its button."""
    changes = [_change(one, rng) for one in fields if one.kind != "button"]
    states = [state for one in changes if one is not None for state in one.states]
    for state in states:  # names of classes must differ
        if state.HasField("string_value") and state.string_value in WORDS:
            state.string_value = f"class {rng.random():.9f}"
    click = WidgetState(id=button.proto.id, trigger_value=True)
    return Change("form", tuple(states), (click,), button.fragment)


def _clicked(action: str, widget: Widget, *triggers: WidgetState) -> Change:
    return Change(action, (), triggers, widget.fragment)


def _fill(widget: Widget, state: WidgetState, rng: random.Random) -> str | None:
    """Puts a value into the state of a widget; returns the action's name, None for no widget."""
    kind, proto = widget.kind, widget.proto
    if kind == "text_input":
        state.string_value = rng.choice(WORDS)
        return "search"
    if kind == "selectbox" and proto.options:
        state.string_value = rng.choice(proto.options)
        return "select box"
    if kind == "multiselect" and proto.options:
        chosen = rng.sample(list(proto.options), min(2, len(proto.options)))
        state.string_array_value.data.extend(chosen)
        return "select box"
    if kind == "button_group" and proto.options:
        state.string_array_value.data.append(rng.choice(proto.options).content)
        return "pill"
    if kind == "slider":
        _slide(proto, state, rng)
        return "slider"
    if kind == "checkbox":
        state.bool_value = rng.random() < 0.5
        return "switch"
    if kind == "number_input":
        state.double_value = proto.min + proto.step * rng.randrange(20)
        return "number"
    if kind == "pagination":
        state.int_value = rng.randint(1, proto.num_pages)
        return "next page of pictures"
    if kind == "dataframe" and proto.selection_mode:
        return _pick_row(proto, state, rng)
    if kind == "plotly_chart" and proto.selection_mode:
        return _pick_points(proto, state, rng)
    return None


def _slide(proto: Slider, state: WidgetState, rng: random.Random) -> None:
    if proto.options:
        state.string_array_value.data.append(rng.choice(proto.options))
    else:
        steps = int((proto.max - proto.min) / (proto.step or 1))
        state.double_array_value.data.append(proto.min + proto.step * rng.randint(0, steps))


def _pick_row(proto: Any, state: WidgetState, rng: random.Random) -> str | None:
    data = proto.arrow_data.data
    rows = pa.ipc.open_stream(data).read_all().num_rows if data else 0
    if not rows:
        return None
    picked = {"rows": [rng.randrange(min(_ROWS, rows))], "columns": [], "cells": []}
    state.string_value = json.dumps({"selection": picked})
    return "row of a table"


def _pick_points(proto: PlotlyChart, state: WidgetState, rng: random.Random) -> str | None:
    ids = point_ids(proto.spec)
    if not ids:
        return None
    several = PlotlyChart.SelectionMode.LASSO in proto.selection_mode and rng.random() < 0.5
    chosen = rng.sample(ids, min(len(ids), 25 if several else 1))
    selection = {
        "points": [{"customdata": [one], "curve_number": 0} for one in chosen],
        "point_indices": list(range(len(chosen))),
        "box": [],
        "lasso": [],
    }
    state.string_value = json.dumps({"selection": selection})
    return "circle in a chart" if several else "point of a chart"


def point_ids(spec: str) -> list[int]:
    """The ids that the points of a chart's first trace carry; empty where they carry none."""
    traces = json.loads(spec).get("data", [])
    custom = traces[0].get("customdata") if traces else None
    if isinstance(custom, dict):  # plotly sends long arrays as bytes
        custom = np.frombuffer(base64.b64decode(custom["bdata"]), dtype=custom["dtype"]).tolist()
    first = (one[0] if isinstance(one, list) and one else one for one in custom or ())
    return [int(one) for one in first if isinstance(one, int | float)]


def _component(widget: Widget, rng: random.Random) -> Change | None:
    """A click in a component of the app's own."""
    proto = widget.proto
    name = proto.component_name.rpartition(".")[2]
    data = json.loads(proto.json) if proto.WhichOneof("data") == "json" else {}
    if name == "workbench_viewer":
        at = {"x": rng.randrange(data["width"]), "y": rng.randrange(data["height"])}
        state = WidgetState(
            id=proto.id, json_value=json.dumps({"pixel": at | {"key": data["key"]}})
        )
        return Change("pixel", (state,), (), widget.fragment)
    if name == "workbench_picker":
        return _picker(widget, data, rng)
    if name == "workbench_gallery":
        return _opened("picture", widget, "open", [one["id"] for one in data["pictures"]], rng)
    if name == "workbench_class_list":
        ids = [row["open"] for row in data["rows"] if row["open"] is not None]
        return _opened("class", widget, "open", ids, rng)
    return None


def _picker(widget: Widget, data: Mapping[str, Any], rng: random.Random) -> Change | None:
    """Marks a few pixels, or chooses another picture."""
    if data["marking"] and rng.random() < 0.5:
        wide, high = data["width"], data["height"]
        marks = [[rng.randrange(wide), rng.randrange(high)] for _ in range(3)]
        sent = {"marks": {"picture": data["picture"], "marks": marks}}
        state = WidgetState(id=widget.proto.id, json_value=json.dumps(sent))
        return Change("pixel", (state,), (), widget.fragment)
    ids = [one["id"] for one in data["strip"]["pictures"]]
    return _opened("picture", widget, "picture", ids, rng)


def _opened(
    action: str, widget: Widget, event: str, ids: Sequence[object], rng: random.Random
) -> Change | None:
    if not ids:
        return None
    sent = json.dumps([{"event": event, "value": rng.choice(ids)}])
    trigger = WidgetState(id=f"{_INTERNAL}_{widget.proto.id}__events", json_trigger_value=sent)
    return _clicked(action, widget, trigger)


def left(
    before: Mapping[str, Widget],
    seen: Mapping[str, Widget],
    blocks: Iterable[tuple[int, ...]],
    fragments: Iterable[str],
) -> dict[str, Widget]:
    """The widgets that lie on a page after a part of it ran.

    Args:
        before: Those before.
        seen: Those that the run has sent.
        blocks: Where containers are that it has sent: what else lay in them is gone.
        fragments: The parts that ran; none for the whole page.
    """
    ran, places = set(fragments), set(blocks)
    if not ran:
        return dict(seen)
    kept = {
        name: one
        for name, one in before.items()
        if one.fragment not in ran
        and not any(one.path[:end] in places for end in range(1, len(one.path)))
    }
    return kept | dict(seen)
