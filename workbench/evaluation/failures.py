"""Why a class fails: one code per class, from counts alone.

A class fails when its IoU is below `FINE_IOU`. The first rule of `REASONS` that fits gives
its code; the order goes from what nobody could have got right to what the model got wrong.
Fine classes have the code "". The codes, their words and their meanings are written down
here only: tables hold the codes, the app and the notebooks show the words.
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

BOUNDARY_SHARE: Final = 0.75
"""Share of a class's wrong pixels near a boundary from which on the outline is to blame."""

UNVERIFIED_SHARE: Final = 0.5
"""Share of a class's false alarms in unverified images from which on they may be right."""


class Reason(NamedTuple):
    """Why a class fails, for people.

    Attributes:
        words: A few words, as in "mostly missed".
        meaning: The rule, as a sentence without its full stop.
    """

    words: str
    meaning: str


REASONS: Final[dict[str, Reason]] = {
    "absent_from_val": Reason(
        "not in this split", "no pixel of it in the evaluated split, so it has no score"
    ),
    "absent_from_train": Reason("never seen in training", "no training image has it"),
    "never_predicted": Reason("never predicted", "not one pixel was predicted as it"),
    "swallowed": Reason(
        "swallowed by another class", "one other class takes at least half of its pixels"
    ),
    "boundary_only": Reason(
        "wrong along outlines",
        "at least three quarters of its wrong pixels, missed or taken, lie close to a boundary "
        "of the truth: within 1 % of the image's shorter side, at least 2 pixels",
    ),
    "mostly_misses": Reason(
        "mostly missed", "it loses more of its own pixels than it takes from others"
    ),
    "unverified_false_alarms": Reason(
        "false alarms nobody checked",
        "it takes at least as many pixels from others as it loses, half of them or more in "
        "images that were not checked for it: they may be right",
    ),
    "mostly_false_alarms": Reason(
        "mostly false alarms", "it takes at least as many pixels from others as it loses"
    ),
}
"""Every code with its words and its meaning, in the order of the rules."""


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
    counts: Counts,
    rival: Rival,
    train_images: NDArray[np.int64],
    *,
    boundary_errors: NDArray[np.int64] | None = None,
    unverified: NDArray[np.int64] | None = None,
) -> list[str]:
    """Gives each class its code, by the rules of `REASONS`.

    Args:
        counts: Pixel counts of the C classes.
        rival: From `strongest_rival`.
        train_images: (C,) training images with the class; all 0 = not known, and then no
            class is called absent from training.
        boundary_errors: (C,) misses and false alarms near a boundary, from
            `workbench.evaluation.boundaries`; None = not known, and no class gets that code.
        unverified: (C,) false alarms in images that were not checked for the class; None =
            every image is checked for every class.

    Returns:
        C codes, keys of `REASONS` or "".
    """
    scores = metrics.iou(counts)
    known = bool((train_images > 0).any())
    missed = counts.truth_pixels - counts.intersection
    false_alarms = counts.predicted_pixels - counts.intersection
    near = np.zeros_like(missed) if boundary_errors is None else boundary_errors
    unchecked = np.zeros_like(missed) if unverified is None else unverified
    wrong = missed + false_alarms
    rules = [
        (counts.truth_pixels == 0, "absent_from_val"),
        (np.nan_to_num(scores) >= FINE_IOU, ""),
        (known & (train_images == 0), "absent_from_train"),
        (counts.predicted_pixels == 0, "never_predicted"),
        (rival.share >= SWALLOWED_SHARE, "swallowed"),
        ((wrong > 0) & (near >= BOUNDARY_SHARE * wrong), "boundary_only"),
        (missed > false_alarms, "mostly_misses"),
        (
            (unchecked > 0) & (unchecked >= UNVERIFIED_SHARE * false_alarms),
            "unverified_false_alarms",
        ),
    ]
    codes = np.select(
        [condition for condition, _ in rules],
        [code for _, code in rules],
        default="mostly_false_alarms",
    )
    return [str(code) for code in codes]
