from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.twins import write_twin
from workbench.errors import DataError

MANY = "name\n" + "".join(f"thing {number}\n" for number in range(300))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes and no image yet."""
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)
    (tmp_path / "own" / "classes.csv").write_text("name\nsky\nroad\ncar\n")
    return tmp_path / "own"


def add(
    root: Path, name: str, mask: npt.NDArray[Any] | None = None, *, suffixes: str = ".jpg .png"
) -> None:
    """One image and its mask of 3 x 4 pixels."""
    mask = np.array([[0, 1, 2, 255]] * 3, np.uint8) if mask is None else mask
    image_suffix, mask_suffix = suffixes.split()
    for folder, suffix, pixels in (
        ("images", image_suffix, np.zeros((3, 4, 3), np.uint8)),
        ("masks", mask_suffix, mask),
    ):
        path = root / folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def own(root: Path, split: str = "all") -> SegmentationDataset:
    return open_dataset("folder", root, split)


def refused(root: Path, split: str = "all") -> str:
    with pytest.raises(DataError) as caught:
        own(root, split)[0]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".Png", ".webp", ".bmp", ".TIF"])
def test_images_of_every_kind_are_found(root: Path, suffix: str) -> None:
    add(root, "straße/图像.v2", suffixes=f"{suffix} .PNG")
    (root / "images" / "notes.txt").write_text("not an image")
    (root / "images" / "._x.jpg").write_bytes(b"resource fork")
    (root / "images" / ".hidden").mkdir()
    (root / "images" / ".hidden" / "x.jpg").write_bytes(b"a checkpoint")
    dataset = own(root)
    assert dataset.ids == ["straße/图像.v2"]
    sample = dataset[0]
    assert sample["image"].shape == (3, 3, 4)
    assert sample["mask"].tolist() == [[0, 1, 2, IGNORE_INDEX]] * 3


@pytest.mark.parametrize(
    ("suffix", "dtype", "ignore"),
    [
        (".png", np.uint8, 255),
        (".png", np.uint16, 65535),
        (".tif", np.uint16, 65535),
        (".tif", np.int32, 2**31 - 1),
    ],
)
def test_the_largest_value_is_ignored_unless_listed(
    root: Path, suffix: str, dtype: type, ignore: int
) -> None:
    add(root, "a", np.array([[2, 0, ignore, 1]] * 3, dtype), suffixes=f".jpg {suffix}")
    assert own(root).read_mask(0)[0].tolist() == [2, 0, IGNORE_INDEX, 1]
    if ignore < 2**24:
        (root / "classes.csv").write_text(f"raw_id,name\n{ignore},last\n1,b\n0,c\n2,d\n")
        assert own(root).read_mask(0)[0].tolist() == [3, 2, 0, 1]


def test_palette_masks_give_indices(root: Path) -> None:
    add(root, "a")
    coded = Image.fromarray(np.array([[2, 1, 0, 255]] * 3, np.uint8), mode="L")
    coded.putpalette(bytes(range(255, -1, -1)) * 3)
    coded.save(root / "masks" / "a.png")
    assert own(root).read_mask(0)[0].tolist() == [2, 1, 0, IGNORE_INDEX]


def test_ids_above_16_bits_come_in_tiffs(root: Path) -> None:
    (root / "classes.csv").write_text("raw_id,name\n7,a\n70000,b\n")
    add(root, "a", np.array([[7, 70000, 2**31 - 1, 7]] * 3, np.int32), suffixes=".jpg .tif")
    assert own(root).read_mask(0)[0].tolist() == [0, 1, IGNORE_INDEX, 0]
    add(root, "b", np.full((3, 4), 7, np.uint16))
    with pytest.raises(DataError, match=r"b\.png: the mask has 16 bits.* 70000; .* 32-bit TIFF"):
        own(root)[1]


def test_8_bits_are_too_few_for_more_classes(root: Path) -> None:
    (root / "classes.csv").write_text(MANY)
    add(root, "a")
    message = refused(root)
    assert "masks/a.png: the mask has 8 bits, too few for the 300 classes" in message
    assert "up to 299; save a 16-bit PNG" in message
    # An id that is only ignored does not ask for wide masks.
    (root / "classes.csv").write_text("raw_id,train_id,name\n0,0,a\n1,1,b\n2,2,c\n65535,,void\n")
    assert own(root).read_mask(0)[0].tolist() == [0, 1, 2, IGNORE_INDEX]


def test_bad_masks_are_named(root: Path) -> None:
    add(root, "a", np.array([[0, 3, 3, 200]] * 3, np.uint8))
    assert "masks/a.png" in refused(root)
    assert "none of the 3 classes has: 3 (6 pixels), 200 (3 pixels)" in refused(root)
    add(root, "a", np.array([[0, 300, 1, 65535]] * 3, np.uint16))
    assert "300 (3 pixels);" in refused(root)
    add(root, "a", np.array([[0, -1, 1, 2]] * 3, np.int32), suffixes=".jpg .tif")
    assert "the id 'a' is also that of a.png" in refused(root)
    (root / "masks" / "a.png").unlink()
    assert "-1 (3 pixels)" in refused(root)
    add(root, "a", np.zeros((3, 4, 3), np.uint8), suffixes=".jpg .tif")
    assert "a.tif: a mask must be" in refused(root)
    assert "colour picture (mode RGB)" in refused(root)
    add(root, "a", np.zeros((3, 5), np.uint8), suffixes=".jpg .tif")
    assert "the mask is 5 x 3 but the image a.jpg is 4 x 3" in refused(root)


def test_missing_parts_are_named(root: Path) -> None:
    assert "the split 'all' of folder has no image" in refused(root)
    add(root, "a")
    add(root, "sub/b")
    (root / "masks" / "sub" / "b.png").unlink()
    assert "1 of the 2 images of the split 'all' have no mask, first sub/b.png" in refused(root)
    shutil.rmtree(root / "masks")
    assert "masks: the folder is missing" in refused(root)
    (root / "classes.csv").unlink()
    assert "classes.csv: the class table is missing; write one with the column" in refused(root)
    shutil.rmtree(root / "images")
    assert "data.root must hold images/" in refused(root)


def test_duplicate_ids_are_refused(root: Path) -> None:
    add(root, "a")
    Image.new("RGB", (4, 3)).save(root / "images" / "a.png")
    assert "images/a.png: the id 'a' is also that of a.jpg" in refused(root)


def test_names_that_are_not_utf8_are_refused(root: Path) -> None:
    add(root, "a")
    try:
        os.rename(root / "images" / "a.jpg", os.fsencode(root / "images") + b"/stra\xdfe.jpg")
    except OSError:
        pytest.skip("this file system stores names as UTF-8 only")
    assert r"images: the name 'stra\udcdfe' is not UTF-8; rename it" in refused(root)


@pytest.mark.parametrize("place", ["", "splits/"])
def test_lists_choose_the_splits(root: Path, place: str) -> None:
    for name in ("a", "b.jpg", "sub/c", "d"):  # one image is called b.jpg.jpg
        add(root, name)
    # Sub-folders do not matter where there is a list.
    add(root, "train/e")
    (root / "splits").mkdir()
    (root / f"{place}train.txt").write_bytes(b"\xef\xbb\xbfsub/c.jpg\r\n\r\nb.jpg\r\n")
    (root / f"{place}val.txt").write_text("d\n")
    assert own(root, "train").ids == ["sub/c", "b.jpg"]
    assert own(root, "val").ids == ["d"]
    assert own(root, "all").ids == ["a", "b.jpg", "d", "sub/c", "train/e"]
    message = refused(root, "test")
    assert "test.txt: the list of the split 'test' is missing" in message
    assert "or use train or val" in message


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_match_however_they_are_stored(root: Path, form: Literal["NFC", "NFD"]) -> None:
    add(root, unicodedata.normalize(form, "café"))
    add(root, "other")
    listed = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café.jpg\n")
    (root / "train.txt").write_text(listed, encoding="utf-8")
    dataset = own(root, "train")
    assert dataset.ids == [unicodedata.normalize("NFC", "café")]
    assert dataset[0]["image"].shape == (3, 3, 4)


def test_faulty_lists_are_named_with_their_line(root: Path) -> None:
    add(root, "a")
    path = root / "train.txt"
    path.write_text("a\n\nb.jpg\n")
    assert "train.txt line 3: images/ has no image 'b.jpg'" in refused(root, "train")
    path.write_text("a\na.jpg\n")
    assert "train.txt line 2: the image 'a' is also in line 1" in refused(root, "train")
    path.write_bytes(b"stra\xdfe\n")
    assert "train.txt: the list cannot be read; save it as UTF-8" in refused(root, "train")
    path.write_text("\n")
    assert "the split 'train' of folder has no image" in refused(root, "train")


def test_sub_folders_are_splits(root: Path) -> None:
    for name in ("train/a", "train/b", "val/a", "other/x"):
        add(root, name)
    assert own(root, "train").ids == ["train/a", "train/b"]
    assert own(root, "val").ids == ["val/a"]
    assert own(root, "all").ids == ["other/x", "train/a", "train/b", "val/a"]
    assert "the split 'test' of folder has no image" in refused(root, "test")


def test_links_to_other_disks_are_followed(root: Path, tmp_path: Path) -> None:
    for name in ("train/a", "val/b"):
        add(root, name)
    for kind in ("images", "masks"):
        shutil.move(root / kind / "train", tmp_path / kind)
        (root / kind / "train").symlink_to(tmp_path / kind, target_is_directory=True)
    assert own(root, "train").ids == ["train/a"]


def test_the_split_by_hash_depends_on_nothing_but_the_ids(root: Path) -> None:
    names = [f"image {number}" for number in range(60)]
    for name in names[:40]:
        add(root, name)
    # SHA-256 below a fifth of its range, by hand: 0x33333... = 0.2.
    below = {n for n in names if hashlib.sha256(n.encode()).hexdigest() < "3" * 64}
    assert set(own(root, "val").ids) == below & set(names[:40])
    assert set(own(root, "train").ids) == set(names[:40]) - below
    for name in names[40:]:
        add(root, name)
    assert set(own(root, "val").ids) == below
    assert 4 <= len(below) <= 24
    assert "the split 'test' of folder has no image" in refused(root, "test")


@pytest.mark.parametrize(
    ("names", "val"),
    [
        (("a", "b"), ["b"]),  # hashes 0.79 and 0.24: none below 0.2
        (("d", "f"), ["d"]),  # 0.10 and 0.15: both below
        (("d",), []),
    ],
)
def test_two_images_or_more_fill_both_splits(
    root: Path, names: tuple[str, ...], val: list[str]
) -> None:
    for name in names:
        add(root, name)
    assert own(root, "train").ids == [name for name in names if name not in val]
    if val:
        assert own(root, "val").ids == val
    else:
        assert "the split 'val' of folder has no image" in refused(root, "val")


def test_tables_from_the_shortest_to_the_full(root: Path) -> None:
    add(root, "a", np.array([[0, 1, 2, 9]] * 3, np.uint8))
    path = root / "classes.csv"
    path.write_bytes('\ufeffname\r\n"Straße, nass"\r\nnull\r\n猫\r\n'.encode() + b"d\r\n" * 7)
    dataset = own(root)
    assert dataset.vocabulary.names[:4] == ["Straße, nass", "null", "猫", "d"]
    assert dataset.read_mask(0)[0].tolist() == [0, 1, 2, 9]
    path.write_text("name,raw_id\na,9\nb,2\nc,0\nd,1\n")
    assert own(root).read_mask(0)[0].tolist() == [2, 3, 1, 0]
    path.write_text(
        "raw_id,train_id,name,group,supercategory,color,hue\n"
        "0,,void,,,,\n1,1,car,rare,thing,#102030,red\n2,0,sky,,,,\n9,1,van,,,,\n"
    )
    dataset = own(root)
    assert dataset.read_mask(0)[0].tolist() == [IGNORE_INDEX, 1, 0, 1]
    assert dataset.vocabulary.names == ["sky", "car"]
    assert dataset.vocabulary.groups == ["all", "rare"]
    assert dataset.vocabulary.colors[1].tolist() == [16, 32, 48]
    assert dataset.vocabulary.table["hue"].tolist() == ["", "red"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("raw_id;name\n0;a\n", "column 'name' is missing from the header 'raw_id;name'; add it"),
        ("label\na\n", "column 'name' is missing from the header 'label'"),
        ("train_id,name\n0,a\n", "column 'raw_id' is missing from the header 'train_id,name'"),
        ("name\na, b\n", "more fields than the header; put names with a comma in quotes"),
        ("name\na\nb, c\n", "not a readable class table"),
        ("raw_id,name\n1,a\n1,b\n", "line 3: raw_id 1 is listed twice"),
        ("raw_id,name\n99999999999999999999,a\n", "line 2: raw_id 99999999999999999999 is over"),
        ("raw_id,name\n16777216,a\n", "line 2: raw_id 16777216 is over 16777215; use smaller"),
        ("raw_id,name\n0,a\n1\n", "vocabulary class 1: name '' is empty"),
        ("name,color\na,red\n", "vocabulary class 0: color 'red' is not of the form"),
        ("name\n", "no row has a train_id"),
        ("", "not a readable class table"),
        ("name\nStra\udcdfe\n", "not a readable class table"),
    ],
)
def test_faulty_tables_are_named(root: Path, text: str, complaint: str) -> None:
    add(root, "a")
    (root / "classes.csv").write_bytes(text.encode(errors="surrogateescape"))
    message = refused(root)
    assert str(root / "classes.csv") in message
    assert complaint in message


def test_twin_needs_16_bits(tmp_path: Path) -> None:
    root = write_twin("folder", tmp_path, images=3)
    dataset = own(root, "train")
    assert len(dataset.vocabulary) == 300
    assert set(dataset.vocabulary.groups) == {"rare", "common", "frequent"}
    assert [len(own(root, split)) for split in ("train", "val", "all")] == [3, 3, 6]
    for index in range(3):
        raw = np.asarray(Image.open(dataset.mask_path(index)))
        assert raw.dtype == np.uint16
        mask = dataset.read_mask(index)
        assert mask.max() > 255
        assert ((mask == IGNORE_INDEX) == (raw == 65535)).all()
        assert (mask[raw != 65535] == raw[raw != 65535].astype(np.int64) - 1).all()
        assert (raw == 65535).any()
        pixels = dataset[index]["image"].numpy().transpose(1, 2, 0).astype(int)
        painted = dataset.vocabulary.colors[mask].astype(int)[mask >= 0]
        assert np.abs(pixels[mask >= 0] - painted).mean() < 20  # the colour says the class
