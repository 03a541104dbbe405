from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.constants import IGNORE_INDEX
from workbench.errors import DataError
from workbench.evaluation import Evaluation, evaluate_predictions
from workbench.evaluation.boundaries import boundary_errors
from workbench.runs import PER_CLASS_COLUMNS, PER_IMAGE_CLASS_COLUMNS, RunDirectory
from workbench.vocabulary import Vocabulary

Maps = Callable[..., tuple[np.ndarray, np.ndarray]]
MakeVocabulary = Callable[[int], Vocabulary]
Images = list[tuple[str, np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def images(make_maps: Maps) -> Images:
    return [(f"{seed:012}", *make_maps(1284, seed)) for seed in range(5)]


@pytest.fixture(scope="module")
def evaluation(images: Images, make_vocabulary: MakeVocabulary) -> Evaluation:
    return evaluate_predictions(iter(images), make_vocabulary(1284), extra={"checkpoint_step": 9})


def dense(images: Images, classes: int) -> np.ndarray:
    """The full confusion matrix, pixel by pixel."""
    matrix = np.zeros((classes, classes), np.int64)
    for _, prediction, truth in images:
        for p, t in zip(prediction.ravel(), truth.ravel(), strict=True):
            if t != IGNORE_INDEX:
                matrix[t, p] += 1
    return matrix


def test_the_class_table_equals_the_dense_matrix(evaluation: Evaluation, images: Images) -> None:
    table = evaluation.per_class
    matrix = dense(images, 1284)
    hit, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    assert tuple(table.columns[: len(PER_CLASS_COLUMNS)]) == PER_CLASS_COLUMNS
    assert table["class_id"].tolist() == list(range(1284))
    np.testing.assert_array_equal(table["intersection"], hit)
    np.testing.assert_array_equal(table["truth_pixels"], truth)
    np.testing.assert_array_equal(table["predicted_pixels"], predicted)
    np.testing.assert_array_equal(table["union"], truth + predicted - hit)
    for c in range(1284):
        union = truth[c] + predicted[c] - hit[c]
        expected = hit[c] / union if truth[c] else math.nan
        np.testing.assert_equal(table["iou"][c], expected)
        holds = sum(bool((image[2] == c).any()) for image in images)
        assert table["val_images"][c] == holds
    assert table["name"][1283] == "class 1283"
    assert table["truth_pixels"][1283] > 0
    assert table["train_images"][1283] == 1283 % 7


def test_the_summary_equals_the_dense_matrix(evaluation: Evaluation, images: Images) -> None:
    matrix = dense(images, 1284)
    hit, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    union = truth + predicted - hit
    present, touched = np.flatnonzero(truth), np.flatnonzero(union)
    summary = evaluation.summary
    assert summary["images"] == 5
    assert summary["classes"] == 1284
    assert summary["split"] == "val"
    assert summary["checkpoint_step"] == 9
    assert summary["miou"] == pytest.approx(np.mean(hit[present] / union[present]))
    assert summary["miou_classes"] == len(present)
    assert summary["miou_union"] == pytest.approx(np.mean(hit[touched] / union[touched]))
    assert summary["miou_union_classes"] == len(touched)
    assert summary["absent_classes"] == 1284 - len(present)
    assert summary["labelled_pixels"] == matrix.sum()
    assert summary["pixel_accuracy"] == pytest.approx(hit.sum() / matrix.sum())
    weights = truth[present] / matrix.sum()
    assert summary["frequency_weighted_iou"] == pytest.approx(
        (weights * hit[present] / union[present]).sum()
    )
    for index, group in enumerate(("rare", "common", "frequent", "stuff")):
        members = present[present % 4 == index]
        found = summary["groups"][group]
        assert found["miou"] == pytest.approx(np.mean(hit[members] / union[members]))
        assert found["classes"] == len(members)
        assert found["absent"] == 1284 // 4 - len(members)
    assert summary["seconds"] >= 0


def test_the_image_table_has_each_class_seen(evaluation: Evaluation, images: Images) -> None:
    table = evaluation.per_image_class
    assert tuple(table.columns) == PER_IMAGE_CLASS_COLUMNS
    expected = set()
    for image_id, prediction, truth in images:
        labelled = truth != IGNORE_INDEX
        for c in {*truth[labelled].tolist(), *prediction[labelled].tolist()}:
            t, p = (truth == c), (prediction == c) & labelled
            expected.add((image_id, c, (t & p).sum(), (t | p).sum(), t.sum(), p.sum()))
    assert set(table.itertuples(index=False, name=None)) == expected
    assert len(table) == len(expected)


def test_errors_near_boundaries_are_in_the_class_table(
    evaluation: Evaluation, images: Images
) -> None:
    found = evaluation.per_class["boundary_errors"]
    expected = sum(boundary_errors(prediction, truth, 1284) for _, prediction, truth in images)
    np.testing.assert_array_equal(found, expected)
    table = evaluation.per_class
    wrong = table["truth_pixels"] + table["predicted_pixels"] - 2 * table["intersection"]
    assert found[1283] > 0 and (found <= wrong).all()


def test_a_class_that_is_only_drawn_badly(make_vocabulary: MakeVocabulary) -> None:
    truth = np.repeat(np.arange(1000, 1003), 100) * np.ones((300, 1), np.int64)  # three thirds
    prediction = truth.copy()
    truth[:, 98:102], truth[:, 198:202] = 1283, 1283  # two posts, drawn half where they are
    prediction[:, 101:105], prediction[:, 201:205] = 1283, 1283
    row = evaluate_predictions([("a", prediction, truth)], make_vocabulary(1284)).per_class
    assert row.loc[1283, "iou"] == pytest.approx(1 / 7)
    assert row.loc[1283, "boundary_errors"] == 300 * 12
    assert row.loc[1283, "reason"] == "boundary_only"


def test_the_tables_agree(evaluation: Evaluation) -> None:
    columns = ["intersection", "union", "truth_pixels", "predicted_pixels"]
    summed = evaluation.per_image_class.groupby("class_id")[columns].sum()
    listed = evaluation.per_class.set_index("class_id").loc[summed.index, columns]
    pd.testing.assert_frame_equal(summed, listed)
    by_truth = evaluation.confusions.groupby("truth")["pixels"].sum()
    truth = evaluation.per_class["truth_pixels"]
    assert by_truth.to_dict() == truth[truth > 0].to_dict()


def test_the_run_directory_keeps_it(
    evaluation: Evaluation, make_vocabulary: MakeVocabulary, tmp_path: Path
) -> None:
    run = RunDirectory.create(tmp_path / "run", config={}, vocabulary=make_vocabulary(1284))
    run.write_evaluation("val", **evaluation._asdict())
    assert run.read_summary("val") == evaluation.summary
    for name in ("per_class", "per_image_class", "confusions"):
        read = getattr(run, f"read_{name}")("val")
        pd.testing.assert_frame_equal(read, getattr(evaluation, name))


def test_images_may_differ_in_size_and_are_passed_on(make_vocabulary: MakeVocabulary) -> None:
    seen: list[str] = []

    def keep(image_id: str, prediction: np.ndarray, truth: np.ndarray) -> None:
        assert prediction.shape == truth.shape
        seen.append(image_id)

    images = [
        ("wide", np.full((2, 9), 1283), np.full((2, 9), 1283)),
        ("tall", np.full((5, 1), 256), np.full((5, 1), IGNORE_INDEX)),
    ]
    found = evaluate_predictions(images, make_vocabulary(1284), on_prediction=keep)
    assert seen == ["wide", "tall"]
    assert found.summary["images"] == 2
    assert found.summary["labelled_pixels"] == 18
    assert found.per_image_class["image_id"].tolist() == ["wide"]


def test_nearest_classes_are_taken_over(make_vocabulary: MakeVocabulary) -> None:
    vocabulary = make_vocabulary(300)
    found = evaluate_predictions(
        [], vocabulary, nearest_class_id=np.arange(300)[::-1], nearest_distance=np.ones(300)
    ).per_class
    assert found["nearest_class_id"].tolist() == list(range(299, -1, -1))
    assert set(found["nearest_distance"]) == {1.0}
    without = evaluate_predictions([], vocabulary).per_class
    assert set(without["nearest_class_id"]) == {-1}
    assert without["nearest_distance"].isna().all()
    with pytest.raises(ValueError, match="300 values"):
        evaluate_predictions([], vocabulary, nearest_class_id=np.arange(3))


def test_no_image_at_all(make_vocabulary: MakeVocabulary, tmp_path: Path) -> None:
    vocabulary = make_vocabulary(300)
    found = evaluate_predictions([], vocabulary)
    assert math.isnan(found.summary["miou"])
    assert set(found.per_class["reason"]) == {"absent_from_val"}
    assert len(found.per_image_class) == len(found.confusions) == 0
    run = RunDirectory.create(tmp_path / "run", config={}, vocabulary=vocabulary)
    run.write_evaluation("val", **found._asdict())
    assert run.read_summary("val")["miou"] is None
    pd.testing.assert_frame_equal(run.read_per_image_class("val"), found.per_image_class)


def test_reasons_name_the_class_that_swallows(make_vocabulary: MakeVocabulary) -> None:
    truth = np.array([[1283] * 10 + [256] * 10])
    prediction = np.array([[256] * 9 + [1283] + [256] * 10])
    row = evaluate_predictions([("a", prediction, truth)], make_vocabulary(1284)).per_class.loc[
        1283
    ]
    assert row["reason"] == "swallowed"
    assert row["swallowed_by"] == 256
    assert row["swallowed_share"] == pytest.approx(0.9)


@pytest.mark.parametrize("as_mapping", [True, False])
def test_unverified_false_alarms_are_counted_apart(
    make_vocabulary: MakeVocabulary, as_mapping: bool
) -> None:
    vocabulary = make_vocabulary(1284)  # the group of 1283 (and of 3) is stuff
    truth = np.zeros((1, 10), np.int64)
    truth[0, :2] = 500
    prediction = np.array([[500, 500, 500, 600, 600, 700, 900, 900, 900, 1283]])
    verdicts = {"a": {"neg": [700], "not_exhaustive": [500]}}
    images = [("a", prediction, truth), ("b", prediction, truth)]
    found = evaluate_predictions(
        images, vocabulary, federated=verdicts if as_mapping else lambda key: verdicts.get(key)
    )
    unverified = found.per_class["unverified_pixels"]
    assert unverified[unverified > 0].to_dict() == {500: 1, 600: 2, 900: 3}
    assert found.summary["unverified_pixels"] == 6
    plain = evaluate_predictions(images, vocabulary, federated={})
    assert "unverified_pixels" not in plain.per_class
    pd.testing.assert_series_equal(plain.per_class["iou"], found.per_class["iou"])


def test_errors_name_the_image(make_vocabulary: MakeVocabulary) -> None:
    vocabulary = make_vocabulary(300)
    good = np.zeros((2, 2), np.int64)
    for prediction, truth, message in (
        (good, good + 300, "image x: truth holds the class id 300 on 4 pixels"),
        (good + 300, good, "image x: prediction holds the class id 300"),
        (good[:1], good, "image x: .* differ in shape"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            evaluate_predictions([("ok", good, good), ("x", prediction, truth)], vocabulary)
        assert "\n" not in str(caught.value)


def test_memory_is_linear_in_classes(make_maps: Maps, make_vocabulary: MakeVocabulary) -> None:
    classes = 100_000
    vocabulary = make_vocabulary(classes)

    def stream() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for seed in range(20):
            yield str(seed), *make_maps(classes, seed, (64, 64))

    tracemalloc.start()
    try:
        found = evaluate_predictions(stream(), vocabulary)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.per_class["truth_pixels"][99_999] > 0
    # One bit per entry of a C x C matrix would be 1.25 GB; we are at some 100 columns of C.
    assert peak < 100 * classes * 8
