"""Scores of some images are those of an evaluation of these images alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from workbench.evaluation.evaluate import evaluate_predictions
from workbench.evaluation.subsets import counts_of, score
from workbench.vocabulary import Vocabulary

CLASSES = 300
MakeVocabulary = Callable[[int], Vocabulary]


def pictures(seed: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(6):
        truth = rng.integers(250, CLASSES, (9, 7))
        prediction = np.where(rng.random((9, 7)) < 0.5, truth, rng.integers(0, CLASSES, (9, 7)))
        truth[0] = -100
        found.append((f"image {number}", prediction, truth))
    return found


def test_a_subset_scores_as_if_it_were_all_there_is(make_vocabulary: MakeVocabulary) -> None:
    vocabulary = make_vocabulary(CLASSES)
    every = pictures(0)
    whole = evaluate_predictions(every, vocabulary)
    some = every[1::2]
    alone = evaluate_predictions(some, vocabulary).summary
    found = score(
        counts_of(whole.per_image_class, CLASSES, [name for name, *_ in some]), vocabulary
    )
    assert found == {name: alone[name] for name in found}
    assert found["miou_classes"] < whole.summary["miou_classes"]


def test_all_images_give_the_summary(make_vocabulary: MakeVocabulary) -> None:
    vocabulary = make_vocabulary(CLASSES)
    whole = evaluate_predictions(pictures(1), vocabulary)
    found = score(counts_of(whole.per_image_class, CLASSES), vocabulary)
    assert found["miou"] == pytest.approx(whole.summary["miou"], rel=1e-12)


def test_no_image_scores_nothing(make_vocabulary: MakeVocabulary) -> None:
    vocabulary = make_vocabulary(CLASSES)
    table = evaluate_predictions(pictures(1), vocabulary).per_image_class
    found = score(counts_of(table, CLASSES, []), vocabulary)
    assert found["miou_classes"] == 0
    assert np.isnan(found["miou"])
