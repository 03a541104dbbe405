"""Maps of the class table: UMAP in two and three dimensions, and PCA.

UMAP and its numba take seconds to import and to compile, so a run is projected once and
the result stored; nothing is imported before a projection is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.evaluation.procrustes import rotation_onto
from workbench.progress import progress

Floats = NDArray[np.float64]
Neighbours = tuple[NDArray[np.int32], NDArray[np.float32]]

NEIGHBOURS: Final = 15
MIN_DISTANCE: Final = 0.1
WIDEST_GAP: Final = 0.1
"""Of an empty band in a UMAP map, as a share of all that is not empty."""
_FEWEST: Final = 50
"""Fewer classes than this leave gaps everywhere; nothing is narrowed there."""
SMALLEST: Final = 5
"""Fewer classes than this have no neighbourhoods worth the name: UMAP is PCA there."""


def project_table(
    table: NDArray[np.floating],
    *,
    step: int = 0,
    seed: int = 0,
    previous: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Projects one class table.

    UMAP (McInnes, Healy, Melville 2018) with the cosine metric, 15 exact neighbours, started
    from `previous`, else from PCA: both are fixed starts, so the same table and seed give
    the same map on the same machine and versions. Empty bands are narrowed afterwards.

    Args:
        table: (C, D) one point per class; the length of the vectors does not matter for
            UMAP. PCA is of the table as it is.
        step: The moment of training, noted in the result.
        seed: Of UMAP's random numbers.
        previous: The projection of another step of the same classes: UMAP starts from it and
            is turned onto it, so the maps stay comparable from step to step.

    Returns:
        One row per class: step, class_id, umap2_x, umap2_y, umap3_x, umap3_y, umap3_z,
        pca_x, pca_y, pca_z, all float32. With fewer than 5 classes the UMAP columns repeat PCA.

    Raises:
        ValueError: The table is not (C, D), is empty, or holds NaN or infinity.
    """
    points = _checked(table)
    return _project(points, pca(points, 3), step=step, seed=seed, previous=previous)


def _project(
    points: Floats, linear: Floats, *, step: int, seed: int, previous: pd.DataFrame | None
) -> pd.DataFrame:
    frame = pd.DataFrame({"step": np.int64(step), "class_id": np.arange(len(points))})
    found = _nearest(points, min(NEIGHBOURS, len(points) - 1)) if len(points) >= SMALLEST else None
    for dimensions in (2, 3):
        names = [f"umap{dimensions}_{axis}" for axis in "xyz"[:dimensions]]
        if found is None:
            flat = linear[:, :dimensions]
        else:
            start = linear[:, :dimensions] if previous is None else previous[names].to_numpy()
            start = np.asarray(start, dtype=np.float64)
            flat = close_gaps(_umap(points, found, start, seed))
            if previous is not None:  # a turn of the whole map means nothing
                flat = flat @ rotation_onto(flat, start - start.mean(axis=0))
        for index, name in enumerate(names):
            frame[name] = flat[:, index].astype(np.float32)
    for index, axis in enumerate("xyz"):
        frame[f"pca_{axis}"] = linear[:, index].astype(np.float32)
    return frame


def project_steps(tables: Mapping[int, NDArray[np.floating]], *, seed: int = 0) -> pd.DataFrame:
    """Projects the class tables of several moments of training.

    Every step's UMAP starts from the map of the step after it, the last from PCA, and is
    turned onto it: classes keep their places as far as their neighbours allow, and the map
    of the last step is the same whether the others are asked for or not.

    PCA is on the principal axes of the last step at every step. Each table is centred and
    turned onto the one after it first (orthogonal Procrustes): a rotation of the whole table
    changes no prediction and therefore moves nothing in the map.

    Args:
        tables: (C, D) by step; the same classes at every step.
        seed: Of UMAP's random numbers.

    Returns:
        The rows of `project_table` for every step, in ascending order.
    """
    frames: list[pd.DataFrame] = []
    linear = project_pca(tables)
    for step in progress(sorted(tables, reverse=True), description="project", unit="map"):
        following = frames[-1] if frames else None
        points = _checked(tables[step])
        frames.append(_project(points, linear[step], step=step, seed=seed, previous=following))
    return pd.concat(frames[::-1], ignore_index=True)


def project_pca(tables: Mapping[int, NDArray[np.floating]]) -> dict[int, Floats]:
    """(C, 3) by step: all steps on the last one's axes, each turned onto the one after it."""
    found: dict[int, Floats] = {}
    following: Floats | None = None
    for step in sorted(tables, reverse=True):
        points = _checked(tables[step])
        centred = points - points.mean(axis=0)
        if following is None:
            axes = principal_axes(centred, 3)
        else:
            centred = centred @ rotation_onto(centred, following)
        found[step] = centred @ axes
        following = centred
    return found


def pca(points: NDArray[np.floating], components: int) -> Floats:
    """Projects points on their principal axes.

    Args:
        points: (N, D).
        components: How many axes.

    Returns:
        (N, components) float64, the axis of largest variance first; 0 beyond the rank. The
        sign of each axis is such that its largest coordinate is positive.
    """
    centred = np.asarray(points, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    return np.asarray(centred @ principal_axes(centred, components), dtype=np.float64)


def principal_axes(centred: Floats, components: int) -> Floats:
    """The directions of largest variance, largest first.

    Args:
        centred: (N, D) with mean 0.
        components: How many.

    Returns:
        (D, components), columns of length 1, or 0 beyond the rank. The sign of each is such
        that the largest coordinate of the points on it is positive.
    """
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    known = directions[:components][sizes[:components] > 0].T
    on_axis = centred @ known
    signs = np.sign(on_axis[np.abs(on_axis).argmax(axis=0), np.arange(on_axis.shape[1])])
    axes = np.zeros((centred.shape[1], components))
    axes[:, : known.shape[1]] = known * np.where(signs == 0, 1, signs)
    return axes


def _checked(table: NDArray[np.floating]) -> Floats:
    points = np.asarray(table, dtype=np.float64)
    if points.ndim != 2 or points.size == 0:
        raise ValueError(f"a class table is (C, D), not of shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("the class table holds NaN or infinity; training has diverged")
    return points


def close_gaps(places: Floats) -> Floats:
    """Narrows empty bands between groups of points, and puts the middle of all at 0.

    How far apart UMAP lays two groups means nothing, but one group far away leaves no room
    for the rest. Each axis keeps its order, and all distances within groups.

    Args:
        places: (N, axes); with fewer than 50 points only the middle moves.

    Returns:
        (N, axes).
    """
    closed = np.array(places, dtype=np.float64)
    for axis in range(closed.shape[1] if len(closed) >= _FEWEST else 0):
        order = np.argsort(closed[:, axis], kind="stable")
        gaps = np.diff(closed[order, axis])
        filled = gaps[gaps <= WIDEST_GAP * gaps.sum()].sum()
        if filled > 0:
            gaps = np.minimum(gaps, WIDEST_GAP * filled)
            closed[order, axis] = np.concatenate(([0.0], np.cumsum(gaps)))
    return np.asarray(closed - closed.mean(axis=0), dtype=np.float64)


def _nearest(points: Floats, k: int) -> Neighbours:
    """The k nearest points by the cosine distance, each itself first: (C, k) ids, distances.

    UMAP's own search is compiled anew in every process, half of the time that a map takes, and
    approximates from 4,096 points on.
    """
    import torch
    from torch.nn.functional import normalize

    from workbench.neighbours import top_k_products

    unit = normalize(torch.from_numpy(points.astype(np.float32)), dim=1)
    own = torch.arange(len(points))
    others, cosines = top_k_products(unit, unit, k - 1, exclude=own)
    ids = torch.cat([own[:, None], others], dim=1)
    distances = torch.cat([torch.zeros(len(points), 1), (1 - cosines).clamp(min=0)], dim=1)
    return ids.numpy().astype(np.int32), distances.numpy()


def _umap(points: Floats, found: Neighbours, start: Floats, seed: int) -> Floats:
    with warnings.catch_warnings():
        # numba and umap talk about their own internals on import; nothing here can act on it.
        warnings.filterwarnings("ignore", message=".*Tensorflow not installed.*")
        from umap import UMAP

    # The start gets a little noise, because UMAP divides by the extent of each axis, and
    # classes that start on the same spot cannot part.
    extent = float(np.abs(start).max()) or 1.0
    noise = np.random.default_rng(seed).normal(scale=1e-4 * extent, size=start.shape)
    reducer = UMAP(
        n_components=start.shape[1],
        n_neighbors=found[0].shape[1],
        min_dist=MIN_DISTANCE,
        metric="cosine",
        init=(start + noise).astype(np.float32),
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(*found, None),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*transforming new data with transform")
        return np.asarray(reducer.fit_transform(points.astype(np.float32)), dtype=np.float64)
