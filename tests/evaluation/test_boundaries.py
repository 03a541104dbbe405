"""Wrong pixels near the outlines of the truth, against a walk over all pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workbench.constants import IGNORE_INDEX
from workbench.evaluation.boundaries import boundary_errors, boundary_width, near_boundary

CLASSES = 1284
IDS = st.sampled_from([0, 256, 1283, IGNORE_INDEX])
maps = arrays.arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=IDS)


def walk(truth: np.ndarray, width: int) -> np.ndarray:
    """The definition, pixel by pixel: next to another id, or within width - 1 of such a one."""
    high, wide = truth.shape
    edge = [
        (y, x)
        for y in range(high)
        for x in range(wide)
        for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= j < high and 0 <= i < wide and truth[j, i] != truth[y, x]
    ]
    near = [
        [any(max(abs(y - j), abs(x - i)) < width for j, i in edge) for x in range(wide)]
        for y in range(high)
    ]
    return np.array(near, dtype=bool).reshape(truth.shape)


@settings(deadline=None, max_examples=60)
@given(maps, st.integers(1, 6))
def test_near_a_boundary(truth: np.ndarray, width: int) -> None:
    np.testing.assert_array_equal(near_boundary(truth, width), walk(truth, width))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_errors_count_for_both_classes(data: st.DataObject) -> None:
    truth = data.draw(maps)
    prediction = data.draw(arrays.arrays(np.int64, truth.shape, elements=IDS))
    near = walk(truth, boundary_width(truth.shape))
    expected = np.zeros(CLASSES, np.int64)
    for t, p, close in zip(truth.ravel(), prediction.ravel(), near.ravel(), strict=True):
        if close and t not in (p, IGNORE_INDEX):
            expected[t] += 1
            if p != IGNORE_INDEX:
                expected[p] += 1
    np.testing.assert_array_equal(boundary_errors(prediction, truth, CLASSES), expected)


@pytest.mark.parametrize(
    ("shape", "width"), [((128, 128), 2), ((1, 5000), 2), ((480, 640), 5), ((1024, 2048), 10)]
)
def test_the_width_follows_the_shorter_side(shape: tuple[int, int], width: int) -> None:
    assert boundary_width(shape) == width


def test_a_shifted_square_is_wrong_at_its_outline_only() -> None:
    truth = np.zeros((300, 300), np.int64)
    truth[100:200, 100:200] = 1283
    prediction = np.roll(truth, 2, axis=1)  # two columns taken, two columns missed
    found = boundary_errors(prediction, truth, CLASSES)
    assert found[1283] == found[0] == 400
    moved = np.roll(truth, 20, axis=1)  # 2000 missed, 2000 taken, most of them far from it
    side, above_and_below = 3 * 100, 2 * 3 * 17
    assert boundary_errors(moved, truth, CLASSES)[1283] == side + above_and_below + side


def test_only_maps_have_boundaries() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        near_boundary(np.zeros((2, 3, 3), np.int64), 2)
