from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.errors import RunError
from workbench.runs import RunDirectory, masks
from workbench.runs.names import id_to_name, name_to_id

TABLES = ("per_class", "per_image_class", "confusions")


def reader(run: RunDirectory, name: str) -> object:
    return getattr(run, f"read_{name}")("val")


def test_tables_come_back(evaluated: RunDirectory) -> None:
    assert evaluated.evaluations() == ["val"]
    assert evaluated.read_summary("val") == {"miou": 0.5, "groups": {"rare": {"miou": None}}}
    per_class = evaluated.read_per_class("val")
    assert per_class["class_id"].tolist() == list(range(1284))
    assert per_class["iou"][1283] == 1
    assert evaluated.read_per_image_class("val")["image_id"].tolist() == ["a", "b"]
    assert evaluated.read_confusions("val").iloc[0].tolist() == [1283, 256, 7]


@pytest.mark.parametrize("name", ["summary", *TABLES])
@pytest.mark.parametrize("damage", [None, b"", b"{", b"\xff" * 99])
def test_a_damaged_table_is_named_with_the_remedy(
    evaluated: RunDirectory, name: str, damage: bytes | None
) -> None:
    suffix = "json" if name == "summary" else "parquet"
    path = evaluated.path / "evaluation" / "val" / f"{name}.{suffix}"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(RunError, match=rf"{name}.*workbench evaluate") as caught:
        reader(evaluated, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TABLES)
def test_a_cut_table_is_named(evaluated: RunDirectory, name: str) -> None:
    path = evaluated.path / "evaluation" / "val" / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match=name):
        reader(evaluated, name)


def test_a_table_without_a_column_is_refused(evaluated: RunDirectory) -> None:
    frames = {
        "per_class": evaluated.read_per_class("val"),
        "per_image_class": evaluated.read_per_image_class("val"),
        "confusions": evaluated.read_confusions("val"),
    }
    for name, frame in frames.items():
        for column in frame:
            wrong = {**frames, name: frame.drop(columns=column)}
            with pytest.raises(ValueError, match=column):
                evaluated.write_evaluation("val", summary={}, **wrong)
    pd.DataFrame({"truth": [1]}).to_parquet(
        evaluated.path / "evaluation" / "val" / "confusions.parquet"
    )
    with pytest.raises(RunError, match="predicted"):
        evaluated.read_confusions("val")


def test_samples_come_back(evaluated: RunDirectory) -> None:
    assert evaluated.samples("val") == ["a", "b"]
    image, truth, prediction = evaluated.read_sample("val", "b")
    assert image.size == (3, 2)
    assert image.mode == "RGB"
    assert abs(int(np.asarray(image)[0, 0, 0]) - 128) < 3
    assert truth.tolist() == [[1283, 256, IGNORE_INDEX], [0, 1, 2]]
    assert prediction.tolist() == [[IGNORE_INDEX, 256, 1283], [2, 1, 0]]
    assert truth.dtype == prediction.dtype == np.int64


def test_on_disk_the_ids_are_16_bit_with_65535_for_ignored(evaluated: RunDirectory) -> None:
    with Image.open(evaluated.path / "evaluation" / "val" / "truth" / "a.png") as file:
        assert file.mode == "I;16"
        assert np.asarray(file).tolist() == [[1283, 256, 65535], [0, 1, 2]]


@pytest.mark.parametrize("kind", ["images/a.jpg", "truth/a.png", "predictions/a.png"])
def test_a_damaged_sample_is_named(evaluated: RunDirectory, kind: str) -> None:
    path = evaluated.path / "evaluation" / "val" / kind
    whole = path.read_bytes()
    for damage in (b"", b"text", whole[:20], whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(RunError, match=kind) as caught:
            evaluated.read_sample("val", "a")
        assert "\n" not in str(caught.value)
    path.unlink()
    assert evaluated.samples("val") == ["b"]
    with pytest.raises(RunError, match=kind):
        evaluated.read_sample("val", "a")


def test_sizes_must_agree(run: RunDirectory) -> None:
    image = Image.new("RGB", (3, 2))
    small, turned = np.zeros((2, 3), np.int64), np.zeros((3, 2), np.int64)
    with pytest.raises(ValueError, match="differ in size"):
        run.save_sample("val", "a", image, small, turned)
    with pytest.raises(ValueError, match="differ in size"):
        run.save_sample("val", "a", image, turned, turned)
    assert run.samples("val") == []


def test_an_evaluation_begun_anew_counts_as_none(evaluated: RunDirectory) -> None:
    evaluated.begin_evaluation("val")
    assert evaluated.samples("val") == []
    assert evaluated.evaluations() == []
    evaluated.begin_evaluation("never")


IDS = [
    "000000000139",
    "frankfurt/frankfurt_000000_000294",
    "../x",
    "../../../../x",
    "/abs",
    "..",
    ".",
    "",
    "%",
    "%2E",
    ".tmp-1-x",
    "a.b.c",
    "Straße 東京 🌍",
    'a\\b:c*d?"<>|\n\x00',
    "x" * 5000,
    "東" * 200,
]


@pytest.mark.parametrize("image_id", IDS)
def test_no_id_leaves_its_folder(run: RunDirectory, tmp_path: Path, image_id: str) -> None:
    before = set(tmp_path.rglob("*"))
    labels = np.full((2, 2), 1283)
    run.save_sample("val", image_id, Image.new("RGB", (2, 2)), labels, labels)
    made = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    folder = run.path / "evaluation" / "val"
    assert {path.parent for path in made} == {
        folder / kind for kind in ("images", "truth", "predictions")
    }
    (listed,) = run.samples("val")
    if len(image_id) < 100:
        assert listed == image_id
    assert run.read_sample("val", listed)[1].tolist() == labels.tolist()
    assert run.read_sample("val", image_id)[1].tolist() == labels.tolist()


def test_a_split_does_not_leave_its_folder_either(run: RunDirectory, tmp_path: Path) -> None:
    labels = np.zeros((2, 2), np.int64)
    run.save_sample("../../../val", "a", Image.new("RGB", (2, 2)), labels, labels)
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert {path.name for path in run.path.parent.iterdir()} == {"mine"}


# Also lone surrogates: so Python shows file names that are no UTF-8.
ODD_TEXT = st.text(st.characters(exclude_categories=[]), max_size=5)


@given(st.text(st.characters(exclude_categories=[]), max_size=60))
def test_names_are_safe_and_unique(image_id: str) -> None:
    name = id_to_name(image_id)
    assert name.isascii()
    assert 0 < len(name) <= 200
    assert not name.startswith(".")
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert name.startswith("hashed-") or name_to_id(name) == image_id


@given(ODD_TEXT, ODD_TEXT)
def test_two_ids_never_share_a_name(first: str, second: str) -> None:
    assert (id_to_name(first) == id_to_name(second)) == (first == second)


@given(st.lists(st.sampled_from([0, 255, 256, 1283, 65534, IGNORE_INDEX]), min_size=1))
def test_masks_come_back(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    stem = tmp_path_factory.mktemp("mask") / "a.b"
    mask = np.array([ids])
    assert masks.write_mask(stem, mask).name == "a.b.png"
    assert masks.read_mask(stem, remedy="").tolist() == mask.tolist()


def test_more_classes_than_16_bits_hold(tmp_path: Path) -> None:
    mask = np.array([[65535, 99_999, IGNORE_INDEX, 0]])
    masks.write_mask(tmp_path / "a", np.zeros((1, 4), np.int64))
    assert masks.write_mask(tmp_path / "a", mask).name == "a.tiff"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tiff"]
    assert masks.read_mask(tmp_path / "a", remedy="").tolist() == mask.tolist()


@pytest.mark.parametrize("mask", [np.array([[-1]]), np.array([1]), np.zeros((1, 1, 3), int)])
def test_what_is_no_mask_is_refused(tmp_path: Path, mask: np.ndarray) -> None:
    with pytest.raises(ValueError):
        masks.write_mask(tmp_path / "a", mask)
    assert list(tmp_path.iterdir()) == []
