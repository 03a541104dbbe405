"""Turning one table of points onto another: what a rotation explains is no difference.

Training fixes class embeddings only up to a rotation or a reflection, because every loss and
every distance here looks at lengths and angles alone. Two tables can be compared point by
point only once one of them is turned onto the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rotation_onto(points: NDArray[np.floating], target: NDArray[np.floating]) -> Floats:
    """The rotation, reflections included, that brings points nearest to others.

    Orthogonal Procrustes (Schönemann 1966): with ``points^T target = U S V^T`` it is ``U V^T``.

    Args:
        points: (N, D).
        target: (N, D), row by row the same things.

    Returns:
        (D, D) float64 R, orthogonal; ``points @ R`` has the least sum of squared distances to
        ``target``.

    Raises:
        ValueError: The shapes differ, or something is not finite.
    """
    if points.ndim != 2 or points.shape != target.shape:
        raise ValueError(f"two tables of one shape (N, D), not {points.shape} and {target.shape}")
    products = np.asarray(points, dtype=np.float64).T @ np.asarray(target, dtype=np.float64)
    if not np.isfinite(products).all():
        raise ValueError("a table holds NaN or infinity")
    left, _, right = np.linalg.svd(products)
    return np.asarray(left @ right, dtype=np.float64)
