"""The picture of the page about accuracy: scores, and the reasons behind them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.colors import CATEGORIES
from workbench.experiments.summary import Entry
from workbench.figure_style import MUTED, TEXT, style_axes

_DENSE: Final = "#4a5360"
_PAPER: Final = ("nearest", "published", "nearest-all")


def draw_why(found: Sequence[Entry]) -> bytes:
    """Four panels over the entries with the most classes' tightest memory.

    Score of each method; loss against step; the share of pixels whose class is among the k
    nearest; how far each class is from the next.

    Args:
        found: Entries; those of the experiment "budgets" at its smallest memory are drawn.

    Returns:
        A PNG file's content.
    """
    shown = [e for e in found if e.first["experiment"] == "budgets"] or list(found)
    least = min(entry.first["memory"] for entry in shown)
    shown = sorted((e for e in shown if e.first["memory"] == least), key=lambda e: -e.miou)
    figure = Figure(figsize=(11.5, 8.2), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _scores(axes[0, 0], shown)
    _curves(axes[0, 1], shown)
    _hits(axes[1, 0], shown)
    _distances(axes[1, 1], shown)
    lines, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(
        *(lines, names),
        loc="outside lower center",
        ncols=min(4, len(names)),
        fontsize=8.5,
        frameon=False,
        labelcolor=TEXT,
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _color(entry: Entry, shown: Sequence[Entry]) -> str:
    method = entry.first["method"]
    if method.startswith("dense"):
        return _DENSE
    place = [e.first["method"] for e in shown if not e.first["method"].startswith("dense")]
    return CATEGORIES[place.index(method) % len(CATEGORIES)]


def _style(entry: Entry) -> str:
    method = entry.first["method"]
    return "--" if method in _PAPER else ":" if method == "dense-all" else "-"


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=TEXT, weight="bold")
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
    style_axes(axes, size=8.5, grid="both")


def _scores(axes: Axes, shown: Sequence[Entry]) -> None:
    order = shown[::-1]
    places = [*range(len(order))]
    axes.barh(places, [e.miou for e in order], color=[_color(e, shown) for e in order], height=0.7)
    for place, entry in zip(places, order, strict=True):
        if len(entry.rows) > 1:
            axes.plot([entry.low, entry.high], [place, place], color=TEXT, linewidth=1.4)
        label = f" {entry.miou:.3f}"
        axes.text(entry.high, place, label, va="center", fontsize=8.5, color=TEXT)
    axes.set_yticks(places, [e.first["title"] for e in order])
    axes.margins(x=0.15)
    _dress(axes, "Test mIoU at equal memory and time", "mIoU", "")
    axes.grid(visible=False, axis="y")


def _curves(axes: Axes, shown: Sequence[Entry]) -> None:
    for entry in shown:
        row = entry.first
        points = np.array(row["curve"], dtype=np.float64)
        minutes = points[:, 0] * row["seconds_per_step"] / 60
        axes.plot(minutes, points[:, 1], _style(entry), color=_color(entry, shown), linewidth=1.5)
    _dress(axes, "Training loss (each its own kind)", "minutes", "loss per drawn pixel")
    axes.set_ylim(bottom=0)


def _hits(axes: Axes, shown: Sequence[Entry]) -> None:
    for entry in shown:
        hits = entry.first["diagnostics"]["hit_rate"]
        axes.plot(
            [int(k) for k in hits],
            list(hits.values()),
            _style(entry),
            marker="o",
            markersize=3.5,
            color=_color(entry, shown),
            label=entry.first["title"],
        )
    axes.set_xscale("log")
    axes.set_xticks([1, 7, 32, 128], ["1", "7", "32", "128"])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    _dress(axes, "Is the true class among the k best?", "k", "share of pixels")


def _distances(axes: Axes, shown: Sequence[Entry]) -> None:
    tables = [e for e in shown if "crowding" in e.first["diagnostics"]]
    places = [*range(len(tables))][::-1]
    for place, entry in zip(places, tables, strict=True):
        found = entry.first["diagnostics"]
        crowd, color = found["crowding"], _color(entry, shown)
        axes.plot([crowd["smallest"], crowd["median"]], [place, place], color=color, linewidth=2)
        axes.plot(crowd["median"], place, "o", color=color)
        text = f"  median {crowd['median']:.2f}, rank {found['effective_rank']:.1f}"
        axes.text(crowd["median"], place, text, va="center", fontsize=8, color=TEXT)
    axes.axvline(0.2, color=MUTED, linewidth=1, linestyle=":")
    axes.set_yticks(places, [e.first["title"] for e in tables])
    axes.set_xlim(0, 2)
    _dress(axes, "Distance to the nearest other class", "between unit vectors", "")
    axes.grid(visible=False, axis="y")
