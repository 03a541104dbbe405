"""Streaming IoU against sets of pixels, an implementation that shares nothing with ours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workbench.constants import IGNORE_INDEX
from workbench.evaluation import iou
from workbench.evaluation.iou import StreamingIoU, count_pixels

Maps = Callable[..., tuple[np.ndarray, np.ndarray]]

CLASSES = 1284
IDS = [0, 1, 255, 256, 511, 512, 1282, 1283]
truths = hnp.arrays(np.int64, (4, 6), elements=st.sampled_from([*IDS, IGNORE_INDEX]))
predictions = hnp.arrays(np.int64, (4, 6), elements=st.sampled_from(IDS))


def oracle(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[int, float]:
    """IoU of each class of truth or prediction, by sets of (image, row, column)."""
    in_truth: dict[int, set[tuple[int, ...]]] = {c: set() for c in range(classes)}
    in_prediction: dict[int, set[tuple[int, ...]]] = {c: set() for c in range(classes)}
    for image, (prediction, truth) in enumerate(pairs):
        for place in np.ndindex(truth.shape):
            if truth[place] != IGNORE_INDEX:
                in_truth[int(truth[place])].add((image, *place))
                in_prediction[int(prediction[place])].add((image, *place))
    return {
        c: len(in_truth[c] & in_prediction[c]) / len(in_truth[c] | in_prediction[c])
        for c in range(classes)
        if in_truth[c] | in_prediction[c]
    }


@pytest.mark.parametrize("classes", [1, 2, 21, 1284])
@pytest.mark.parametrize("seed", range(3))
def test_iou_equals_the_oracle_over_a_stream(make_maps: Maps, classes: int, seed: int) -> None:
    pairs = [make_maps(classes, 10 * seed + image) for image in range(4)]
    meter = StreamingIoU(classes)
    for prediction, truth in pairs:
        meter.update(prediction, truth)
    expected = oracle(pairs, classes)
    found = meter.iou()
    assert {int(c) for c in np.flatnonzero(~np.isnan(found))} == set(expected)
    for c, value in expected.items():
        assert found[c] == pytest.approx(value, abs=1e-15)
    present = {int(c) for _, truth in pairs for c in np.unique(truth) if c != IGNORE_INDEX}
    assert meter.miou() == pytest.approx(np.mean([expected[c] for c in present]), abs=1e-12)
    union = list(expected.values())
    assert iou.miou_union(meter.counts) == pytest.approx(np.mean(union), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_averages_equal_those_of_scikit_learn(make_maps: Maps, seed: int) -> None:
    from sklearn import metrics

    prediction, truth = make_maps(1284, seed, (40, 50))
    counts = count_pixels(prediction, truth, 1284)
    chosen = truth != IGNORE_INDEX
    y_true, y_pred = truth[chosen], prediction[chosen]
    labels = np.unique(y_true)
    options = {"labels": labels, "zero_division": 0}
    assert iou.miou(counts) == pytest.approx(
        metrics.jaccard_score(y_true, y_pred, average="macro", **options)
    )
    assert iou.frequency_weighted_iou(counts) == pytest.approx(
        metrics.jaccard_score(y_true, y_pred, average="weighted", **options)
    )
    assert iou.pixel_accuracy(counts) == pytest.approx(metrics.accuracy_score(y_true, y_pred))
    np.testing.assert_allclose(
        iou.precision(counts)[labels],
        metrics.precision_score(y_true, y_pred, average=None, labels=labels, zero_division=np.nan),
    )
    np.testing.assert_allclose(
        iou.recall(counts)[labels],
        metrics.recall_score(y_true, y_pred, average=None, labels=labels),
    )


def test_absent_is_nan_and_only_predicted_is_zero() -> None:
    truth = np.array([[1283, 1283, IGNORE_INDEX, 5]])
    prediction = np.array([[1283, 256, 77, 5]])
    meter = StreamingIoU(CLASSES)
    meter.update(prediction, truth)
    scores = meter.iou()
    assert scores[1283] == 0.5
    assert scores[256] == 0  # only predicted
    assert math.isnan(scores[77])  # only predicted on an ignored pixel
    assert math.isnan(scores[0])
    assert meter.miou() == pytest.approx((0.5 + 1) / 2)
    assert iou.miou_union(meter.counts) == pytest.approx((0.5 + 1 + 0) / 3)
    assert iou.precision(meter.counts)[1283] == 1
    assert iou.recall(meter.counts)[1283] == 0.5
    assert math.isnan(iou.recall(meter.counts)[256])


@pytest.mark.parametrize("shape", [(2, 3), (0, 3)])
def test_nothing_labelled_gives_nan(shape: tuple[int, int]) -> None:
    counts = count_pixels(np.zeros(shape, np.int64), np.full(shape, IGNORE_INDEX), 3)
    assert counts.union.tolist() == [0, 0, 0]
    for score in (iou.miou, iou.miou_union, iou.pixel_accuracy, iou.frequency_weighted_iou):
        assert math.isnan(score(counts))
    groups = iou.group_miou(counts, ["rare", "rare", "stuff"])
    assert groups["rare"] == {"miou": None, "classes": 0, "absent": 2}


def test_groups() -> None:
    counts = count_pixels(np.array([0, 1, 1, 3]), np.array([0, 1, 2, 3]), 5)
    assert iou.group_miou(counts, ["a", "a", "b", "b", "c"]) == {
        "a": {"miou": pytest.approx((1 + 0.5) / 2), "classes": 2, "absent": 0},
        "b": {"miou": pytest.approx((0 + 1) / 2), "classes": 2, "absent": 0},
        "c": {"miou": None, "classes": 0, "absent": 1},
    }
    with pytest.raises(ValueError, match="2 groups for 5 classes"):
        iou.group_miou(counts, ["a", "b"])


def test_a_class_that_is_only_predicted_counts_in_no_group() -> None:
    counts = count_pixels(np.array([0, 299, 299]), np.array([0, 0, 0]), 300)
    assert iou.group_miou(counts, ["a"] * 299 + ["b"]) == {
        "a": {"miou": pytest.approx(1 / 3), "classes": 1, "absent": 298},
        "b": {"miou": None, "classes": 0, "absent": 1},
    }


def test_no_class_predicted_is_a_miss() -> None:
    counts = count_pixels(np.array([IGNORE_INDEX, 1]), np.array([1, 1]), 2)
    assert iou.recall(counts)[1] == 0.5
    assert iou.precision(counts)[1] == 1
    assert iou.iou(counts)[1] == 0.5
    assert iou.pixel_accuracy(counts) == 0.5
    assert counts.predicted_pixels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([1284], [3], "prediction holds the class id 1284 on 1 pixels; there are 1284"),
        ([3], [1284], "truth holds the class id 1284"),
        ([-1], [3], "prediction holds the class id -1"),
        ([3], [-1], "truth holds the class id -1"),
        ([3], [65535], "truth holds the class id 65535"),
        ([3, 4], [3], "differ in shape"),
    ],
)
def test_wrong_input_is_refused(prediction: list[int], truth: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_pixels(np.array(prediction), np.array(truth), CLASSES)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64])
def test_any_integer_type_counts_the_same(kind: type[np.integer]) -> None:
    ids = np.array([0, 255, 256, 1283], dtype=kind)
    assert np.flatnonzero(count_pixels(ids, ids, CLASSES).intersection).tolist() == ids.tolist()


@given(st.lists(st.tuples(predictions, truths), min_size=1, max_size=4), st.integers(0, 4))
def test_merged_parts_equal_the_whole(pairs: list[tuple[np.ndarray, np.ndarray]], cut: int) -> None:
    whole, first, second = (StreamingIoU(CLASSES) for _ in range(3))
    for index, (prediction, truth) in enumerate(pairs):
        whole.update(prediction, truth)
        (first if index < cut else second).update(prediction, truth)
    first.add(second.counts)
    for a, b in zip(first.counts, whole.counts, strict=True):
        np.testing.assert_array_equal(a, b)


@given(predictions, truths, st.permutations(IDS))
def test_renumbered_classes_keep_their_scores(
    prediction: np.ndarray, truth: np.ndarray, order: list[int]
) -> None:
    lookup = np.arange(CLASSES)
    lookup[IDS] = order
    renumbered = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, lookup[truth])
    before = iou.iou(count_pixels(prediction, truth, CLASSES))
    after = iou.iou(count_pixels(lookup[prediction], renumbered, CLASSES))
    np.testing.assert_array_equal(after[lookup], before)


@given(predictions, truths)
def test_counts_are_consistent(prediction: np.ndarray, truth: np.ndarray) -> None:
    counts = count_pixels(prediction, truth, CLASSES)
    labelled = int((truth != IGNORE_INDEX).sum())
    assert counts.truth_pixels.sum() == counts.predicted_pixels.sum() == labelled
    assert (counts.intersection <= np.minimum(counts.truth_pixels, counts.predicted_pixels)).all()
    scores = iou.iou(counts)
    assert np.nanmin(scores, initial=0) >= 0
    assert np.nanmax(scores, initial=0) <= 1


@given(truths)
def test_a_perfect_prediction_scores_one(truth: np.ndarray) -> None:
    counts = count_pixels(np.where(truth == IGNORE_INDEX, 9, truth), truth, CLASSES)
    if counts.truth_pixels.any():
        assert iou.miou(counts) == iou.miou_union(counts) == iou.pixel_accuracy(counts) == 1


def test_counts_of_parts_do_not_change_with_the_sum() -> None:
    meter = StreamingIoU(2)
    first = meter.update(np.array([0]), np.array([0]))
    meter.update(np.array([0]), np.array([0]))
    assert first.intersection.tolist() == [1, 0]
    assert meter.counts.intersection.tolist() == [2, 0]


def test_a_meter_needs_classes() -> None:
    with pytest.raises(ValueError, match="at least one"):
        StreamingIoU(0)
