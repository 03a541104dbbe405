from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from workbench.evaluation.compare import (
    align_classes,
    biggest,
    change_by_group,
    drift,
    paired_change,
    smallest,
)
from workbench.evaluation.procrustes import rotation_onto

CLASSES = 1284


def classes(iou: np.ndarray, names: list[str] | None = None) -> pd.DataFrame:
    count = len(iou)
    return pd.DataFrame(
        {
            "class_id": np.arange(count),
            "name": names or [f"class {n}" for n in range(count)],
            "group": np.array(["rare", "common", "frequent"])[np.arange(count) % 3],
            "supercategory": "thing",
            "iou": iou,
            "truth_pixels": np.where(np.isnan(iou), 0, 10),
            "train_images": np.arange(count),
            "color": "#336699",
        }
    )


@pytest.fixture
def pair() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 1, CLASSES)
    b = np.clip(a + rng.normal(0.02, 0.1, CLASSES), 0, 1)
    a[300], b[1283] = np.nan, np.nan
    return classes(a), classes(b)


def test_the_same_vocabulary_is_paired_by_id(pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    a, b = pair
    found = align_classes(a, b)
    assert not found.by_name
    assert (found.only_a, found.only_b, found.repeated) == (0, 0, 0)
    assert found.table["class_id"].tolist() == found.table["class_id_b"].tolist()
    np.testing.assert_array_equal(found.table["change"], b["iou"] - a["iou"])
    assert found.table["change"].isna().sum() == 2


def test_names_that_repeat_do_not_matter_where_the_lists_are_the_same() -> None:
    names = ["x", "y", "x"]
    found = align_classes(
        classes(np.array([0.1, 0.2, 0.3]), names), classes(np.array([0.3, 0.3, 0.3]), names)
    )
    np.testing.assert_allclose(found.table["change"], [0.2, 0.1, 0.0])


def test_other_vocabularies_are_paired_by_name() -> None:
    a = classes(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), ["cat", "dog", "twin", "only here", "twin"])
    b = classes(np.array([0.9, 0.8, 0.7, 0.6]), ["twin", "new", "dog", "cat"])
    found = align_classes(a, b)
    assert found.by_name
    assert found.table["name"].tolist() == ["cat", "dog"]
    assert found.table["class_id"].tolist() == [0, 1]
    assert found.table["class_id_b"].tolist() == [3, 2]
    np.testing.assert_allclose(found.table["change"], [0.5, 0.5])
    assert (found.only_a, found.only_b, found.repeated) == (1, 1, 3)


def test_vocabularies_without_a_common_class() -> None:
    found = align_classes(classes(np.array([0.5]), ["a"]), classes(np.array([0.5]), ["b"]))
    assert found.table.empty
    assert paired_change(found.table).classes == 0
    assert np.isnan(paired_change(found.table).change)
    assert change_by_group(found.table).empty


def test_a_class_absent_from_one_split_is_not_scored() -> None:
    a = classes(np.array([0.5, 0.5]))
    b = classes(np.array([0.0, 0.6])).assign(truth_pixels=[0, 10])  # predicted only: IoU 0
    found = paired_change(align_classes(a, b).table)
    assert found.classes == 1
    assert found.change == pytest.approx(0.1)


def test_paired_change_counts_by_brute_force(pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    a, b = pair
    b.loc[500, "iou"] = a.loc[500, "iou"] + 0.0004  # the same to three decimals
    found = paired_change(align_classes(a, b).table)
    changes = [
        after - before
        for before, after in zip(a["iou"], b["iou"], strict=True)
        if before == before and after == after
    ]
    assert found.classes == len(changes) == CLASSES - 2
    assert found.change == pytest.approx(sum(changes) / len(changes))
    assert found.miou_b - found.miou_a == pytest.approx(found.change)
    assert found.wins == sum(change >= 0.0005 for change in changes)
    assert found.losses == sum(change <= -0.0005 for change in changes)
    assert found.wins + found.losses + found.ties == found.classes


def test_interval_is_that_of_scipy(pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    from scipy.stats import bootstrap

    table = align_classes(*pair).table
    found = paired_change(table)
    change = table["change"].dropna().to_numpy()
    other = bootstrap(
        (change,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    width = other.high - other.low
    assert found.low == pytest.approx(other.low, abs=0.05 * width)
    assert found.high == pytest.approx(other.high, abs=0.05 * width)
    assert found == paired_change(table)  # a fixed seed
    assert paired_change(table, seed=1).low != found.low
    narrow = paired_change(table, confidence=0.5)
    assert found.low < narrow.low < found.change < narrow.high < found.high


def test_interval_of_equal_changes_has_no_width() -> None:
    table = align_classes(classes(np.full(300, 0.25)), classes(np.full(300, 0.5))).table
    found = paired_change(table)
    assert (found.low, found.change, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert (found.wins, found.losses, found.ties) == (300, 0, 0)


def test_many_classes_are_drawn_in_batches() -> None:
    rng = np.random.default_rng(3)
    change = rng.normal(0, 1, 3_000_000)
    table = pd.DataFrame({"iou_a": 0.0, "iou_b": change, "change": change})
    found = paired_change(table, resamples=3)
    assert found.low <= found.high
    assert abs(found.high) < 0.01


def test_groups_are_compared_one_by_one(pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = align_classes(*pair).table
    groups = change_by_group(table).set_index("group")
    assert groups["classes"].sum() == CLASSES - 2
    for name, part in table.groupby("group"):
        assert groups.loc[name, "change"] == pytest.approx(part["change"].mean())


def test_winners_and_losers(pair: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = align_classes(*pair).table
    ranked = sorted(
        (change, class_id)
        for change, class_id in zip(table["change"], table["class_id"], strict=True)
        if change == change
    )
    assert biggest(table, count=7)["class_id"].tolist() == [n for _, n in ranked[:-8:-1]]
    assert smallest(table, count=7)["class_id"].tolist() == [n for _, n in ranked[:7]]
    same = table.assign(change=0.0)
    assert biggest(same).empty and smallest(same).empty


def test_rotation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 300, 12))
    np.testing.assert_allclose(rotation_onto(a, b), orthogonal_procrustes(a, b)[0], atol=1e-10)


def test_a_turned_and_mirrored_table_has_not_drifted() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(size=(CLASSES, 16))
    turn = ortho_group.rvs(16, random_state=1)
    turn[:, 0] *= -np.sign(np.linalg.det(turn))  # a reflection
    assert np.linalg.det(turn) < 0
    scale = rng.uniform(0.5, 3.0, (CLASSES, 1))  # lengths do not matter
    found = drift(a, scale * a @ turn)
    np.testing.assert_allclose(found.distance, 0.0, atol=1e-9)
    assert found.chance > 1.0
    assert not found.padded


def test_the_class_that_moved_is_found() -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=(CLASSES, 16))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = a.copy()
    b[1283] = -b[1283]
    found = drift(a, b @ ortho_group.rvs(16, random_state=5)).distance
    assert found.argmax() == 1283
    assert found[1283] == pytest.approx(2.0, abs=0.02)
    assert np.median(found) < 0.01


def test_drift_by_scipy() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 300, 8))
    first = a / np.linalg.norm(a, axis=1, keepdims=True)
    second = b / np.linalg.norm(b, axis=1, keepdims=True)
    expected = np.linalg.norm(second @ orthogonal_procrustes(second, first)[0] - first, axis=1)
    np.testing.assert_allclose(drift(a, b).distance, expected, atol=1e-9)


def test_a_wider_table_that_holds_the_same_points_has_not_drifted() -> None:
    rng = np.random.default_rng(7)
    a = rng.normal(size=(400, 6))
    wide = np.pad(a, ((0, 0), (0, 10))) @ ortho_group.rvs(16, random_state=8)
    for found in (drift(a, wide), drift(wide, a)):
        assert found.padded
        np.testing.assert_allclose(found.distance, 0.0, atol=1e-9)


def test_a_row_without_a_direction_has_no_drift() -> None:
    rng = np.random.default_rng(8)
    a = rng.normal(size=(300, 4))
    b = a.copy()
    a[256], b[299] = 0.0, np.nan
    found = drift(a, b).distance
    assert np.flatnonzero(np.isnan(found)).tolist() == [256, 299]
    np.testing.assert_allclose(found[:256], 0.0, atol=1e-9)
    assert np.isnan(drift(np.zeros((3, 2)), np.zeros((3, 2))).distance).all()


def test_chance_tells_when_there_are_too_few_classes() -> None:
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 6, 64))
    found = drift(a, b)
    assert abs(found.chance - found.distance.mean()) < 0.15


def test_tables_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="same classes"):
        drift(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="one shape"):
        rotation_onto(np.ones((3, 2)), np.ones((3, 3)))


def test_importing_is_light() -> None:
    heavy = ("torch", "umap", "numba", "timm", "torchvision", "scipy", "plotly", "streamlit")
    script = (
        "import sys, workbench.evaluation.compare;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
