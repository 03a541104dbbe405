"""What mending classes brings, against the full confusion matrix mended entry by entry."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from workbench.evaluation.gains import joint_gain, miou_gains
from workbench.evaluation.iou import Counts

CLASSES = st.integers(1, 7)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """A confusion matrix, mostly zeros, with a last column for pixels given no class."""
    classes = draw(CLASSES)
    entries = st.one_of(st.just(0), st.integers(0, 40))
    return draw(arrays.arrays(np.int64, (classes, classes + 1), elements=entries))


def split(matrix: np.ndarray) -> tuple[Counts, pd.DataFrame]:
    """What the evaluation keeps of a matrix."""
    square = matrix[:, :-1]
    truth, predicted = np.nonzero(square)
    counts = Counts(square.diagonal().copy(), matrix.sum(axis=1), square.sum(axis=0))
    pixels = square[truth, predicted]
    return counts, pd.DataFrame({"truth": truth, "predicted": predicted, "pixels": pixels})


def mean_iou(matrix: np.ndarray) -> float:
    scores = []
    for c in range(len(matrix)):
        if matrix[c].sum():
            union = matrix[c].sum() + matrix[:, c].sum() - matrix[c, c]
            scores.append(matrix[c, c] / union)
    return sum(scores) / len(scores) if scores else math.nan


def mend(matrix: np.ndarray, classes: set[int]) -> np.ndarray:
    """Puts every wrong pixel of the classes where it belongs: on the diagonal."""
    mended = matrix.copy()
    for t in range(matrix.shape[0]):
        for p in range(matrix.shape[1]):
            if t != p and (t in classes or p in classes):
                mended[t, t] += mended[t, p]
                mended[t, p] = 0
    return mended


@settings(deadline=None, max_examples=150)
@given(matrices())
def test_the_gain_of_each_class(matrix: np.ndarray) -> None:
    gains = miou_gains(*split(matrix))
    expected = [mean_iou(mend(matrix, {c})) - mean_iou(matrix) for c in range(len(matrix))]
    np.testing.assert_allclose(gains, expected, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(matrices(), st.sets(st.integers(0, 6)))
def test_the_gain_of_several_at_once(matrix: np.ndarray, classes: set[int]) -> None:
    classes = {c for c in classes if c < len(matrix)}
    expected = mean_iou(mend(matrix, classes)) - mean_iou(matrix)
    np.testing.assert_allclose(joint_gain(*split(matrix), classes), expected, atol=1e-12)


def test_large_ids_and_the_help_to_others() -> None:
    zeros = np.zeros(1284, np.int64)
    counts = Counts(zeros.copy(), zeros.copy(), zeros.copy())
    counts.truth_pixels[[256, 1283]] = 10
    counts.intersection[256] = 10
    counts.predicted_pixels[256] = 20  # takes all of 1283
    frame = pd.DataFrame(
        [(256, 256, 10), (1283, 256, 10)], columns=["truth", "predicted", "pixels"]
    )
    gains = miou_gains(counts, frame)
    # Mended, 1283 goes from 0 to 1, and 256 from 1/2 to 1; of two classes present.
    assert gains[1283] == pytest.approx(0.75)
    assert gains[256] == pytest.approx(0.75)
    assert joint_gain(counts, frame, [256, 1283]) == pytest.approx(0.75)
    assert np.flatnonzero(gains).tolist() == [256, 1283]


def test_nothing_present() -> None:
    zeros = np.zeros(300, np.int64)
    frame = pd.DataFrame({"truth": [], "predicted": [], "pixels": []}, dtype=np.int64)
    assert np.isnan(miou_gains(Counts(zeros, zeros, zeros), frame)).all()
    assert math.isnan(joint_gain(Counts(zeros, zeros, zeros), frame, [299]))
