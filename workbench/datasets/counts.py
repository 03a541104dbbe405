"""How often each class occurs in a split, and in which images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.datasets.base import SegmentationDataset
from workbench.progress import progress


class ClassCounts(NamedTuple):
    """Counts of a split's C classes.

    Attributes:
        images: (C,) int64, images with the class.
        pixels: (C,) int64, pixels of the class.
    """

    images: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]


class ImageCounts(NamedTuple):
    """The n classes of one image.

    Attributes:
        classes: (n,) int64, train ids, ascending.
        pixels: (n,) int64, pixels of each.
    """

    classes: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]


def count_classes(dataset: SegmentationDataset) -> ClassCounts:
    """Counts every class over a split, from the masks alone.

    Raises:
        DataError: A mask is unreadable.
    """
    return sum_counts(count_images(dataset), len(dataset.vocabulary))


def count_images(dataset: SegmentationDataset) -> Iterator[ImageCounts]:
    """Counts every image's classes, from the masks alone.

    Raises:
        DataError: A mask is unreadable.
    """
    for index in progress(range(len(dataset)), description="count classes", unit="img"):
        mask = dataset.read_mask(index)
        counts = np.bincount(mask[mask >= 0])
        classes = np.flatnonzero(counts)
        yield ImageCounts(classes, counts[classes])


def sum_counts(images: Iterable[ImageCounts], classes: int) -> ClassCounts:
    """Adds up the counts of images.

    Args:
        images: Each with train ids below ``classes``.
        classes: C.
    """
    total = ClassCounts(np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64))
    for image in images:
        total.images[image.classes] += 1
        total.pixels[image.classes] += image.pixels
    return total


def classes_per_image(dataset: SegmentationDataset) -> list[npt.NDArray[np.int64]]:
    """The train ids in each image, ascending; quick where the dataset keeps a list of them.

    Returns:
        One array (n,) int64 an image, in the order of the split.

    Raises:
        DataError: A mask is unreadable.
    """
    images = progress(range(len(dataset)), description="list classes", unit="img")
    return [dataset.classes_in(index) for index in images]
