"""Numbers about maps against scipy, brute force and arrangements whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

from workbench.evaluation.map_quality import (
    map_distances,
    map_quality,
    nearest_rows,
    shared_attributes,
    unit_rows,
)


def points(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim))


def test_against_scipy_and_brute_force() -> None:
    one, other = points(60, 8), points(60, 8)[:, :2]
    found = map_quality(one, other, k=5)
    assert found.rank_correlation == pytest.approx(spearmanr(pdist(one), pdist(other)).statistic)
    shares = []
    for row, twin in zip(cdist(one, one), cdist(other, other), strict=True):
        near, drawn = set(np.argsort(row)[1:6]), set(np.argsort(twin)[1:6])
        shares.append(len(near & drawn) / 5)
    assert found.neighbours_kept == pytest.approx(np.mean(shares))
    assert found.chance == pytest.approx(5 / 59)


def test_a_turned_and_scaled_copy_is_perfect() -> None:
    one = points(40, 3)
    turn, _ = np.linalg.qr(points(3, 3, seed=1))
    found = map_quality(one, 7 * one @ turn + 2, k=6)
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.neighbours_kept == 1.0


def test_an_unrelated_map_is_chance() -> None:
    found = map_quality(points(400, 20), points(400, 2, seed=9), k=10)
    assert abs(found.rank_correlation) < 0.05
    assert found.neighbours_kept == pytest.approx(found.chance, abs=0.02)


def test_points_that_coincide_are_not_their_own_neighbours() -> None:
    same = np.zeros((4, 2))
    assert [sorted(row) for row in nearest_rows(same, 3).tolist()] == [
        [other for other in range(4) if other != index] for index in range(4)
    ]


def test_nearest_first() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert nearest_rows(line, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("k", [0, 5])
def test_needs_more_points_than_neighbours(k: int) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        map_quality(points(5, 3), points(5, 2), k=k)


def test_needs_the_same_points() -> None:
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(6, 2\)"):
        map_quality(points(5, 3), points(6, 2), k=2)


def test_bands_of_a_faithful_map_are_narrow_and_rise() -> None:
    table = points(80, 4)
    bands = map_distances(table, 3 * table, bands=10)
    true = np.array([part.mean() for part in np.array_split(np.sort(pdist(table)), 10)])
    assert bands["distance"].to_numpy() == pytest.approx(true)
    assert bands["median"].is_monotonic_increasing
    assert bands["median"].to_numpy() == pytest.approx(true / np.median(pdist(table)), rel=0.1)
    assert (bands["high"] <= bands["low"].shift(-1) + 1e-9).iloc[:-1].all()


def test_rows_get_unit_length() -> None:
    table = points(9, 4)
    found = unit_rows(table)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0)
    assert found[2] / found[2][0] == pytest.approx(table[2] / table[2][0])
    table[1], table[3, 0], table[5, 2] = 0.0, np.inf, np.nan  # warnings are errors here
    odd = unit_rows(table)
    assert (odd[1] == 0).all() and np.isnan(odd[3]).any() and np.isnan(odd[5]).all()
    assert (odd[[0, 2, 4, 6, 7, 8]] == found[[0, 2, 4, 6, 7, 8]]).all()


def test_shared_attributes_beside_chance() -> None:
    table = pd.DataFrame({"hue": list("aabbb"), "shape": list("xyxyx")})
    found = shared_attributes(table, np.array([[0, 1], [2, 3], [4, 0]]))
    assert found.loc["hue", "shared"] == pytest.approx(2 / 3)
    assert found.loc["shape", "shared"] == pytest.approx(1 / 3)
    for name in ("hue", "shape"):
        pairs = list(itertools.permutations(table[name], 2))
        assert found.loc[name, "chance"] == pytest.approx(np.mean([a == b for a, b in pairs]))
