"""Why a class fails: one code per class, from counts alone.

A class fails when its IoU is below `FINE_IOU`. The first rule that fits gives its code;
the order goes from what nobody could have got right to what the model got wrong:

- ``absent_from_val``: no labelled pixel of it in the split: it has no score at all.
- ``absent_from_train``: no training image has it.
- ``never_predicted``: not one pixel was predicted as it.
- ``swallowed``: one other class takes at least `SWALLOWED_SHARE` of its pixels.
- ``mostly_misses``: it loses more pixels of its own than it takes of others.
- ``mostly_false_alarms``: it takes at least as many pixels of others as it loses.

Fine classes have the code "".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.evaluation import iou as metrics
from workbench.evaluation.iou import Counts

FINE_IOU: Final = 0.25
"""A class with this IoU or more has no reason code (our choice)."""

SWALLOWED_SHARE: Final = 0.5
"""Share of a class's labelled pixels that one other class must take to swallow it."""

REASONS: Final[dict[str, str]] = {
    "absent_from_val": "no pixel of it in the evaluated split, so it has no score",
    "absent_from_train": "no training image has it",
    "never_predicted": "not one pixel was predicted as it",
    "swallowed": "one other class takes at least half of its pixels",
    "mostly_misses": "it loses more of its own pixels than it takes from others",
    "mostly_false_alarms": "it takes at least as many pixels from others as it loses",
}
"""Every code with its meaning in a few words, in the order of the rules."""


class Rival(NamedTuple):
    """The class that takes most of each class's pixels.

    Attributes:
        class_id: (C,) int64; -1 where no pixel went to another class.
        share: (C,) float64, the share of the class's labelled pixels it takes; 0 if none.
    """

    class_id: NDArray[np.int64]
    share: NDArray[np.float64]


def strongest_rival(confusions: pd.DataFrame, truth_pixels: NDArray[np.int64]) -> Rival:
    """Finds for each class the other class that takes most of its pixels.

    Args:
        confusions: Columns truth, predicted, pixels.
        truth_pixels: (C,) labelled pixels of each class.

    Returns:
        The rival of each class; of two equal ones, that with the lower id.
    """
    class_id = np.full(len(truth_pixels), -1, dtype=np.int64)
    share = np.zeros(len(truth_pixels))
    wrong = confusions[confusions["truth"] != confusions["predicted"]]
    wrong = wrong.sort_values(["truth", "pixels", "predicted"], ascending=[True, False, True])
    first = wrong.drop_duplicates("truth")
    rows = first["truth"].to_numpy(dtype=np.int64)
    class_id[rows] = first["predicted"].to_numpy(dtype=np.int64)
    share[rows] = first["pixels"].to_numpy(dtype=np.float64) / truth_pixels[rows]
    return Rival(class_id, share)


def reasons(
    counts: Counts, rival: Rival, train_images: NDArray[np.int64], *, fine_iou: float = FINE_IOU
) -> list[str]:
    """Gives each class its code, by the rules at the top of this module.

    Args:
        counts: Pixel counts of the C classes.
        rival: From `strongest_rival`.
        train_images: (C,) training images with the class; all 0 = not known, and then no
            class is called absent from training.
        fine_iou: Classes at or above it are fine.

    Returns:
        C codes, keys of `REASONS` or "".
    """
    scores = metrics.iou(counts)
    known = bool((train_images > 0).any())
    missed = counts.truth_pixels - counts.intersection
    false_alarms = counts.predicted_pixels - counts.intersection
    rules = [
        (counts.truth_pixels == 0, "absent_from_val"),
        (np.nan_to_num(scores) >= fine_iou, ""),
        (known & (train_images == 0), "absent_from_train"),
        (counts.predicted_pixels == 0, "never_predicted"),
        (rival.share >= SWALLOWED_SHARE, "swallowed"),
        (missed > false_alarms, "mostly_misses"),
    ]
    codes = np.select(
        [condition for condition, _ in rules],
        [code for _, code in rules],
        default="mostly_false_alarms",
    )
    return [str(code) for code in codes]
