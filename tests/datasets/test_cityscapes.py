from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.cityscapes import Cityscapes
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import write_twin
from workbench.errors import DataError

# The benchmark's 19 classes as annotated, in the order of their train ids.
EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twin("cityscapes", tmp_path / "city", images=4)


def expected(raw: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Train ids by comparing with each evaluated id."""
    train = np.full(raw.shape, IGNORE_INDEX, dtype=np.int64)
    for train_id, raw_id in enumerate(EVALUATED):
        train[raw == raw_id] = train_id
    return train


def label_ids(root: Path, frame: str) -> Path:
    return root / "gtFine" / "train" / frame.split("_")[0] / f"{frame}_gtFine_labelIds.png"


def test_roots_splits_and_names(root: Path) -> None:
    moved = root.with_name("data") / "Cityscapes"
    shutil.copytree(root, moved)
    for place in (root, moved, moved.parent):
        sizes = [len(open_dataset("cityscapes", place, name)) for name in Cityscapes.splits]
        assert sizes == [4, 4, 1]
    dataset = open_dataset("cityscapes", root, "train")
    assert dataset.ids == [
        "aachen_000000_000019",
        "aachen_000002_000019",
        "zurich_000001_000019",
        "zurich_000003_000019",
    ]
    names = dataset.vocabulary.names
    assert (len(names), names[0], names[13], names[18]) == (19, "road", "car", "bicycle")


def test_raw_ids_become_the_benchmarks_classes(root: Path) -> None:
    dataset = open_dataset("cityscapes", root, "train")
    # All ids there are, and 255: what -1, the license plate, is once in 8 bits.
    every = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 35
    every[every == 34] = 255
    Image.fromarray(every).save(label_ids(root, dataset.ids[0]))
    for index in range(len(dataset)):
        raw = np.asarray(Image.open(label_ids(root, dataset.ids[index])))
        mask = dataset[index]["mask"].numpy()
        assert (mask == expected(raw)).all()
        assert (mask == IGNORE_INDEX).any()
    assert dataset.classes_in(0).tolist() == list(range(19))


def test_label_train_ids_stand_in_image_by_image(root: Path) -> None:
    dataset = open_dataset("cityscapes", root, "train")
    truth = [dataset.read_mask(index) for index in range(4)]
    for index, name in enumerate(dataset.ids):
        coded = np.where(truth[index] < 0, 255, truth[index]).astype(np.uint8)
        path = label_ids(root, name)
        other = path.with_name(f"{name}_gtFine_labelTrainIds.png")
        if index == 0:  # both are there: the train ids, here wrong, are not read
            Image.fromarray(np.zeros_like(coded)).save(other)
        elif index == 1:
            Image.fromarray(coded).save(other)
            path.unlink()
    mixed = open_dataset("cityscapes", root, "train")
    assert ["Train" in mixed.mask_path(index).name for index in range(4)] == [
        False,
        True,
        False,
        False,
    ]
    assert all((mixed.read_mask(index) == truth[index]).all() for index in range(4))


def test_train_ids_above_18_are_refused(root: Path) -> None:
    path = label_ids(root, "aachen_000000_000019")
    mask = np.zeros((48, 64), np.uint8)
    mask[0, :5] = 33  # a raw id
    Image.fromarray(mask).save(str(path).replace("labelIds", "labelTrainIds"))
    path.unlink()
    with pytest.raises(DataError, match=r"labelTrainIds\.png.*19 classes.*: 33 \(5 pixels\)"):
        open_dataset("cityscapes", root, "train")[0]


def test_ids_that_cityscapes_does_not_have_are_refused(root: Path) -> None:
    path = label_ids(root, "aachen_000000_000019")
    mask = np.array(Image.open(path))
    mask[0, :5], mask[1, :2] = 34, 254
    Image.fromarray(mask).save(path)
    with pytest.raises(DataError, match=r"labelIds\.png.*: 34 \(5 pixels\), 254 \(2 pixels\)"):
        open_dataset("cityscapes", root, "train")[0]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("instanceIds", r"none of the 19 classes has: 24000 \(\d+ pixels\), 26000 \("),
        ("color", r"colour picture \(mode RGBA\); store ids, not colours"),
    ],
)
def test_masks_of_another_kind_are_refused(root: Path, kind: str, complaint: str) -> None:
    path = label_ids(root, "aachen_000000_000019")
    shutil.copy(str(path).replace("labelIds", kind), path)
    with pytest.raises(DataError, match=rf"000000_000019_gtFine_labelIds\.png.*{complaint}"):
        open_dataset("cityscapes", root, "train")[0]


def test_published_test_masks_are_void(root: Path) -> None:
    dataset = open_dataset("cityscapes", root, "test")
    assert (dataset[0]["mask"] == IGNORE_INDEX).all()


def test_missing_files_are_named_with_their_archive(root: Path, tmp_path: Path) -> None:
    label_ids(root, "zurich_000001_000019").unlink()  # its instanceIds do not count as a mask
    message = r"1 of 4 images have no mask, first zurich/zurich_000001_000019_gtFine_labelIds\.png"
    with pytest.raises(DataError, match=message):
        open_dataset("cityscapes", root, "train")
    shutil.rmtree(root / "gtFine" / "val")
    with pytest.raises(DataError, match=r"gtFine/val: the folder is missing; unpack gtFine_train"):
        open_dataset("cityscapes", root, "val")
    shutil.rmtree(root / "leftImg8bit" / "test")
    (root / "leftImg8bit" / "test" / "berlin").mkdir(parents=True)
    with pytest.raises(DataError, match=r"leftImg8bit/test: the folder has no <city>/.*trainvalt"):
        open_dataset("cityscapes", root, "test")
    with pytest.raises(DataError) as caught:
        open_dataset("cityscapes", tmp_path, "train")
    for word in ("register at https://www.cityscapes-dataset.com", "gtFine_trainvaltest.zip"):
        assert word in str(caught.value)
    assert "leftImg8bit_trainvaltest.zip" in str(caught.value)


def test_a_frame_in_two_cities_is_refused_and_macos_files_are_not_read(root: Path) -> None:
    city = root / "leftImg8bit" / "train" / "aachen"
    (city / "._aachen_000000_000019_leftImg8bit.png").write_bytes(b"resource fork")
    assert len(open_dataset("cityscapes", root, "train")) == 4
    shutil.copy(city / "aachen_000000_000019_leftImg8bit.png", city.with_name("zurich"))
    with pytest.raises(DataError, match=r"zurich/aachen_.*: the frame aachen_.* is also in .*aach"):
        open_dataset("cityscapes", root, "train")


def test_parts_match_what_is_there(root: Path) -> None:
    for part in Cityscapes.parts:
        found = len(list(root.glob(part.pattern)))
        images = 0 if part.optional else 1 if part.split == "test" else 4
        assert found == images
        assert part.full == {"train": 2975, "val": 500, "test": 1525}[part.split]


def test_real_frame(realdata: Path, tmp_path: Path) -> None:
    root = realdata / "cityscapes_tiny"
    dataset = open_dataset("cityscapes", root, "val")
    assert dataset.ids == ["frankfurt_000000_000294"]
    raw = np.asarray(Image.open(dataset.mask_path(0)))
    counts = np.bincount(raw.ravel(), minlength=256)
    pixels = count_classes(dataset).pixels
    assert pixels.tolist() == [counts[raw_id] for raw_id in EVALUATED]
    assert pixels.sum() == raw.size - sum(counts[i] for i in range(256) if i not in EVALUATED)

    # The same frame from its labelTrainIds. This small copy was scaled down for each kind of
    # mask on its own, so the two differ in 77 of 32,768 pixels, along the borders of classes.
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    mask = copy / dataset.mask_path(0).relative_to(root)
    mask.unlink()
    other = open_dataset("cityscapes", copy, "val")
    coded = np.asarray(Image.open(str(mask).replace("labelIds", "labelTrainIds"))).astype(np.int64)
    assert (other.read_mask(0) == np.where(coded == 255, IGNORE_INDEX, coded)).all()
    assert (other.read_mask(0) != dataset.read_mask(0)).sum() == 77


def test_table_is_the_authors(realdata: Path) -> None:
    facts = json.loads((realdata / "classes" / "cityscapes.json").read_text())
    vocabulary = open_dataset("cityscapes", realdata / "cityscapes_tiny", "val").vocabulary
    scored = [fact for fact in facts if not fact["ignoreInEval"]]
    assert [fact["id"] for fact in scored] == list(EVALUATED)
    assert vocabulary.names == [fact["name"] for fact in scored]
    assert vocabulary.colors.tolist() == [fact["color"] for fact in scored]
    assert vocabulary.table["supercategory"].tolist() == [fact["category"] for fact in scored]
