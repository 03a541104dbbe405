"""Colours that carry data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench import colors


def lightness(hexes: list[str]) -> np.ndarray:
    """CIE L* of sRGB colours, written out here as an oracle."""
    rgb = np.array([[int(h[i : i + 2], 16) / 255 for i in (1, 3, 5)] for h in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


@pytest.mark.parametrize("ramp", [colors.IOU_RAMP, colors.FREQUENCY_RAMP])
def test_ramps_rise_in_lightness_and_stay_legible(ramp: tuple[str, ...]) -> None:
    values = lightness(colors.sample_ramp(ramp, np.linspace(0, 1, 65)))
    assert (np.diff(values) > -0.5).all()
    assert values[0] > 30  # stands out on black
    assert values[-1] < 92  # and on white
    assert values[-1] - values[0] > 35


def test_ramp_ends_middle_and_missing() -> None:
    got = colors.sample_ramp(("#000000", "#ff0000"), np.array([0.0, 0.5, 1.0, 7.0, np.nan]))
    assert got == ["#000000", "#800000", "#ff0000", "#ff0000", colors.MISSING]


def test_absent_class_is_grey_not_zero() -> None:
    key = colors.iou_key(pd.Series([0.0, np.nan, 1.0]))
    assert key.colors[1] == colors.MISSING != key.colors[0]
    assert key.labels == ["0.000", "not in this split", "1.000"]


def test_frequency_is_logarithmic() -> None:
    key = colors.frequency_key(pd.Series([0, 1, 10, 100]))
    assert key.colors[0] == key.colors[1] == colors.FREQUENCY_RAMP[0]
    assert key.colors[3] == colors.FREQUENCY_RAMP[-1]
    assert key.colors[2] == colors.FREQUENCY_RAMP[4]  # half-way: 10 between 1 and 100
    assert [label for _, label in key.ticks] == ["1", "10", "100"]


def test_hue_takes_the_mean_colour_of_its_classes() -> None:
    table = pd.DataFrame(
        {"hue": ["red", "red", "blue"], "color": ["#f00000", "#d00000", "#0000ff"]}
    )
    key = colors.color_key(table, "hue")
    assert key.colors == ["#e00000", "#e00000", "#0000ff"]
    assert dict(key.entries) == {"red": "#e00000", "blue": "#0000ff"}


def test_other_attributes_take_palette_colours_and_groups_their_own() -> None:
    table = pd.DataFrame({"shape": ["a", "b", "a"], "group": ["stuff", "rare", "stuff"]})
    shape = colors.color_key(table, "shape")
    assert shape.colors[0] == shape.colors[2] == colors.CATEGORIES[0] != shape.colors[1]
    group = colors.color_key(table, "group")
    assert [name for name, _ in group.entries] == ["rare", "stuff"]
    assert group.colors[1] == colors.GROUPS["rare"]


def test_too_many_categories_share_one_entry() -> None:
    values = pd.Series([f"c{n:03d}" for n in range(300)] + ["c000"])
    key = colors.category_key(values, "kind")
    assert len(key.colors) == 301
    assert key.entries[0][0] == "c000"
    assert key.entries[-1] == ("276 more", colors.MISSING)
    assert key.colors.count(colors.MISSING) == 276


def test_missing_category_is_named_none() -> None:
    key = colors.category_key(pd.Series(["a", None, ""]), "kind")
    assert key.colors[1] == key.colors[2] == colors.MISSING
    assert key.entries[-1] == ("none", colors.MISSING)
    assert key.labels == ["a", "none", "none"]
