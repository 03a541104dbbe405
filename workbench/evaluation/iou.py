"""Intersection over union from streamed counts, exact at any number of classes.

Four counts per class are all that IoU needs: pixels where truth and prediction agree on
the class (intersection), pixels of the class in the truth, in the prediction, and in
either (union). They add up over images, so nothing of size C x C or H x W x C is made:
memory and time are O(C + pixels).

What is not defined is NaN, never 0: a class in neither truth nor prediction has no IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.constants import IGNORE_INDEX

Counts64 = NDArray[np.int64]
Floats = NDArray[np.float64]


class Counts(NamedTuple):
    """Pixel counts per class, each (C,) int64.

    Attributes:
        intersection: Pixels where truth and prediction are both the class.
        truth_pixels: Labelled pixels of the class.
        predicted_pixels: Labelled pixels predicted as the class.
    """

    intersection: Counts64
    truth_pixels: Counts64
    predicted_pixels: Counts64

    @property
    def union(self) -> Counts64:
        """Pixels where truth or prediction is the class, (C,) int64."""
        return self.truth_pixels + self.predicted_pixels - self.intersection


def labelled(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> tuple[Counts64, Counts64]:
    """Picks the pixels that have a label, and checks the ids on them.

    Args:
        prediction: Any shape, ids 0..C-1; IGNORE_INDEX means "no class" and is a miss.
            Values on unlabelled pixels do not matter.
        truth: The same shape, ids 0..C-1 or IGNORE_INDEX.
        classes: C.

    Returns:
        Prediction and truth of the N labelled pixels, both (N,) int64.

    Raises:
        ValueError: The shapes differ, or an id is out of range.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    chosen = truth != IGNORE_INDEX
    pair = (prediction[chosen].astype(np.int64), truth[chosen].astype(np.int64))
    for what, ids in zip(("prediction", "truth"), pair, strict=True):
        wrong = (ids < 0) | (ids >= classes)
        if what == "prediction":
            wrong &= ids != IGNORE_INDEX
        if wrong.any():
            raise ValueError(
                f"{what} holds the class id {int(ids[wrong][0])} on {int(wrong.sum())} pixels; "
                f"there are {classes} classes"
            )
    return pair


def count_pixels(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], classes: int
) -> Counts:
    """Counts the pixels of each class in one image or batch.

    Args:
        prediction: Any shape, ids 0..C-1, or IGNORE_INDEX for "no class".
        truth: The same shape, ids 0..C-1 or IGNORE_INDEX. Unlabelled pixels do not count.
        classes: C.

    Returns:
        The counts; they add up over images.

    Raises:
        ValueError: The shapes differ, or an id is out of range.
    """
    predicted, true = labelled(prediction, truth, classes)
    return count_labelled(predicted, true, classes)


def count_labelled(predicted: Counts64, true: Counts64, classes: int) -> Counts:
    """Counts pixels that `labelled` has picked and checked; see `count_pixels`."""
    return Counts(
        intersection=_bincount(true[true == predicted], classes),
        truth_pixels=_bincount(true, classes),
        predicted_pixels=_bincount(predicted[predicted != IGNORE_INDEX], classes),
    )


def _bincount(ids: Counts64, classes: int) -> Counts64:
    return np.bincount(ids, minlength=classes).astype(np.int64)


def iou(counts: Counts) -> Floats:
    """IoU of each class.

    Returns:
        (C,) float64; NaN for a class in neither truth nor prediction.
    """
    return ratio(counts.intersection, counts.union)


def iou_of_present(counts: Counts) -> Floats:
    """IoU of each class that the truth shows: the terms of :func:`miou`.

    Returns:
        (C,) float64; NaN for all others, those that are only predicted too.
    """
    return np.where(counts.truth_pixels > 0, iou(counts), np.nan)


def precision(counts: Counts) -> Floats:
    """Share of the pixels predicted as a class that are of it, (C,); NaN if none are."""
    return ratio(counts.intersection, counts.predicted_pixels)


def recall(counts: Counts) -> Floats:
    """Share of a class's pixels that are found, (C,); NaN if it has none."""
    return ratio(counts.intersection, counts.truth_pixels)


def miou(counts: Counts) -> float:
    """Mean IoU over the classes present in the truth; NaN if there are none."""
    return _mean(iou(counts)[counts.truth_pixels > 0])


def miou_union(counts: Counts) -> float:
    """Mean IoU over the classes in truth or prediction (the number the paper's code gives).

    A class that is only predicted counts 0.
    """
    return _mean(iou(counts)[counts.union > 0])


def pixel_accuracy(counts: Counts) -> float:
    """Share of the labelled pixels that are predicted right; NaN if none are labelled."""
    return float(ratio(counts.intersection.sum(), counts.truth_pixels.sum()))


def frequency_weighted_iou(counts: Counts) -> float:
    """IoU averaged with the classes' shares of the labelled pixels as weights."""
    present = counts.truth_pixels > 0
    if not present.any():
        return float("nan")
    weights = counts.truth_pixels[present] / counts.truth_pixels.sum()
    return float((weights * iou(counts)[present]).sum())


def group_miou(counts: Counts, groups: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    """Mean IoU of each group of classes.

    Args:
        counts: Of C classes.
        groups: The group of each class, length C.

    Returns:
        By group, in the order of first appearance: `miou` over its classes present in the
        truth (None if there are none), `classes` scored, and `absent` from the truth.

    Raises:
        ValueError: There are more or fewer groups than classes.
    """
    names = np.asarray(groups, dtype=object)
    if len(names) != len(counts.truth_pixels):
        raise ValueError(f"{len(names)} groups for {len(counts.truth_pixels)} classes")
    scores = iou(counts)
    result: dict[str, dict[str, float | int | None]] = {}
    for name in dict.fromkeys(groups):
        members = names == name
        present = members & (counts.truth_pixels > 0)
        scored = int(present.sum())
        result[name] = {
            "miou": _mean(scores[present]) if scored else None,
            "classes": scored,
            "absent": int(members.sum()) - scored,
        }
    return result


def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    """Divides counts of any, the same, shape; float64, NaN where the whole is 0."""
    result = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


class StreamingIoU:
    """Adds up pixel counts over images, batches and processes.

    Examples:
        >>> meter = StreamingIoU(1284)
        >>> counts = meter.update(np.array([0, 1, 1]), np.array([0, 1, 1283]))
        >>> meter.iou()[[0, 1, 2, 1283]]  # classes 2 to 1282 are nowhere: undefined
        array([1. , 0.5, nan, 0. ])
        >>> meter.miou()
        0.5
    """

    def __init__(self, classes: int) -> None:
        """Starts at zero for a number of classes."""
        if classes < 1:
            raise ValueError(f"at least one class is needed, not {classes}")
        self.classes = classes
        self._counts = Counts(*(np.zeros(classes, dtype=np.int64) for _ in range(3)))

    @property
    def counts(self) -> Counts:
        """The sums so far, (C,) int64 each; not copies."""
        return self._counts

    def update(self, prediction: NDArray[np.integer], truth: NDArray[np.integer]) -> Counts:
        """Adds an image or a batch; arguments and errors as in `count_pixels`.

        Returns:
            The counts of this image or batch alone.
        """
        counts = count_pixels(prediction, truth, self.classes)
        self.add(counts)
        return counts

    def add(self, counts: Counts) -> None:
        """Adds counts made elsewhere."""
        for total, more in zip(self._counts, counts, strict=True):
            total += more

    def iou(self) -> Floats:
        """IoU of each class so far, (C,); NaN where not defined."""
        return iou(self._counts)

    def miou(self) -> float:
        """Mean IoU over the classes present in the truth so far."""
        return miou(self._counts)
