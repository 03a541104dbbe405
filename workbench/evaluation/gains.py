"""What mending a class would give: the mean IoU if its wrong pixels were right.

Mending a class makes right every pixel it misses and every pixel it takes from others. That
helps the others too: a class that took its pixels has a smaller union, one that lost pixels
to it a larger intersection. All of it follows exactly from the confusions that are not 0;
nothing of size C x C is made.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.evaluation.iou import Counts, iou, miou, ratio

Floats = NDArray[np.float64]


def miou_gains(counts: Counts, confusions: pd.DataFrame) -> Floats:
    """How much the mean IoU would rise if one class were mended, for each class.

    The gains of two classes that are confused with each other share pixels: they do not add
    up. `joint_gain` gives what a set of classes brings.

    Args:
        counts: Pixel counts of the C classes.
        confusions: Columns truth, predicted, pixels; the diagonal may be there.

    Returns:
        (C,) mean IoU over the classes present in the truth, after minus before; 0 for a class
        without a wrong pixel. NaN everywhere if no class is present.
    """
    classes = len(counts.truth_pixels)
    present = counts.truth_pixels > 0
    if not present.any():
        return np.full(classes, np.nan)
    before = np.nan_to_num(iou(counts))
    total = np.where(present, 1.0 - before, 0.0)  # the class itself: all of it is found
    mended, other, taken, lost = _neighbours(confusions, classes)
    scored = present[other]
    mended, other, taken, lost = mended[scored], other[scored], taken[scored], lost[scored]
    after = (counts.intersection[other] + lost) / (counts.union[other] - taken)
    total += np.bincount(mended, weights=after - before[other], minlength=classes)
    return np.asarray(total / present.sum(), dtype=np.float64)


def _neighbours(
    confusions: pd.DataFrame, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every class beside every other it is confused with, either way.

    Returns:
        class, other, pixels of the class that the other took, pixels the other lost to it.
    """
    truth, predicted, pixels = _wrong(confusions)
    codes = np.concatenate([truth * classes + predicted, predicted * classes + truth])
    pairs, place = np.unique(codes, return_inverse=True)
    half = len(pixels)
    taken, lost = np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=np.int64)
    np.add.at(taken, place[:half], pixels)
    np.add.at(lost, place[half:], pixels)
    return pairs // classes, pairs % classes, taken, lost


def joint_gain(counts: Counts, confusions: pd.DataFrame, mended: Collection[int]) -> float:
    """How much the mean IoU would rise if several classes were mended at once.

    Args:
        counts: Pixel counts of the C classes.
        confusions: Columns truth, predicted, pixels.
        mended: Ids of the classes whose wrong pixels are made right.

    Returns:
        Mean IoU over the classes present in the truth, after minus before; NaN if none is.
    """
    classes = len(counts.truth_pixels)
    chosen = np.zeros(classes, dtype=bool)
    chosen[np.asarray(list(mended), dtype=np.int64)] = True
    truth, predicted, pixels = _wrong(confusions)
    right = chosen[truth] | chosen[predicted]
    truth, predicted, pixels = truth[right], predicted[right], pixels[right]
    found, taken = np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    np.add.at(found, truth, pixels)
    np.add.at(taken, predicted, pixels)
    intersection, union = counts.intersection + found, counts.union - taken
    # Pixels given no class at all are in no confusion, yet a mended class misses none.
    after = np.where(chosen, 1.0, ratio(intersection, union))
    present = counts.truth_pixels > 0
    return float(after[present].mean()) - miou(counts) if present.any() else float("nan")


def _wrong(
    confusions: pd.DataFrame,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    rows = confusions[confusions["truth"] != confusions["predicted"]]
    truth, predicted, pixels = (
        rows[name].to_numpy(dtype=np.int64) for name in ("truth", "predicted", "pixels")
    )
    return truth, predicted, pixels
