"""Failing classes: tables, sentences and the export."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest

from app import explain, failure_frames, frames, pictures
from workbench.config import Data, Loss, Model, Train
from workbench.constants import IGNORE_INDEX
from workbench.evaluation import Evaluation, evaluate_predictions
from workbench.evaluation.failures import REASONS
from workbench.vocabulary import Vocabulary

CLASSES = 1284
GROUPS = ("rare", "common", "frequent", "stuff")


def vocabulary() -> Vocabulary:
    ids = np.arange(CLASSES)
    return Vocabulary(
        pd.DataFrame(
            {
                "class_id": ids,
                "name": [f"class {index}" for index in ids],
                "group": [GROUPS[index % 4] for index in ids],
                "supercategory": "",
                "color": "#102030",
                "train_images": 1 + ids % 300,
                "train_pixels": ids * 100,
            }
        )
    )


def evaluation() -> Evaluation:
    """1283 is swallowed by 256, 700 never predicted, 900 a false alarm in b, the rest fine."""
    truth = np.zeros((40, 40), np.int64)
    truth[:10], truth[10:14, :20], truth[14:20] = 256, 1283, 700
    prediction = truth.copy()
    prediction[10:14, :16], prediction[14:20] = 256, 0
    other = truth.copy()
    other[truth == 700], other[0] = 0, IGNORE_INDEX
    wrong = other.copy()
    wrong[30:] = 900
    images = [("a", prediction, truth), ("b", wrong, other)]
    federated: dict[str, dict[str, list[int]]] = {"a": {"neg": []}, "b": {"neg": []}}
    return evaluate_predictions(images, vocabulary(), federated=federated)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluation()


@pytest.fixture(scope="module")
def overview(found: Evaluation) -> failure_frames.Overview:
    return failure_frames.overview(found.per_class, found.confusions)


def row_of(overview: failure_frames.Overview, class_id: int) -> dict[str, object]:
    table = overview.table
    return {str(k): v for k, v in table[table["class_id"] == class_id].iloc[0].items()}


def test_failing_classes_come_with_the_largest_gain_first(
    overview: failure_frames.Overview,
) -> None:
    failing = overview.failing
    assert failing["gain"].is_monotonic_decreasing
    assert {700, 900} <= set(failing["class_id"])
    assert set(failing["reason"]) >= {"never_predicted", "absent_from_val"}
    assert len(overview.table) == CLASSES
    assert row_of(overview, 900)["unverified_share"] == 1
    assert row_of(overview, 1283)["taken_by"] == 256
    assert row_of(overview, 1283)["missed"] == 64


def test_sums_by_reason_and_group(overview: failure_frames.Overview) -> None:
    failing = overview.failing
    assert dict(zip(overview.reasons["kind"], overview.reasons["classes"], strict=True)) == (
        failing["reason"].value_counts().to_dict()
    )
    assert overview.groups["classes"].sum() == len(failing)
    alone = overview.reasons.set_index("kind").loc["never_predicted"]
    assert alone["gain"] == pytest.approx(row_of(overview, 700)["gain"])
    assert alone["share"] == pytest.approx(alone["gain"] / (1 - overview.miou))
    assert overview.gain >= overview.reasons["gain"].max()


def test_older_evaluations_and_those_without_confusions(found: Evaluation) -> None:
    newer = ["boundary_errors", "unverified_pixels", "swallowed_by", "swallowed_share"]
    old = found.per_class.drop(columns=newer)
    table = failure_frames.class_table(old, found.confusions).set_index("class_id")
    assert table.loc[1283, "taken_by"] == 256
    assert table["boundary_share"].isna().all() and table["unverified_share"].isna().all()
    bare = failure_frames.overview(old, None)
    assert bare.table["gain"].isna().all() and np.isnan(bare.gain)
    assert (bare.table["taken_by"] == -1).all()
    assert len(bare.failing) == len(table[table["reason"] != ""])


def test_margin_against_all_distances() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 8)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, 9)
    nearest = distances.min(axis=1)
    for other in (0, 256, 298):
        margin = failure_frames.margin(points, nearest, 299, other)
        assert margin is not None
        assert margin.distance == pytest.approx(distances[299, other], abs=1e-5)
        assert margin.rank == 1 + (distances[299] < distances[299, other] - 1e-6).sum()
        assert margin.closer_than == pytest.approx((nearest > margin.distance).mean())
    assert failure_frames.margin(points, nearest, 299, -1) is None
    assert failure_frames.margin(points, nearest, 300, 2) is None
    assert failure_frames.margin(points, nearest, 7, 7) is None


def test_worst_images_are_those_kept_with_most_wrong_pixels() -> None:
    rows = [
        ("fine", 1283, 50, 50, 50, 50),
        ("bad", 1283, 10, 110, 100, 20),
        ("worse", 1283, 0, 300, 0, 300),
        ("gone", 1283, 0, 900, 900, 0),
        ("hardly", 1283, 99, 101, 100, 100),
        ("bad", 5, 0, 999, 999, 0),
    ]
    names = ["image_id", "class_id", "intersection", "union", "truth_pixels", "predicted_pixels"]
    table = pd.DataFrame(rows, columns=names)
    kept = ["fine", "bad", "worse", "hardly"]
    index = pictures.index_pictures(kept, table)
    worst = failure_frames.worst_images(index, 1283, 4)
    assert worst["image_id"].tolist() == ["worse", "bad"]
    assert worst[["missed", "false_alarms"]].to_numpy().tolist() == [[0, 300], [90, 10]]
    assert len(failure_frames.worst_images(index, 1283, 1)) == 1
    assert failure_frames.worst_images(index, 7, 4).empty


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r", " \n-"])
def test_no_cell_of_the_export_is_a_formula(overview: failure_frames.Overview, sign: str) -> None:
    table = overview.failing.assign(shape=f"{sign}1+1", **{"=2+2": 5})
    table["name"] = f"{sign}HYPERLINK(1)"
    names = dict.fromkeys(range(CLASSES), f"{sign}1+1")
    text = failure_frames.export(table, names).to_csv(index=False)
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert len(read) == len(table) + 1
    for cell in (cell for cells in read for cell in cells):
        assert not cell.startswith(("=", "+", "@", "\t", "\r", "\n", " "))
        assert not cell.startswith("-") or float(cell) <= 0  # a number stays a number
    assert read[1][1].lstrip("'") == f"{sign}HYPERLINK(1)".strip()


def test_the_export_has_words_and_all_numbers(overview: failure_frames.Overview) -> None:
    names = frames.labels(overview.table)
    table = failure_frames.export(overview.failing, names).set_index("class_id")
    assert table.loc[700, "reason_in_words"] == "never predicted"
    assert table.loc[700, "taken_by_name"] == "class 0"
    assert {"miou_gain", "train_images", "boundary_errors", "unverified_pixels"} <= set(table)
    assert table["miou_gain"].tolist() == overview.failing["gain"].tolist()


def say(
    overview: failure_frames.Overview, found: Evaluation, class_id: int, **changed: object
) -> str:
    return " ".join(
        explain.explain(
            row_of(overview, class_id) | changed,
            lambda other: f"<{other}>",
            seen={other: 1 + other % 300 for other in range(CLASSES)},
            takers=frames.taken_for(found.confusions, class_id),
            victims=frames.taken_as(found.confusions, class_id),
        )
    )


def test_sentences_carry_the_numbers(overview: failure_frames.Overview, found: Evaluation) -> None:
    swallowed = say(overview, found, 1283, reason="swallowed")
    assert swallowed.startswith("64 of its 160 labelled pixels (40 %) go to **<256>**.")
    assert "It has 84 training images, <256> has 257." in swallowed
    never = say(overview, found, 700)
    assert never.startswith("Not one of its 240 labelled pixels in 1 image is predicted as it.")
    assert "240 of its 240 labelled pixels (100 %) go to **<0>**" in never
    alarms = say(overview, found, 900, reason="unverified_false_alarms")
    assert "400 of the 400 labelled pixels predicted as it are wrong" in alarms
    assert "Of its false alarms, 100 % are in images that nobody checked for it" in alarms
    assert "may be right" in alarms
    absent = say(overview, found, 900)
    assert absent.startswith("No pixel of it is labelled in this split")


@pytest.mark.parametrize("code", [*REASONS, "", "some_new_code"])
@pytest.mark.parametrize("class_id", [0, 5, 256, 700, 900, 1283])
def test_every_reason_and_class_has_sentences(
    overview: failure_frames.Overview, found: Evaluation, code: str, class_id: int
) -> None:
    said = say(overview, found, class_id, reason=code)
    assert "nan" not in said and "None" not in said
    assert said or code == "some_new_code"


def test_nobody_counted_training_images(
    overview: failure_frames.Overview, found: Evaluation
) -> None:
    said = explain.explain(
        row_of(overview, 1283),
        str,
        seen=None,
        takers=frames.taken_for(found.confusions, 1283),
        victims=frames.taken_as(found.confusions, 1283),
    )
    assert "training" not in " ".join(said)


def test_margin_in_words() -> None:
    close = failure_frames.Margin(0.311, 1, 0.97)
    assert explain.margin_sentence(close, "X") == (
        "In the class table X is its nearest, 0.31 away; 97 % of all classes keep more distance "
        "from their nearest."
    )
    far = explain.margin_sentence(failure_frames.Margin(1.0, 12, 0.1), "X")
    assert "number 12 by distance" in far and "90 % of all classes have a nearer neighbour" in far
    unknown = explain.margin_sentence(failure_frames.Margin(1.0, 2, float("nan")), "X")
    assert unknown == "In the class table X is number 2 by distance, 1.00 away."


def test_remedies_name_flags_that_exist() -> None:
    assert set(explain.REMEDIES) == set(REASONS)
    parts: dict[str, type] = {"data": Data, "loss": Loss, "model": Model, "train": Train}
    flags = [
        flag
        for lines in explain.REMEDIES.values()
        for line in lines
        for flag in re.findall(r"--(\w+)\.(\w+)", line)
    ]
    assert len(flags) > 5
    for section, field in flags:
        assert field in {known.name for known in dataclasses.fields(parts[section])}


def test_remedies_without_a_rival_leave_out_what_needs_one() -> None:
    assert all("{" not in line for line in explain.remedies("swallowed", "X", {}))
    assert any("X" in line for line in explain.remedies("swallowed", "X", {}))
    assert len(explain.remedies("swallowed", None, {})) == 2
    assert explain.remedies("", "X", {}) == explain.remedies("new", "X", {}) == []


@pytest.mark.parametrize("loss", [{}, None, {"logit_adjustment": 0.5}, {"logit_adjustment": "1"}])
def test_remedies_the_run_was_not_trained_with_are_named(loss: object) -> None:
    said = " ".join(explain.remedies("mostly_misses", None, {"loss": loss}))
    assert "--loss.logit_adjustment 1" in said and "--loss.balance inverse_sqrt" in said


def test_remedies_the_run_was_trained_with_are_left_out() -> None:
    trained = {"loss": {"logit_adjustment": 1.0, "balance": "inverse_sqrt"}}
    (left,) = explain.remedies("mostly_misses", None, trained)
    assert "--data.repeat_threshold" in left


@pytest.mark.parametrize("reason", ["swallowed", "mostly_false_alarms"])
def test_favouring_rare_classes_less_is_advised_where_they_are_favoured(reason: str) -> None:
    plain, adjusted = (
        " ".join(explain.remedies(reason, "X", {"loss": {"logit_adjustment": strength}}))
        for strength in (0.0, 1.0)
    )
    assert "a smaller `--loss.logit_adjustment`" not in plain
    assert "a smaller `--loss.logit_adjustment`" in adjusted


@pytest.mark.parametrize(
    ("reason", "taken_by", "victims", "other"),
    [
        ("swallowed", 256, [9], 256),
        ("mostly_false_alarms", 256, [9], 9),
        ("mostly_false_alarms", 256, [], 256),
        ("never_predicted", -1, [], -1),
        ("", -1, [9], 9),
    ],
)
def test_the_class_it_is_compared_with(
    reason: str, taken_by: int, victims: list[int], other: int
) -> None:
    row = {"reason": reason, "taken_by": taken_by}
    frame = pd.DataFrame({"class_id": victims})
    assert failure_frames.compared_with(row, frame) == other
