"""Classes and pixels on a circle and on a sphere."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.charts import sphere

NAMES = ["road", "<b>car</b>"]
CLASSES = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
PIXELS = np.array([[0.0, 5.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 1.0]])
LABELS = np.array([0, 1, 1])


def test_pixels_have_the_colour_of_their_class_and_lie_on_the_sphere() -> None:
    pixels, classes = sphere(CLASSES, PIXELS, LABELS, NAMES).data
    colors = list(classes.marker.color)
    assert colors[0] != colors[1]
    assert list(pixels.marker.color) == [colors[0], colors[1], colors[1]]
    np.testing.assert_allclose(np.c_[pixels.x, pixels.y, pixels.z][1], [0.6, 0.0, 0.8])
    assert list(pixels.hovertext) == ["road", *["&lt;b&gt;car&lt;/b&gt;"] * 2]


def test_pixels_are_coloured_by_a_probability_where_it_is_given() -> None:
    known = np.array([0.25, 0.5, 1.0])
    for size, kind in ((2, "scatter"), (3, "mesh3d")):
        pixels, classes = sphere(
            CLASSES[:, :size] + 1, PIXELS[:, :size] + 1, LABELS, NAMES, probability=known
        ).data
        assert pixels.type == kind
        shown = pixels.marker.color if size == 2 else pixels.intensity
        np.testing.assert_allclose(np.array(shown, dtype=float), known)
        scale = pixels.marker if size == 2 else pixels
        assert (scale.cmin, scale.cmax) == (0, 1)
        assert list(pixels.hovertext) == ["0.250", "0.500", "1.000"]
        assert list(classes.text) == ["road", "&lt;b&gt;car&lt;/b&gt;"]


def test_four_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 dimensions"):
        sphere(np.ones((2, 4)), np.ones((3, 4)), LABELS, NAMES)
