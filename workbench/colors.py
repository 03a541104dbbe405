"""Colours that carry data: ramps for numbers, fixed colours for categories.

The ramps rise evenly in lightness (built in OKLCH), so that their order survives grey
print and colour blindness, and both ends stay legible on white and on near-black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

IOU_RAMP: Final = (
    "#ae1a69", "#a43ea8", "#8b5fd9", "#5f81f3", "#0aa2ed",
    "#09bad3", "#0fd0bb", "#65df93", "#bbe26e",
)  # fmt: skip
"""From nothing recognised (crimson) to everything (light green)."""

FREQUENCY_RAMP: Final = (
    "#5f49ab", "#834eac", "#a555a7", "#c35d9c", "#de698d",
    "#f3797b", "#fe906d", "#fdad70", "#fec675",
)  # fmt: skip
"""From rare (violet) to frequent (amber)."""

CATEGORIES: Final = (
    "#4e8fd0", "#e8833a", "#3fa66b", "#c9557a", "#8f74c9", "#b0893b",
    "#35a7a7", "#d96fb8", "#7f9a3c", "#a36a5a", "#5b6fd6", "#cf5f4c",
)  # fmt: skip
"""For categories without a colour of their own, in the order they are given out."""

MISSING: Final = "#8d939c"
"""A class without a value: never scored, no attribute, no group."""

GROUPS: Final = {
    "rare": "#d1495b",
    "common": "#e09f3e",
    "frequent": "#2a9d8f",
    "stuff": "#6d7fb3",
}
_MAX_ENTRIES = 24  # of a legend; beyond it the smallest categories share one entry
_SHADES = 64  # finer steps cannot be told apart; fewer colours make smaller figures
_HUE_NAMES = frozenset({"hue", "color", "colour"})


@dataclass(frozen=True)
class ColorKey:
    """Colours of the rows of a table, and what they mean.

    Attributes:
        title: Name of the quantity, with its unit.
        colors: One "#rrggbb" per row.
        labels: The value of each row as text, for hovering.
        entries: (label, colour) of a legend; empty for a number.
        ramp: Colours of the colour bar, low to high; empty for categories.
        ticks: (position on the ramp 0..1, label) of the colour bar.
    """

    title: str
    colors: list[str]
    labels: list[str]
    entries: list[tuple[str, str]] = field(default_factory=list)
    ramp: tuple[str, ...] = ()
    ticks: list[tuple[float, str]] = field(default_factory=list)


def to_rgb(colors: Sequence[str]) -> np.ndarray:
    """Turns N "#rrggbb" strings into (N, 3) float64 in 0..255."""
    return np.array(
        [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors], dtype=np.float64
    ).reshape(-1, 3)


def to_hex(rgb: np.ndarray) -> list[str]:
    """Turns (N, 3) numbers in 0..255 into N "#rrggbb" strings."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb.round().astype(int)]


def sample_ramp(ramp: Sequence[str], positions: np.ndarray) -> list[str]:
    """Colours at positions of a ramp.

    Args:
        ramp: Evenly spaced colours, low to high.
        positions: (N,) in 0..1, clipped and rounded to 64 shades; NaN gives ``MISSING``.

    Returns:
        N "#rrggbb" strings.
    """
    positions = np.asarray(positions, dtype=np.float64)
    positions = (positions * _SHADES).round() / _SHADES
    known = np.isfinite(positions)
    anchors = to_rgb(ramp)
    at = np.clip(np.where(known, positions, 0.0), 0.0, 1.0) * (len(anchors) - 1)
    rgb = np.stack([np.interp(at, np.arange(len(anchors)), anchors[:, c]) for c in range(3)], 1)
    return [color if ok else MISSING for color, ok in zip(to_hex(rgb), known, strict=True)]


def iou_key(iou: pd.Series) -> ColorKey:
    """Colours IoU in 0..1; NaN (absent from the split) is grey."""
    values = iou.to_numpy(dtype=np.float64, na_value=np.nan)
    labels = [f"{value:.3f}" if np.isfinite(value) else "not in this split" for value in values]
    ticks = [(at, f"{at:g}") for at in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return ColorKey("IoU", sample_ramp(IOU_RAMP, values), labels, ramp=IOU_RAMP, ticks=ticks)


def frequency_key(counts: pd.Series, title: str = "training images") -> ColorKey:
    """Colours counts >= 0 on a logarithmic ramp; 0 shares the colour of 1."""
    values = np.maximum(counts.to_numpy(dtype=np.float64, na_value=np.nan), 1.0)
    top = max(1.0, float(np.ceil(np.log10(np.nanmax(values))))) if len(values) else 1.0
    colors = sample_ramp(FREQUENCY_RAMP, np.log10(values) / top)
    labels = [f"{int(count):,}" for count in counts.fillna(0)]
    ticks = [(power / top, f"{10**power:,}") for power in range(int(top) + 1)]
    return ColorKey(title, colors, labels, ramp=FREQUENCY_RAMP, ticks=ticks)


def category_colors(values: pd.Series, own: pd.Series | None = None) -> dict[str, str]:
    """One colour per category, most frequent category first.

    Args:
        values: Category of each row; missing ones are left out.
        own: "#rrggbb" of each row. A category then takes its rows' mean colour, which for an
            attribute such as hue is the colour it names.
    """
    order = [str(value) for value in values.dropna().astype(str).value_counts().index if value]
    if own is not None:
        text = values.astype(str)
        return {
            name: to_hex(to_rgb(own[text == name].tolist()).mean(axis=0, keepdims=True))[0]
            for name in order
        }
    fixed = {name: color for name, color in GROUPS.items() if name in order}
    rest = [name for name in order if name not in fixed]
    return fixed | {name: CATEGORIES[at % len(CATEGORIES)] for at, name in enumerate(rest)}


def category_key(values: pd.Series, title: str, own: pd.Series | None = None) -> ColorKey:
    """Colours categories; those beyond the legend's length share the grey of "other"."""
    text = values.astype("object").where(values.notna(), "").astype(str)
    chosen = category_colors(text.where(text != ""), own)
    shown = list(chosen)
    entries = [(name, chosen[name]) for name in shown[:_MAX_ENTRIES]]
    if len(shown) > _MAX_ENTRIES:
        if own is None:  # repeated colours would tell lies; a colour of one's own does not
            chosen = dict(entries)
        entries.append((f"{len(shown) - _MAX_ENTRIES} more", MISSING))
    if (text == "").any():
        entries.append(("none", MISSING))
    colors = [chosen.get(value, MISSING) for value in text]
    return ColorKey(title, colors, [value or "none" for value in text], entries=entries)


def color_key(table: pd.DataFrame, column: str) -> ColorKey:
    """Colours for one column of a class table, by what the column holds.

    Args:
        table: Rows of classes; ``color`` ("#rrggbb") is used for an attribute named hue.
        column: "iou", a count such as "train_images", or a category.
    """
    values = table[column]
    if column == "iou":
        return iou_key(values)
    if pd.api.types.is_numeric_dtype(values):
        return frequency_key(values, column.replace("_", " ").replace("train ", "training "))
    own = table["color"] if column in _HUE_NAMES and "color" in table else None
    return category_key(values, column.replace("_", " "), own)
