"""The confusion matrix, kept as its entries that are not 0.

At 100,000 classes the full matrix has 10^10 entries; a data set fills at most as many as
it has pixels, and in practice a few per class and image.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.constants import IGNORE_INDEX
from workbench.evaluation.iou import labelled

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

_PENDING_LIMIT: Final = 1 << 20
_TABLE_LIMIT: Final = 1 << 22


def count_pairs(prediction: NDArray[np.integer], truth: NDArray[np.integer], classes: int) -> Pairs:
    """Counts each pair of true and predicted class in one image or batch.

    Args:
        prediction: Any shape, ids 0..C-1; pixels of IGNORE_INDEX ("no class") are left out.
        truth: The same shape, ids 0..C-1 or IGNORE_INDEX. Unlabelled pixels do not count.
        classes: C.

    Returns:
        The pairs that occur as ``truth * C + prediction``, ascending, and their pixels.

    Raises:
        ValueError: The shapes differ, or an id is out of range.
    """
    predicted, true = labelled(prediction, truth, classes)
    return count_labelled_pairs(predicted, true, classes)


def count_labelled_pairs(
    predicted: NDArray[np.int64], true: NDArray[np.int64], classes: int
) -> Pairs:
    """Counts pairs of pixels that `labelled` has picked and checked; see `count_pairs`."""
    given = predicted != IGNORE_INDEX
    if not given.all():
        predicted, true = predicted[given], true[given]
    if classes * classes <= min(_TABLE_LIMIT, 4 * len(true)):
        # Few classes, many pixels: counting is several times quicker than sorting.
        table = np.bincount(true * classes + predicted, minlength=classes * classes)
        codes = np.flatnonzero(table)
        return codes.astype(np.int64), table[codes].astype(np.int64)
    # Most pixels repeat their neighbour: sort runs of equal pairs instead of pixels.
    flat = true * classes + predicted
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    lengths = np.diff(starts, append=len(flat))
    return _sum_by_code(flat[starts], lengths.astype(np.int64))


def _sum_by_code(codes: NDArray[np.int64], pixels: NDArray[np.int64]) -> Pairs:
    if len(codes) == 0:
        return codes, pixels
    order = np.argsort(codes, kind="stable")
    codes, pixels = codes[order], pixels[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[starts], np.add.reduceat(pixels, starts)


class SparseConfusions:
    """Adds up confusion counts over images, batches and processes.

    Memory is O(entries that are not 0), plus a fixed buffer of about 16 MB.

    Examples:
        >>> confusions = SparseConfusions(1284)
        >>> confusions.update(prediction=np.array([7, 7, 1283]), truth=np.array([7, 1283, 1283]))
        >>> confusions.to_frame()
           truth  predicted  pixels
        0      7          7       1
        1   1283          7       1
        2   1283       1283       1
    """

    def __init__(self, classes: int) -> None:
        """Starts empty for a number of classes."""
        if classes < 1:
            raise ValueError(f"at least one class is needed, not {classes}")
        self.classes = classes
        empty = np.zeros(0, dtype=np.int64)
        self._merged: Pairs = (empty, empty)
        self._pending: list[Pairs] = []
        self._pending_size = 0

    def update(self, prediction: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Adds an image or a batch; arguments and errors as in `count_pairs`."""
        self.add(count_pairs(prediction, truth, self.classes))

    def add(self, pairs: Pairs) -> None:
        """Adds pairs counted elsewhere, in any order."""
        self._pending.append(pairs)
        self._pending_size += len(pairs[0])
        if self._pending_size > _PENDING_LIMIT:
            self._compact()

    def pairs(self) -> Pairs:
        """Returns the sums so far: codes ``truth * C + prediction``, ascending, and pixels."""
        self._compact()
        return self._merged

    def to_frame(self) -> pd.DataFrame:
        """Returns the entries that are not 0, correct pixels (the diagonal) included.

        Returns:
            Columns truth, predicted, pixels (int64), ordered by truth, then predicted.
        """
        codes, pixels = self.pairs()
        return pd.DataFrame(
            {"truth": codes // self.classes, "predicted": codes % self.classes, "pixels": pixels}
        )

    def _compact(self) -> None:
        if self._pending:
            parts = [self._merged, *self._pending]
            self._merged = _sum_by_code(
                np.concatenate([codes for codes, _ in parts]),
                np.concatenate([pixels for _, pixels in parts]),
            )
            self._pending, self._pending_size = [], 0
