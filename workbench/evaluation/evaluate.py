"""Scores a stream of predictions: summary, tables per class and image, confusions.

Images come one at a time and are forgotten; what is kept is O(C) counts, the entries of
the confusion matrix that are not 0, and one row per class and image it occurs in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.errors import DataError
from workbench.evaluation import failures, iou
from workbench.evaluation.boundaries import boundary_errors
from workbench.evaluation.confusions import SparseConfusions, count_labelled_pairs
from workbench.evaluation.iou import Counts, StreamingIoU
from workbench.vocabulary import Vocabulary

Prediction = tuple[str, NDArray[np.integer], NDArray[np.integer]]
Verdicts = Mapping[str, Sequence[int]]
Federated = Mapping[str, Verdicts] | Callable[[str], Verdicts | None]

STUFF_GROUP: Final = "stuff"
"""Classes of this group are labelled in every image, in federated datasets too."""


class Evaluation(NamedTuple):
    """The result; its fields are the arguments of `RunDirectory.write_evaluation`.

    Attributes:
        summary: Headline numbers.
        per_class: One row per class, in the order of their ids.
        per_image_class: One row per image and class in its truth or prediction.
        confusions: truth, predicted, pixels of the confusion matrix's entries.
    """

    summary: dict[str, Any]
    per_class: pd.DataFrame
    per_image_class: pd.DataFrame
    confusions: pd.DataFrame


class Tally(NamedTuple):
    """All that an evaluator has counted, as plain numbers.

    Attributes:
        image_ids: Ids of the N images, in the order they came.
        counts: (3, C) int64, intersection, true and predicted pixels.
        codes: Of the confusions, see `SparseConfusions.pairs`.
        pixels: Of each code.
        rows: (R, 5) int64, of each image the rows of its classes, one after another.
        lengths: (N,) int64, rows of each image.
        val_images: (C,) int64, images with the class.
        unverified: (C,) int64, false alarms that may be right.
        boundary_errors: (C,) int64.
        partly_verified: (1,) int64, 1 if any image says what was verified in it.
    """

    image_ids: list[str]
    counts: NDArray[np.int64]
    codes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    val_images: NDArray[np.int64]
    unverified: NDArray[np.int64]
    boundary_errors: NDArray[np.int64]
    partly_verified: NDArray[np.int64]


class Evaluator:
    """Takes images one by one; `result` may be asked for at any time.

    Args:
        vocabulary: The classes.
        federated: For datasets that verify a class in some images only (LVIS): a function
            of the image id, or a mapping that holds the id by the time the image comes. It
            gives the train ids `neg` (verified absent) and `not_exhaustive` (not all of it
            is labelled); None, or no entry, means that everything is verified. Classes of
            the group "stuff" count as verified everywhere. Scores do not change; false
            alarms that may be right are counted apart, as `unverified_pixels`.
    """

    def __init__(self, vocabulary: Vocabulary, *, federated: Federated | None = None) -> None:
        """Starts with no image."""
        self.vocabulary = vocabulary
        self.meter = StreamingIoU(len(vocabulary))
        self.confusions = SparseConfusions(len(vocabulary))
        self.images = 0
        self._seconds = time.monotonic()
        self._image_ids: list[str] = []
        self._image_rows: list[NDArray[np.int64]] = []
        self._val_images = np.zeros(len(vocabulary), dtype=np.int64)
        self._verdicts = federated.get if isinstance(federated, Mapping) else federated
        self._partly_verified = False
        self._unverified = np.zeros(len(vocabulary), dtype=np.int64)
        self._boundary_errors = np.zeros(len(vocabulary), dtype=np.int64)
        self._stuff = np.array([group == STUFF_GROUP for group in vocabulary.groups])

    def update(
        self, image_id: str, prediction: NDArray[np.integer], truth: NDArray[np.integer]
    ) -> None:
        """Adds one image.

        Args:
            image_id: The dataset's name of it.
            prediction: (H, W) train ids.
            truth: (H, W) train ids or IGNORE_INDEX.

        Raises:
            DataError: The shapes differ, or an id is outside the vocabulary.
        """
        classes = len(self.vocabulary)
        try:
            predicted, true = iou.labelled(prediction, truth, classes)
            self._boundary_errors += boundary_errors(prediction, truth, classes)
        except ValueError as error:
            raise DataError(f"image {image_id}: {error}; check its mask and the model") from error
        counts = iou.count_labelled(predicted, true, classes)
        self.meter.add(counts)
        self.confusions.add(count_labelled_pairs(predicted, true, classes))
        self.images += 1
        self._val_images += counts.truth_pixels > 0
        ids = np.flatnonzero(counts.union)
        columns = (counts.intersection, counts.union, *counts[1:])
        rows = np.stack([ids, *(column[ids] for column in columns)], axis=1)
        self._image_ids.append(image_id)
        self._image_rows.append(rows.astype(np.int64))
        verdicts = self._verdicts(image_id) if self._verdicts is not None else None
        if verdicts is not None:
            self._count_unverified(counts, verdicts)

    def _count_unverified(self, counts: Counts, verdicts: Verdicts) -> None:
        self._partly_verified = True
        verified = self._stuff | (counts.truth_pixels > 0)
        verified[np.asarray(verdicts.get("neg", ()), dtype=np.int64)] = True
        verified[np.asarray(verdicts.get("not_exhaustive", ()), dtype=np.int64)] = False
        false_alarms = counts.predicted_pixels - counts.intersection
        self._unverified += np.where(verified, 0, false_alarms)

    def tally(self) -> Tally:
        """All that was counted so far, for `take` of another process's evaluator."""
        codes, pixels = self.confusions.pairs()
        return Tally(
            image_ids=self._image_ids,
            counts=np.stack(self.meter.counts),
            codes=codes,
            pixels=pixels,
            rows=np.concatenate([np.zeros((0, 5), dtype=np.int64), *self._image_rows]),
            lengths=np.array([len(rows) for rows in self._image_rows], dtype=np.int64),
            val_images=self._val_images,
            unverified=self._unverified,
            boundary_errors=self._boundary_errors,
            partly_verified=np.array([self._partly_verified], dtype=np.int64),
        )

    def take(self, tallies: Sequence[Tally], places: Sequence[NDArray[np.int64]]) -> None:
        """Forgets what it has counted for what others, or itself among them, have.

        Args:
            tallies: Of one evaluator each, about different images.
            places: Of each the places its images have among all; they are put in this order.
        """
        self.meter = StreamingIoU(len(self.vocabulary))
        self.confusions = SparseConfusions(len(self.vocabulary))
        for tally in tallies:
            self.meter.add(Counts(*tally.counts))
            self.confusions.add((tally.codes, tally.pixels))
        self._val_images = np.sum([tally.val_images for tally in tallies], axis=0)
        self._unverified = np.sum([tally.unverified for tally in tallies], axis=0)
        self._boundary_errors = np.sum([tally.boundary_errors for tally in tallies], axis=0)
        self._partly_verified = any(int(tally.partly_verified[0]) for tally in tallies)
        ids = [image_id for tally in tallies for image_id in tally.image_ids]
        rows = [
            part
            for tally in tallies
            for part in np.split(tally.rows, np.cumsum(tally.lengths)[:-1])[: len(tally.lengths)]
        ]
        order = np.argsort(np.concatenate(places), kind="stable")
        self._image_ids = [ids[place] for place in order]
        self._image_rows = [rows[place] for place in order]
        self.images = len(ids)

    def result(
        self,
        *,
        split: str = "val",
        nearest_class_id: NDArray[np.integer] | None = None,
        nearest_distance: NDArray[np.floating] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Sums up; arguments as in `evaluate_predictions`."""
        counts, classes = self.meter.counts, len(self.vocabulary)
        confusions = self.confusions.to_frame()
        rival = failures.strongest_rival(confusions, counts.truth_pixels)
        per_class = self._per_class()
        per_class["nearest_class_id"] = _column(nearest_class_id, classes, -1, np.int64)
        per_class["nearest_distance"] = _column(nearest_distance, classes, np.nan, np.float64)
        train_images = per_class["train_images"].to_numpy(dtype=np.int64)
        per_class["reason"] = failures.reasons(
            counts,
            rival,
            train_images,
            boundary_errors=self._boundary_errors,
            unverified=self._unverified,
        )
        per_class["swallowed_by"] = rival.class_id
        per_class["swallowed_share"] = rival.share
        per_class["boundary_errors"] = self._boundary_errors
        if self._partly_verified:
            per_class["unverified_pixels"] = self._unverified
        summary = self._summary(split)
        summary.update(extra or {})
        return Evaluation(summary, per_class, self._per_image_class(), confusions)

    def _per_class(self) -> pd.DataFrame:
        counts, table = self.meter.counts, self.vocabulary.table
        return pd.DataFrame(
            {
                "class_id": np.arange(len(self.vocabulary), dtype=np.int64),
                "name": table["name"].to_numpy(),
                "group": table["group"].to_numpy(),
                "supercategory": table["supercategory"].to_numpy(),
                "iou": iou.iou_of_present(counts),
                "precision": iou.precision(counts),
                "recall": iou.recall(counts),
                "intersection": counts.intersection,
                "union": counts.union,
                "truth_pixels": counts.truth_pixels,
                "predicted_pixels": counts.predicted_pixels,
                "val_images": self._val_images,
                "train_images": table["train_images"].to_numpy(dtype=np.int64),
                "train_pixels": table["train_pixels"].to_numpy(dtype=np.int64),
            }
        )

    def _per_image_class(self) -> pd.DataFrame:
        empty = np.zeros((0, 5), dtype=np.int64)
        rows = np.concatenate([empty, *self._image_rows])
        lengths = [len(part) for part in self._image_rows]
        ids = np.repeat(np.asarray(self._image_ids, dtype=object), lengths)
        return pd.DataFrame(
            {
                "image_id": pd.Series(ids, dtype="str"),
                "class_id": rows[:, 0],
                "intersection": rows[:, 1],
                "union": rows[:, 2],
                "truth_pixels": rows[:, 3],
                "predicted_pixels": rows[:, 4],
            }
        )

    def _summary(self, split: str) -> dict[str, Any]:
        counts = self.meter.counts
        present = int((counts.truth_pixels > 0).sum())
        summary = {
            "split": split,
            "images": self.images,
            "classes": len(self.vocabulary),
            "miou": iou.miou(counts),
            "miou_classes": present,
            "miou_union": iou.miou_union(counts),
            "miou_union_classes": int((counts.union > 0).sum()),
            "absent_classes": len(self.vocabulary) - present,
            "pixel_accuracy": iou.pixel_accuracy(counts),
            "frequency_weighted_iou": iou.frequency_weighted_iou(counts),
            "groups": iou.group_miou(counts, self.vocabulary.groups),
            "labelled_pixels": int(counts.truth_pixels.sum()),
            "seconds": time.monotonic() - self._seconds,
        }
        if self._partly_verified:
            summary["unverified_pixels"] = int(self._unverified.sum())
        return summary


def evaluate_predictions(
    predictions: Iterable[Prediction],
    vocabulary: Vocabulary,
    *,
    split: str = "val",
    federated: Federated | None = None,
    nearest_class_id: NDArray[np.integer] | None = None,
    nearest_distance: NDArray[np.floating] | None = None,
    on_prediction: Callable[[str, NDArray[np.integer], NDArray[np.integer]], None] | None = None,
    combine: Callable[[Evaluator], None] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Scores predictions as they come; no image is kept.

    ```
    evaluation = evaluate_predictions(predict(model, dataset), vocabulary)
    run.write_evaluation("val", **evaluation._asdict())
    ```

    Args:
        predictions: (image id, prediction, truth) one by one, both (H, W) integer train
            ids; the truth may hold IGNORE_INDEX. Pixels without a label never count.
        vocabulary: The C classes.
        split: What is evaluated; noted in the summary.
        federated: See `Evaluator`.
        nearest_class_id: (C,) the nearest other class of each class in the class table.
        nearest_distance: (C,) its distance.
        on_prediction: Called with each image before it is forgotten (to save pictures).
        combine: Called once after the last image, to bring in what other processes counted.
        extra: Further entries for the summary: the checkpoint's step, the model's name.

    Returns:
        The evaluation. Columns without a source hold -1 (ids) or NaN (numbers).

    Raises:
        DataError: An image's shapes differ, or an id is outside the vocabulary.
    """
    evaluator = Evaluator(vocabulary, federated=federated)
    for image_id, prediction, truth in predictions:
        evaluator.update(image_id, prediction, truth)
        if on_prediction is not None:
            on_prediction(image_id, prediction, truth)
    if combine is not None:
        combine(evaluator)
    return evaluator.result(
        split=split,
        nearest_class_id=nearest_class_id,
        nearest_distance=nearest_distance,
        extra=extra,
    )


def _column(
    values: NDArray[Any] | None, classes: int, default: float, kind: type[np.generic]
) -> NDArray[Any]:
    if values is None:
        return np.full(classes, default, dtype=kind)
    column = np.asarray(values).astype(kind)
    if column.shape != (classes,):
        raise ValueError(f"expected {classes} values, one per class, not shape {column.shape}")
    return column
