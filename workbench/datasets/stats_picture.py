"""The picture of a split's class counts. Loads matplotlib: import it late."""

from __future__ import annotations

import io
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from workbench.colors import CATEGORIES, GROUPS, category_key
from workbench.figure_style import MUTED, TEXT, style_axes

_SIZE: Final = (13.0, 8.6)  # inches
_DPI: Final = 150
_LEFT: Final = 0.055  # of the figure's width, as all positions
_ABSENT: Final = "#eef0f3"
_NAMED: Final = 40
"""Up to so many classes every bar has its name; beyond, the first and last are listed."""
_LISTED: Final = 8
_MAX_COLORS: Final = len(CATEGORIES)
_MAX_NAME: Final = 24
_Counts = npt.NDArray[np.int64]


def draw_stats(table: pd.DataFrame, title: str, images: int) -> bytes:
    """Draws images per class and pixels per class, most frequent first, as a PNG.

    Bars take the colour of the class's group; of its supercategory where there is one group.

    Args:
        table: What ``stats.class_table`` returned.
        title: Dataset and split.
        images: Number of images of the split.

    Returns:
        The file's content, 1950 x 1290 pixels.
    """
    figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    colors, entries = _colors(table)
    absent = int((table["images"] == 0).sum())
    facts = [
        f"{images:,} images",
        f"{len(table):,} classes" + (f", {absent:,} of them absent" if absent else ""),
        f"{_short(table['pixels'].sum())} labelled pixels",
    ]
    figure.text(_LEFT, 0.955, title, size=17, weight="bold", color=TEXT, parse_math=False)
    figure.text(_LEFT, 0.922, "  ·  ".join(facts), size=11.5, color=MUTED)
    top = 0.85
    if entries:
        columns = min(len(entries), 4, max(1, 165 // max(len(label) for label, _ in entries)))
        top -= 0.028 * -(-len(entries) // columns)
        legend = figure.legend(
            handles=[Patch(color=color, label=label) for label, color in entries],
            loc="upper left",
            bbox_to_anchor=(_LEFT - 0.008, 0.912),
            ncols=columns,
            frameon=False,
            fontsize=10.5,
            handlelength=1.0,
            handleheight=1.0,
            labelcolor=TEXT,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    named = len(table) <= _NAMED
    longest = max(len(_name(table, index)) for index in range(len(table)))
    below = 0.025 + 0.0062 * longest if named else 0.06  # names stand at 45 degrees
    height = (top - 0.06) / 2 - below
    for row, what in enumerate(("images", "pixels")):
        bottom = top - height - row * (height + below + 0.06)
        axes = figure.add_axes((_LEFT, bottom, 0.925 if named else 0.665, height))
        _draw_bars(axes, table, what, colors)
        if not named:
            beside = figure.add_axes((0.745, bottom, 0.235, height))
            _list_ends(beside, table, what, colors)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The font that comes with matplotlib lacks some scripts; boxes are all one can do.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _colors(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, str]]]:
    """Colour of each class, and the legend's (label, colour)."""
    for column in ("group", "supercategory"):
        values = table[column]
        if not 1 < values.nunique() <= _MAX_COLORS:
            continue
        key = category_key(values, column)
        order = {name: place for place, name in enumerate(GROUPS)}
        entries = sorted(key.entries, key=lambda entry: order.get(entry[0], len(order)))
        shown = values.where(values != "", "none")
        counts = shown.value_counts()
        shares = table.groupby(shown)["pixels"].sum() / max(int(table["pixels"].sum()), 1)
        return key.colors, [
            (f"{name}: {_classes(counts[name])}, {_percent(shares[name])} of pixels", color)
            for name, color in entries
        ]
    return [CATEGORIES[0]] * len(table), []


def _draw_bars(axes: Axes, table: pd.DataFrame, what: str, colors: list[str]) -> None:
    """Bars of the classes that occur, most frequent first, on a logarithmic axis."""
    order, present = _ranked(table, what)
    values = table[what].to_numpy()[order]
    named = len(table) <= _NAMED
    axes.set_title(f"{what.capitalize()} per class", loc="left", size=12.5, color=TEXT, pad=9)
    style_axes(axes, size=10, grid="y" if present else None)
    axes.set_xlim(-0.6, len(table) - 0.4)
    if present:
        axes.set_yscale("log")
        lowest = 10.0 ** np.floor(np.log10(values[present - 1]))
        axes.set_ylim(0.7 * lowest, 1.6 * values[0])
        narrow = values[0] < 50 * lowest
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5) if narrow else (1,), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.yaxis.set_minor_locator(NullLocator())
        # Wide bars of many classes overlap a little: no hairlines shine through.
        half = 0.4 if named else 0.52
        x, y = np.arange(present), values[:present]
        foot = np.full(present, 0.5 * lowest)
        corners = [(x - half, foot), (x - half, y), (x + half, y), (x + half, foot)]
        # One collection, because bar() takes seconds for a thousand classes.
        bars = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
        chosen = [colors[index] for index in order[:present]]
        axes.add_collection(PolyCollection(list(bars), facecolors=chosen, linewidths=0))
    else:
        axes.set_yticks([])
    if present < len(table):
        axes.axvspan(present - 0.5, len(table) - 0.4, color=_ABSENT, linewidth=0, zorder=0)
        axes.text(
            0.996,
            0.95,
            f"{_classes(len(table) - present)} absent",
            transform=axes.transAxes,
            ha="right",
            va="top",
            size=10,
            color=MUTED,
        )
    if named:
        names = [_name(table, index) for index in order]
        axes.set_xticks(range(len(table)), names, parse_math=False)
        axes.tick_params(axis="x", rotation=45, labelcolor=TEXT)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel("classes, largest first", size=10, color=MUTED)


def _list_ends(axes: Axes, table: pd.DataFrame, what: str, colors: list[str]) -> None:
    """The names and counts of the most and the least frequent classes that occur."""
    order, present = _ranked(table, what)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    halves: list[tuple[str, _Counts]] = [
        (f"most {what}", order[:_LISTED]),
        (f"fewest {what}", order[max(present - _LISTED, _LISTED) : present]),
    ]
    step = 1.0 / (2 * _LISTED + 2.7)
    y = 1.0
    for heading, indices in halves:
        axes.text(0.0, y, heading, size=10, color=MUTED, va="center")
        for index in indices[:present]:
            y -= step
            axes.scatter([0.018], [y], s=34, marker="s", color=colors[index], linewidths=0)
            name = _name(table, index)
            axes.text(0.06, y, name, size=9.5, color=TEXT, va="center", parse_math=False)
            count = _short(table[what].iloc[index], exact=True)
            axes.text(1.0, y, count, size=9.5, color=TEXT, va="center", ha="right")
        y -= 1.7 * step


def _ranked(table: pd.DataFrame, what: str) -> tuple[_Counts, int]:
    """Classes by falling count, equal ones group by group, and how many have any."""
    counts = table[what].to_numpy()
    return np.lexsort((pd.factorize(table["group"])[0], -counts)), int((counts > 0).sum())


def _name(table: pd.DataFrame, index: int) -> str:
    name = " ".join(str(table["name"].iloc[index]).split())
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _classes(count: int) -> str:
    return f"{count:,} class{'es' if count != 1 else ''}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def _short(value: float, *, exact: bool = False) -> str:
    """A count in few characters: 950, 12 k, 3.4 M; below a million in full where exact."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit and not (exact and limit < 1e6):
            return f"{value / limit:.3g}{unit}"
    return f"{value:,.0f}"
