"""Taking a class out of a trained model and putting it back from a few pixels.

A class is one row of the table. Its row can be learned over thousands of steps, or be the mean
direction of a handful of marked pixels. How much the second is worth is measured here: the
trained row is thrown away, a new one is made from pixels of one picture, and both are scored
on other pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.errors import DataError
from workbench.evaluation.pictures import Picture
from workbench.inference.class_sets import ClassSet
from workbench.inference.relabel import label, relabel
from workbench.inference.vocabulary_edits import add_class, subset

COLUMNS = ("class_id", "pixels", "pictures", "iou", "trained_iou")


def few_pixels(
    classes: ClassSet,
    class_id: int,
    shown: Picture,
    others: Sequence[Picture],
    *,
    pixels: Sequence[int],
    seed: int = 0,
) -> pd.DataFrame:
    """Scores a class whose row is made from pixels of one picture, beside the trained row.

    The pixels are drawn at random among those of the class; a larger number holds the smaller
    ones. All other classes keep their rows.

    Args:
        classes: As trained.
        class_id: The class to take out and to put back.
        shown: The picture its pixels are taken from.
        others: Pictures to score on; the class should be in their truth.
        pixels: How many pixels to take; where the picture has fewer, all.
        seed: Of the draw.

    Returns:
        One row per number of pixels: class_id, pixels (as many as were taken), pictures,
        ``iou`` of the class over all of ``others`` with the new row, and ``trained_iou`` with
        the trained one; NaN where neither truth nor prediction has it.

    Raises:
        DataError: The shown picture has no pixel of the class.
    """
    there = shown.pixels_of(class_id)
    if len(there) == 0:
        raise DataError(f"picture {shown.id} has no pixel of class {class_id}; show another")
    order = np.random.default_rng(seed).permutation(len(there))
    kept = np.delete(np.arange(len(classes)), class_id)
    without = subset(classes, kept.tolist()).classes
    before = [label(picture.features, without) for picture in others]

    def score(new: ClassSet, lookup: npt.NDArray[np.int64], new_id: int) -> float:
        both = either = 0
        for picture, labelled in zip(others, before, strict=True):
            labels = relabel(picture.features, labelled, without, new, lookup)
            true = picture.truth == class_id
            given = (labels == new_id) & (picture.truth >= 0)
            both += int((true & given).sum())
            either += int((true | given).sum())
        return both / either if either else float("nan")

    trained = score(classes, kept, class_id)
    name = classes.vocabulary.names[class_id]
    rows = []
    for number in pixels:
        added = add_class(without, name, there[order[:number].tolist()])
        iou = score(added.classes, added.lookup, len(without))
        rows.append((class_id, min(number, len(there)), len(others), iou, trained))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def few_pixels_of_many(
    classes: ClassSet,
    class_ids: Iterable[int],
    pictures: Sequence[Picture],
    *,
    pixels: Sequence[int],
    least: int = 30,
    seed: int = 0,
) -> pd.DataFrame:
    """`few_pixels` of every class that is in two pictures or more; the others are left out.

    The picture with the most pixels of a class is the one shown.

    Args:
        classes: As trained.
        class_ids: The classes to try, one after another.
        pictures: To choose from.
        pixels: As in `few_pixels`.
        least: Pixels of the class a picture must have.
        seed: As in `few_pixels`.

    Returns:
        The rows of `few_pixels`, class after class; none if no class is in two pictures.
    """
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    for class_id in class_ids:
        found = holders(pictures, class_id, least=least)
        if len(found) >= 2:
            shown, *others = found
            tables.append(few_pixels(classes, class_id, shown, others, pixels=pixels, seed=seed))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def holders(pictures: Sequence[Picture], class_id: int, *, least: int = 1) -> list[Picture]:
    """The pictures with at least so many pixels of a class, the most first.

    Args:
        pictures: With their truth (H, W).
        class_id: The class.
        least: Pixels; fewer than 1 count as 1.
    """
    counts = [int((picture.truth == class_id).sum()) for picture in pictures]
    order = sorted(range(len(pictures)), key=lambda place: -counts[place])
    return [pictures[place] for place in order if counts[place] >= max(1, least)]
