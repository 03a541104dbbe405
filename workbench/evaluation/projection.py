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

from workbench.progress import progress

Floats = NDArray[np.float64]

NEIGHBOURS: Final = 15
MIN_DISTANCE: Final = 0.1
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

    UMAP (McInnes, Healy, Melville 2018) with the cosine metric, 15 neighbours, started
    from `previous`, else from PCA: both are fixed starts, so the same table and seed give
    the same map on the same machine and versions.

    Args:
        table: (C, D) one point per class; the length of the vectors does not matter for
            UMAP. PCA is of the table as it is.
        step: The moment of training, noted in the result.
        seed: Of UMAP's random numbers.
        previous: The projection of an earlier step of the same classes; the maps then stay
            comparable from step to step.

    Returns:
        One row per class: step, class_id, umap2_x, umap2_y, umap3_x, umap3_y, umap3_z,
        pca_x, pca_y, pca_z. With fewer than 5 classes the UMAP columns repeat PCA.

    Raises:
        ValueError: The table is not (C, D), is empty, or holds NaN or infinity.
    """
    points = np.asarray(table, dtype=np.float64)
    if points.ndim != 2 or points.size == 0:
        raise ValueError(f"a class table is (C, D), not of shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("the class table holds NaN or infinity; training has diverged")
    linear = pca(points, 3)
    frame = pd.DataFrame({"step": np.int64(step), "class_id": np.arange(len(points))})
    for dimensions in (2, 3):
        names = [f"umap{dimensions}_{axis}" for axis in "xyz"[:dimensions]]
        if len(points) < SMALLEST:
            flat = linear[:, :dimensions]
        else:
            start = linear[:, :dimensions] if previous is None else previous[names].to_numpy()
            flat = _umap(points, np.asarray(start, dtype=np.float64), seed)
        for index, name in enumerate(names):
            frame[name] = flat[:, index]
    for index, axis in enumerate("xyz"):
        frame[f"pca_{axis}"] = linear[:, index]
    return frame


def project_steps(tables: Mapping[int, NDArray[np.floating]], *, seed: int = 0) -> pd.DataFrame:
    """Projects the class tables of several moments of training.

    Every step's UMAP starts from the map of the step after it, the last from PCA: classes
    keep their places as far as their neighbours allow, and the map of the last step is the
    same whether the others are asked for or not. PCA axes are those of each step's own.

    Args:
        tables: (C, D) by step; the same classes at every step.
        seed: Of UMAP's random numbers.

    Returns:
        The rows of `project_table` for every step, in ascending order.
    """
    frames: list[pd.DataFrame] = []
    for step in progress(sorted(tables, reverse=True), description="project", unit="map"):
        following = frames[-1] if frames else None
        frames.append(project_table(tables[step], step=step, seed=seed, previous=following))
    return pd.concat(frames[::-1], ignore_index=True)


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
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    found = (left * sizes)[:, :components]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
    result = np.zeros((len(centred), components))
    result[:, : found.shape[1]] = found * np.where(signs == 0, 1, signs)
    return result


def _umap(points: Floats, start: Floats, seed: int) -> Floats:
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
        n_neighbors=min(NEIGHBOURS, len(points) - 1),
        min_dist=MIN_DISTANCE,
        metric="cosine",
        init=(start + noise).astype(np.float32),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(points.astype(np.float32)), dtype=np.float64)
