"""Where wrong pixels lie: along the outlines of the truth, or anywhere.

A model may name a class rightly and only draw its outline a little off; thin or small
classes then score badly, although nothing is confused. To tell such a class from one that
is not recognised, wrong pixels close to a boundary between two regions of the truth are
counted apart, class by class.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.constants import IGNORE_INDEX

BOUNDARY_SHARE_OF_SIDE: Final = 0.01
"""How far a boundary reaches, as a share of the image's shorter side (our choice)."""

LEAST_BOUNDARY_WIDTH: Final = 2
"""How far it reaches at least, in pixels (our choice)."""


def boundary_width(shape: tuple[int, ...]) -> int:
    """How many pixels on each side of a boundary count as near it: 1 %, at least 2.

    Args:
        shape: Of the label map, (H, W).
    """
    return max(LEAST_BOUNDARY_WIDTH, round(BOUNDARY_SHARE_OF_SIDE * min(shape)))


def near_boundary(truth: NDArray[np.integer], width: int) -> NDArray[np.bool_]:
    """Marks the pixels close to a boundary between two regions.

    A boundary runs between two pixels that lie side by side or one above the other and hold
    different ids; regions without a label have boundaries too, the image's edge is none.
    The pixels of the first row on each side have distance 1; distance is the larger one of
    the horizontal and the vertical.

    Args:
        truth: (H, W) train ids or IGNORE_INDEX.
        width: Largest distance that counts as near, in pixels, at least 1.

    Returns:
        (H, W), True near a boundary.

    Raises:
        ValueError: The map does not have two dimensions.
    """
    if truth.ndim != 2:
        raise ValueError(f"a label map has two dimensions, not shape {truth.shape}")
    marked = np.zeros(truth.shape, dtype=bool)
    across = truth[:, 1:] != truth[:, :-1]
    marked[:, 1:] |= across
    marked[:, :-1] |= across
    down = truth[1:] != truth[:-1]
    marked[1:] |= down
    marked[:-1] |= down
    return _dilate(_dilate(marked, width - 1).T, width - 1).T


def _dilate(marked: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Marks the rows within ``reach`` of a marked row, by doubling what is reached."""
    done = 0
    while done < reach:
        # What is marked stands for `done` rows each way: so many more need one step.
        step = min(done + 1, reach - done)
        wider = marked.copy()
        wider[step:] |= marked[:-step]
        wider[:-step] |= marked[step:]
        marked, done = wider, done + step
    return marked


def boundary_errors(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """Counts for each class of one image its wrong pixels near a boundary of the truth.

    A wrong pixel is a miss of its true class and a false alarm of the class predicted, and
    counts for both, as it does in the unions of both.

    Args:
        prediction: (H, W) ids 0..C-1; IGNORE_INDEX ("no class") is nobody's false alarm.
        truth: (H, W) ids 0..C-1 or IGNORE_INDEX; unlabelled pixels do not count.
        classes: C.

    Returns:
        (C,) misses and false alarms within `boundary_width` of a boundary.
    """
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    if not wrong.any():
        return np.zeros(classes, dtype=np.int64)
    wrong &= near_boundary(truth, boundary_width(truth.shape))
    given = prediction[wrong]
    missed = np.bincount(truth[wrong], minlength=classes)
    return np.asarray(
        missed + np.bincount(given[given != IGNORE_INDEX], minlength=classes), dtype=np.int64
    )
