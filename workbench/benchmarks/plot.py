"""The picture of a benchmark: memory and time against the number of classes, log-log."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from workbench.benchmarks.rows import Row
from workbench.colors import CATEGORIES, MISSING
from workbench.errors import DataError
from workbench.figure_style import MUTED, TEXT, style_axes

_DPI: Final = 150
_WIDTH: Final = 11.5  # inches, as all lengths
_PANEL: Final = (3.55, 2.75)
_LEFT: Final = (0.95, 6.55)  # of the memory panels, of the time panels
_HEAD: Final = 1.2  # above the first panel
_BETWEEN: Final = 1.05
_FOOT: Final = 0.85
_LABEL_STEP: Final = 0.175  # between labels
_MIB: Final = 2**20
_FAILED: Final = "out of memory"

_COLORS: Final = {
    "streaming": CATEGORIES[0],
    "embedding": CATEGORIES[0],
    "nearest": CATEGORIES[2],
    "dense": "#4a5360",
    "torch": CATEGORIES[1],
    "cut-cross-entropy": CATEGORIES[4],
    "liger": CATEGORIES[5],
    "reference": CATEGORIES[3],
}
_OURS: Final = ("streaming", "nearest", "embedding")
_NAMES: Final = {
    "torch": "torch, chunked",
    "cut-cross-entropy": "cut cross-entropy",
    "liger": "Liger",
    "euclidean": "Euclidean",
    "squared_euclidean": "squared Euclidean",
}


class _Quantity(NamedTuple):
    column: str
    unit: float
    lowest: float  # what is smaller is drawn there
    title: str


class _End(NamedTuple):
    """Where a line ends, and what is written there."""

    x: float
    y: float
    text: str
    color: str
    ours: bool


_MEMORY = _Quantity("peak_bytes", _MIB, 1.0, "peak memory")
_TIME = _Quantity("seconds", 1.0, 1e-4, "time")


def draw_costs(rows: Sequence[Row]) -> bytes:
    """Draws memory (left) and time (right) of every method against the number of classes.

    A row of panels for each distance of ``bench loss`` that others than we know, and for
    each number of pixels of ``bench memory`` and ``bench step``.

    Args:
        rows: Of one run of a benchmark; where nothing was measured, the label says why.

    Returns:
        A PNG file's content.

    Raises:
        DataError: Nothing was measured.
    """
    facets = _facets(rows)
    if not facets:
        raise DataError("--plot: no row was measured, there is nothing to draw")
    height = _HEAD + len(facets) * _PANEL[1] + (len(facets) - 1) * _BETWEEN + _FOOT
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    title, facts = _captions(rows)
    left = 0.25 / _WIDTH
    figure.text(left, 1 - 0.3 / height, title, size=14.5, weight="bold", color=TEXT, va="center")
    figure.text(left, 1 - 0.56 / height, facts, size=9.5, color=MUTED, va="center")
    for number, (name, members) in enumerate(facets.items()):
        bottom = height - _HEAD - (number + 1) * _PANEL[1] - number * _BETWEEN
        for offset, quantity in zip(_LEFT, (_MEMORY, _TIME), strict=True):
            box = (offset / _WIDTH, bottom / height, _PANEL[0] / _WIDTH, _PANEL[1] / height)
            axes = figure.add_axes(box)
            _draw_panel(axes, members, quantity, name)
    if any(row["note"].startswith(_FAILED) for row in rows):
        figure.text(left, 0.16 / height, "×  out of memory", size=9.5, color=MUTED, va="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _facets(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each row of panels, by its name; only those where something was measured."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = ""
        if row["bench"] == "loss":
            name = f"{_NAMES.get(row['distance'], row['distance'])} logits"
        elif row["bench"] in ("memory", "step"):
            name = f"{row['pixels']:,} sampled pixels" if row["sampled"] else "all pixels"
        found.setdefault(name, []).append(row)
    measured = {
        name: members
        for name, members in found.items()
        if any(row["peak_bytes"] is not None for row in members)
    }
    with_peers = {
        name: members
        for name, members in measured.items()
        if any(row["method"] not in _OURS for row in members)
    }
    return with_peers or measured


def _captions(rows: Sequence[Row]) -> tuple[str, str]:
    first = rows[0]
    machine = first["machine"]
    gpu = first["device"] == "cuda"
    place = ", ".join(machine["gpus"]) if gpu else f"{machine['cpu']}, {machine['cpu_count']} cores"
    facts = [place, f"torch {machine['torch']}", str(first["dtype"])]
    if first["bench"] == "loss":
        title = "Loss and gradients alone"
        facts = [f"{first['pixels']:,} pixels", f"D = {first['dim']}", *facts]
    elif first["bench"] == "predict":
        title = "Predicting an image, above the backbone"
        facts = [f"{first['pixels']:,} pixels", *facts]
    else:
        title = "One training step"
        network = first["network"] + (f" over {first['backbone']}" if first["backbone"] else "")
        images = f"{first['batch_size']} images of {first['crop']} x {first['crop']}"
        facts = [network, images, *facts]
    return title, "  ·  ".join(facts)


def _draw_panel(axes: Axes, rows: Sequence[Row], quantity: _Quantity, name: str) -> None:
    heading = quantity.title + (f", {name}" if name else "")
    axes.set_title(heading, loc="left", size=11, color=TEXT, pad=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    counts = sorted({row["classes"] for row in rows})
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
    axes.set_xticks(_apart(counts), [_count(count) for count in _apart(counts)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("classes", size=9.5, color=MUTED)
    baseline = rows[0].get("baseline_bytes" if quantity is _MEMORY else "baseline_seconds")
    values = [_value(row, quantity) for row in rows if row[quantity.column] is not None]
    _scale(axes, [*values, *([] if baseline is None else [baseline / quantity.unit])], quantity)
    ends = []
    if baseline is not None:
        level = baseline / quantity.unit
        axes.axhline(level, color=MISSING, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        ends.append(_End(axes.get_xlim()[1], level, "without a head", MISSING, False))
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        if any(row[quantity.column] is not None for row in mine):
            ends.append(_draw_line(axes, sorted(mine, key=lambda row: row["classes"]), quantity))
    _label(axes, ends)
    style_axes(axes, size=9)


def _value(row: Row, quantity: _Quantity) -> float:
    return max(float(row[quantity.column]) / quantity.unit, quantity.lowest)


def _draw_line(axes: Axes, rows: Sequence[Row], quantity: _Quantity) -> _End:
    """The line of one method; where its memory ended, it goes on to a cross, without measure."""
    method = str(rows[0]["method"])
    ours, color = method in _OURS, _COLORS.get(method, MISSING)
    xs = [row["classes"] for row in rows if row[quantity.column] is not None]
    ys = [_value(row, quantity) for row in rows if row[quantity.column] is not None]
    axes.plot(
        xs,
        ys,
        color=color,
        linewidth=2.4 if ours else 1.5,
        marker="o",
        markersize=5 if ours else 3.8,
        zorder=4 if ours else 3,
    )
    end = _End(xs[-1], ys[-1], _NAMES.get(method, method), color, ours)
    failed = [row["classes"] for row in rows if row["note"].startswith(_FAILED)]
    if not failed:
        return end
    end = end._replace(x=min(failed), y=axes.get_ylim()[1] / 1.2)
    axes.plot([xs[-1], end.x], [ys[-1], end.y], color=color, linewidth=1.2, linestyle=":")
    axes.plot([end.x], [end.y], color=color, marker="x", markersize=6, markeredgewidth=1.8)
    return end


def _apart(counts: Sequence[int]) -> list[int]:
    """The counts to name on the axis: those that leave room for their names."""
    named = [counts[0]]
    for count in counts[1:]:
        if count / named[-1] >= (counts[-1] / counts[0]) ** 0.11:
            named.append(count)
    return named


def _scale(axes: Axes, values: Sequence[float], quantity: _Quantity) -> None:
    low, high = min(values), max(values)
    axes.set_ylim(low / 1.6, high * 1.6)
    decades = math.log10(high * 1.6**2 / low)
    steps = (1, 1.5, 2, 3, 5, 7) if decades < 0.9 else (1, 2, 5) if decades < 1.8 else (1,)
    axes.yaxis.set_major_locator(LogLocator(10, steps, numticks=15))
    axes.yaxis.set_major_formatter(FuncFormatter(_mib if quantity is _MEMORY else _seconds))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _label(axes: Axes, ends: Sequence[_End]) -> None:
    """Names the lines right of the panel, at the height where they end or next to it."""
    right = axes.get_xlim()[1]

    def height(value: float) -> float:
        return float(axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1])

    ordered = sorted(ends, key=lambda end: end.y)
    wanted = [height(end.y) for end in ordered]
    for end, place in zip(ordered, spread_out(wanted, _LABEL_STEP / _PANEL[1]), strict=True):
        axes.annotate(
            end.text,
            xy=(end.x, end.y),
            xycoords="data",
            xytext=(1.045, place),
            textcoords="axes fraction",
            color=end.color,
            size=9.5,
            weight="bold" if end.ours else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.color,
                "linewidth": 0.6,
                "alpha": 0.55,
                "shrinkA": 1.5,
                "shrinkB": 4.0 if end.x < right else 0.0,
                "relpos": (0.0, 0.5),
            },
        )


def spread_out(wanted: Sequence[float], step: float, top: float = 1.0) -> list[float]:
    """Moves ascending heights apart, as little as a pass up and a pass down allow.

    Args:
        wanted: Heights, ascending.
        step: The least distance between two.
        top: The highest one allowed.
    """
    places = list(wanted)
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + step)
    limit = top
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - step
    return places


def _count(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,.0f}"


def _mib(value: float, _: object = None) -> str:
    return f"{value:,.0f} MiB"


def _seconds(value: float, _: object = None) -> str:
    return f"{value:g} s" if value >= 1 else f"{value * 1e3:g} ms"
