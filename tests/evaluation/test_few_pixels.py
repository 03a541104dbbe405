"""Classes put back from a few pixels, in pictures whose answer is known, and drawn pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from workbench.errors import DataError
from workbench.evaluation.few_pixels import few_pixels, few_pixels_of_many, holders
from workbench.evaluation.pictures import Picture, draw_pixels
from workbench.inference.class_sets import ClassSet, embeddings_of
from workbench.inference.inspect import PixelFeatures, embeddings_in, pixel_maps
from workbench.inference.vocabulary_edits import add_class, subset
from workbench.vocabulary import Vocabulary

CLASSES, DIM, SIDE = 5, 6, 12
MakeVocabulary = Callable[[int], Vocabulary]


@pytest.fixture
def classes(make_vocabulary: MakeVocabulary) -> ClassSet:
    weight = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(0))
    return ClassSet(weight, None, 9.0, "cosine", make_vocabulary(CLASSES))


def picture(name: str, classes: ClassSet, noise: float, seed: int) -> Picture:
    """Random ids; every pixel's embedding is its class's row, and noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, (SIDE, SIDE))
    rows = classes.weight.numpy()[truth] + noise * rng.normal(size=(SIDE, SIDE, DIM))
    features = torch.from_numpy(rows.transpose(2, 0, 1).astype(np.float32))
    truth = np.where(rng.random(truth.shape) < 0.1, -100, truth)
    return Picture(name, PixelFeatures(features, (SIDE, SIDE)), truth)


def iou(labels: np.ndarray, truth: np.ndarray, given: int, true: int) -> tuple[int, int]:
    counted = truth >= 0
    one, other = (labels == given) & counted, truth == true
    return int((one & other).sum()), int((one | other).sum())


@pytest.mark.parametrize("class_id", [0, 3])
def test_by_hand_from_full_label_maps(classes: ClassSet, class_id: int) -> None:
    shown, *others = [picture(name, classes, 0.8, seed) for seed, name in enumerate("abc")]
    found = few_pixels(classes, class_id, shown, others, pixels=[1, 4, 10_000], seed=5)
    there = embeddings_in(shown.features, shown.truth == class_id)
    order = np.random.default_rng(5).permutation(len(there))
    assert found["pixels"].tolist() == [1, 4, len(there)]
    assert found["pictures"].tolist() == [2, 2, 2]
    kept = [other for other in range(CLASSES) if other != class_id]
    for _, row in found.iterrows():
        pixels = there[torch.from_numpy(order[: int(row["pixels"])])]
        new = add_class(subset(classes, kept).classes, "class again", pixels).classes
        counts = np.sum(
            [
                iou(
                    pixel_maps(p.features, embeddings_of(new), "cosine").labels,
                    p.truth,
                    CLASSES - 1,
                    class_id,
                )
                for p in others
            ],
            axis=0,
        )
        assert row["iou"] == pytest.approx(counts[0] / counts[1])
        counts = np.sum(
            [
                iou(
                    pixel_maps(p.features, embeddings_of(classes), "cosine").labels,
                    p.truth,
                    class_id,
                    class_id,
                )
                for p in others
            ],
            axis=0,
        )
        assert row["trained_iou"] == pytest.approx(counts[0] / counts[1])


def test_without_noise_one_pixel_is_enough(classes: ClassSet) -> None:
    shown, other = picture("a", classes, 0.0, 0), picture("b", classes, 0.0, 1)
    found = few_pixels(classes, 2, shown, [other], pixels=[1])
    assert found["iou"].item() == found["trained_iou"].item() == 1.0


def test_a_picture_without_the_class_is_refused(classes: ClassSet) -> None:
    shown = picture("a", classes, 0.0, 0)
    shown = shown._replace(truth=np.where(shown.truth == 1, 0, shown.truth))
    with pytest.raises(DataError, match="picture a has no pixel of class 1"):
        few_pixels(classes, 1, shown, [shown], pixels=[1])


def test_many_classes_one_after_another(classes: ClassSet) -> None:
    pictures = [picture(name, classes, 0.8, seed) for seed, name in enumerate("abc")]
    alone = [p._replace(truth=np.where(p.truth == 4, 3, p.truth)) for p in pictures[1:]]
    pictures = [pictures[0], *alone]  # class 4 is in one picture only
    found = few_pixels_of_many(classes, [1, 4, 0], pictures, pixels=[3, 5], least=1)
    assert found["class_id"].tolist() == [1, 1, 0, 0]
    shown, *others = holders(pictures, 0)
    assert (
        found.iloc[2:]
        .reset_index(drop=True)
        .equals(few_pixels(classes, 0, shown, others, pixels=[3, 5]))
    )
    assert few_pixels_of_many(classes, [4], pictures, pixels=[3], least=1).empty


def test_holders_have_the_most_first(classes: ClassSet) -> None:
    pictures = [picture(name, classes, 0.0, seed) for seed, name in enumerate("abcdef")]
    found = holders(pictures, 4)
    sizes = [int((p.truth == 4).sum()) for p in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {p.id for p in found} == {p.id for p in pictures if (p.truth == 4).any()}
    most = sizes[0]
    assert all((p.truth == 4).sum() == most for p in holders(pictures, 4, least=most))
    assert holders(pictures, 4, least=most + 1) == []


def test_drawn_pixels_are_labelled_and_of_their_class(classes: ClassSet) -> None:
    pictures = [picture(name, classes, 0.0, seed) for seed, name in enumerate("ab")]
    pixels, ids = draw_pixels(pictures, 20, seed=1)
    assert pixels.shape == (40, DIM) and ids.shape == (40,)
    assert torch.allclose(pixels, classes.weight[torch.from_numpy(ids)], atol=1e-5)
    again, _ = draw_pixels(pictures, 20, seed=1)
    assert torch.equal(pixels, again)
    assert not torch.equal(pixels, draw_pixels(pictures, 20, seed=2)[0])


def test_all_pixels_where_there_are_fewer(classes: ClassSet) -> None:
    one = picture("a", classes, 0.0, 0)
    _, ids = draw_pixels([one], 10_000)
    assert sorted(ids) == sorted(one.truth[one.truth >= 0])


def test_no_labelled_pixel_at_all(classes: ClassSet) -> None:
    one = picture("a", classes, 0.0, 0)
    with pytest.raises(DataError, match="labelled pixel"):
        draw_pixels([one._replace(truth=np.full((SIDE, SIDE), -100))], 3)
