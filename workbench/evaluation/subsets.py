"""Scores over some of an evaluation's images: a dev and a test half, folds, resamples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from workbench.evaluation import iou
from workbench.evaluation.iou import Counts
from workbench.vocabulary import Vocabulary


def counts_of(
    per_image_class: pd.DataFrame, classes: int, images: Collection[str] | None = None
) -> Counts:
    """Sums the counts of some images.

    Args:
        per_image_class: As an evaluation has it: image_id, class_id, intersection,
            truth_pixels, predicted_pixels.
        classes: C.
        images: Their ids; None takes all.
    """
    rows = per_image_class
    if images is not None:
        rows = rows[rows["image_id"].isin(list(images))]
    ids = rows["class_id"].to_numpy(dtype=np.int64)
    sums = np.zeros((3, classes), dtype=np.int64)
    for row, column in zip(sums, Counts._fields, strict=True):
        np.add.at(row, ids, rows[column].to_numpy(dtype=np.int64))
    return Counts(*sums)


def score(counts: Counts, vocabulary: Vocabulary) -> dict[str, Any]:
    """The headline numbers of counts, named as in an evaluation's summary.

    Returns:
        "miou" and "miou_classes", "pixel_accuracy" and "groups".
    """
    return {
        "miou": iou.miou(counts),
        "miou_classes": int((counts.truth_pixels > 0).sum()),
        "pixel_accuracy": iou.pixel_accuracy(counts),
        "groups": iou.group_miou(counts, vocabulary.groups),
    }
