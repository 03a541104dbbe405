"""What a flat map of many dimensions keeps, in numbers.

No flat map keeps all distances of a table of class embeddings. These functions say how much a
given one keeps, of the near and of the far, and how much two maps of one table agree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class MapQuality(NamedTuple):
    """How far one arrangement of N points tells of another.

    Attributes:
        rank_correlation: Spearman's, of the distances of all pairs: 1 if they have one order.
        neighbours_kept: Share of each point's k nearest that are among its k nearest in the
            other, on average.
        chance: The same for an arrangement that has nothing to do with it: k / (N - 1).
    """

    rank_correlation: float
    neighbours_kept: float
    chance: float


def unit_rows(table: NDArray[np.floating]) -> Floats:
    """Rows of unit length, as the distances compare classes; (N, D) to (N, D).

    A row of zeros has no direction and stays; one that holds NaN or infinity becomes NaN.
    """
    points = np.asarray(table, dtype=np.float64)
    length = np.linalg.norm(points, axis=1, keepdims=True)
    usable = np.where(np.isfinite(length), np.maximum(length, 1e-12), np.nan)
    return np.asarray(points / usable)


def map_quality(
    one: NDArray[np.floating], other: NDArray[np.floating], *, k: int = 10
) -> MapQuality:
    """Compares two arrangements of the same points.

    Takes O(N^2) memory: meant for some thousand classes at most.

    Args:
        one: (N, D), for instance the class table with rows of unit length.
        other: (N, D'), for instance its map.
        k: Neighbours of a point, below N.

    Raises:
        ValueError: The arrangements do not have the same points, or too few.
    """
    if one.ndim != 2 or other.ndim != 2 or len(one) != len(other) or not 1 <= k < len(one):
        raise ValueError(f"{one.shape} and {other.shape} with {k} neighbours cannot be compared")
    from scipy.stats import rankdata

    first, second = _distances(one), _distances(other)
    upper = np.triu_indices(len(first), 1)
    ranks = rankdata(first[upper]), rankdata(second[upper])
    near, found = _nearest(first, k), _nearest(second, k)
    kept = (near[:, :, None] == found[:, None, :]).any(axis=2)
    return MapQuality(float(np.corrcoef(*ranks)[0, 1]), float(kept.mean()), k / (len(first) - 1))


def nearest_rows(points: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The k nearest other points of each, (N, k), nearest first."""
    return _nearest(_distances(points), k)


def map_distances(
    table: NDArray[np.floating], places: NDArray[np.floating], *, bands: int = 12
) -> pd.DataFrame:
    """How far apart a map lays pairs that are equally far apart in truth.

    Args:
        table: (N, D), the true arrangement.
        places: (N, D'), the map.
        bands: Groups of equally many pairs, the nearest first.

    Returns:
        One row per band: ``distance`` (true, mean), ``low``, ``median`` and ``high`` (the 10th,
        50th and 90th percentile of the map's distances, as shares of its median over all pairs).
    """
    upper = np.triu_indices(len(table), 1)
    true, drawn = _distances(table)[upper], _distances(places)[upper]
    drawn = drawn / (np.median(drawn) or 1.0)
    rows = []
    for pairs in np.array_split(np.argsort(true, kind="stable"), bands):
        low, median, high = np.quantile(drawn[pairs], (0.1, 0.5, 0.9))
        rows.append((true[pairs].mean(), low, median, high))
    return pd.DataFrame(rows, columns=["distance", "low", "median", "high"])


def shared_attributes(attributes: pd.DataFrame, pairs: NDArray[np.integer]) -> pd.DataFrame:
    """How often a point and its neighbour are alike, beside two points drawn at random.

    Args:
        attributes: One row per point, one column per attribute.
        pairs: (n, 2) rows of ``attributes``: a point and its neighbour.

    Returns:
        One row per attribute: ``shared``, the share of the pairs with one value, and ``chance``,
        that of all pairs of two different points.
    """
    rows = {}
    for name in attributes:
        values = pd.factorize(attributes[name])[0]
        sizes = np.bincount(values).astype(np.float64)
        equal = (sizes * (sizes - 1)).sum() / (len(values) * (len(values) - 1))
        rows[str(name)] = {
            "shared": float((values[pairs[:, 0]] == values[pairs[:, 1]]).mean()),
            "chance": float(equal),
        }
    return pd.DataFrame(rows).T


def _distances(points: NDArray[np.floating]) -> Floats:
    values = np.asarray(points, dtype=np.float64)
    squares = (values**2).sum(axis=1)
    apart = squares[:, None] + squares[None, :] - 2.0 * values @ values.T
    found = np.sqrt(np.maximum(apart, 0.0))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def _nearest(distances: Floats, k: int) -> NDArray[np.int64]:
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :k].astype(np.int64)
