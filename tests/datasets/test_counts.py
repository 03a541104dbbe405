"""Counts of classes, from masks and from what a dataset keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.datasets.counts import (
    classes_per_image,
    count_classes,
    count_images,
    sum_counts,
)
from workbench.trainers.train import survey
from workbench.vocabulary import Vocabulary

CLASSES = 700
MASKS = [
    np.array([[0, 0, 699], [-100, 300, 300]]),
    np.full((2, 3), -100),
    np.array([[699, 699, 699], [699, 5, -100]]),
    np.array([[300]]),
]
LISTS = [[0, 300, 699], [], [5, 699], [300]]


class Masks:
    """A stand-in for a dataset that counts how often its masks are read."""

    def __init__(self, lists: list[list[int]] | None = None, known: Any = None) -> None:
        names = [f"class {number}" for number in range(CLASSES)]
        table = pd.DataFrame({"raw_id": range(CLASSES), "train_id": range(CLASSES), "name": names})
        self.vocabulary = Vocabulary.from_table(table)
        self.lists, self.known, self.reads = lists, known, 0

    def __len__(self) -> int:
        return len(MASKS)

    def read_mask(self, index: int) -> Any:
        self.reads += 1
        return MASKS[index]

    def classes_in(self, index: int) -> Any:
        if self.lists is not None:
            return np.array(self.lists[index], dtype=np.int64)
        mask = self.read_mask(index)
        return np.unique(mask[mask != -100])

    def known_counts(self) -> Any:
        return self.known


def by_hand() -> tuple[dict[int, int], dict[int, int]]:
    return {0: 1, 5: 1, 300: 2, 699: 2}, {0: 2, 5: 1, 300: 3, 699: 5}


def nonzero(counts: Any) -> dict[int, int]:
    assert counts.shape == (CLASSES,) and counts.dtype == np.int64
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def test_images_and_pixels_of_every_class() -> None:
    counts = count_classes(Masks())  # type: ignore[arg-type]
    assert (nonzero(counts.images), nonzero(counts.pixels)) == by_hand()


def test_counts_of_images_and_their_sum() -> None:
    images = list(count_images(Masks()))  # type: ignore[arg-type]
    assert [image.classes.tolist() for image in images] == LISTS
    assert [image.pixels.tolist() for image in images] == [[2, 2, 1], [], [1, 4], [1]]
    half = sum_counts(images[2:], CLASSES)
    assert nonzero(half.images) == {5: 1, 300: 1, 699: 1}
    assert nonzero(half.pixels) == {5: 1, 300: 1, 699: 4}


@pytest.mark.parametrize("lists", [None, LISTS])
def test_lists_of_classes_come_from_the_dataset(lists: Any) -> None:
    dataset = Masks(lists)
    found = classes_per_image(dataset)  # type: ignore[arg-type]
    assert [classes.tolist() for classes in found] == LISTS
    assert dataset.reads == (0 if lists else len(MASKS))


@pytest.mark.parametrize("threshold", [0.0, 0.9])
@pytest.mark.parametrize("known", [False, True])
def test_a_survey_reads_no_mask_twice(threshold: float, known: bool) -> None:
    counts = count_classes(Masks())  # type: ignore[arg-type]
    dataset = Masks(known=counts if known else None)
    vocabulary, factors = survey(dataset, threshold)  # type: ignore[arg-type]
    assert dataset.reads == (0 if known and not threshold else len(MASKS))
    assert (nonzero(vocabulary.table["train_images"].to_numpy())) == by_hand()[0]
    assert (nonzero(vocabulary.table["train_pixels"].to_numpy())) == by_hand()[1]
    if not threshold:
        assert factors is None
    else:  # classes 0 and 5 are in 1 of 4 images, 300 and 699 in 2
        wanted = [(0.9 / 0.25) ** 0.5, 1.0, (0.9 / 0.25) ** 0.5, (0.9 / 0.5) ** 0.5]
        assert factors == pytest.approx(wanted)


def test_a_survey_is_of_its_split() -> None:
    """A vocabulary's own counts are those of "train", and another split may be trained on."""
    dataset = Masks()
    dataset.vocabulary = dataset.vocabulary.with_counts(np.ones(CLASSES), np.ones(CLASSES))
    vocabulary, _ = survey(dataset, 0.0)  # type: ignore[arg-type]
    assert dataset.reads == 0 and (vocabulary.table["train_pixels"] == 1).all()
    dataset.known = count_classes(Masks())  # type: ignore[arg-type]
    vocabulary, _ = survey(dataset, 0.0)  # type: ignore[arg-type]
    assert nonzero(vocabulary.table["train_pixels"].to_numpy()) == by_hand()[1]


def test_a_survey_takes_the_counts_a_run_has(tmp_path: Path) -> None:
    from workbench.runs import RunDirectory

    dataset = Masks()
    dataset.vocabulary.with_counts(np.ones(CLASSES), np.ones(CLASSES)).to_parquet(
        tmp_path / "vocabulary.parquet"
    )
    vocabulary, _ = survey(dataset, 0.0, RunDirectory(tmp_path))  # type: ignore[arg-type]
    assert dataset.reads == 0 and (vocabulary.table["train_pixels"] == 1).all()
