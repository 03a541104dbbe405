from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.coco_stuff10k import CocoStuff10k
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import write_twin
from workbench.errors import ConfigError, DataError
from workbench.vocabulary import load_table

# Of COCO's 91 things, those that its 2014 annotations never use.
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
USED = [raw for raw in range(1, 183) if raw not in UNUSED]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twin("coco-stuff10k", tmp_path / "cocostuff10k", images=3)


def map_of(root: Path, number: int) -> Path:
    return root / "annotations" / f"COCO_train2014_{number:012d}.mat"


def save(root: Path, **variables: Any) -> None:
    """Replaces the label map of the first train image."""
    savemat(str(map_of(root, 1)), variables, do_compression=True)


def message(root: Path, variant: str = "") -> str:
    """What reading the first train image says."""
    with pytest.raises(DataError) as caught:
        open_dataset("coco-stuff10k", root, "train", variant=variant)[0]
    assert "\n" not in str(caught.value)
    assert str(map_of(root, 1)) in str(caught.value)
    return str(caught.value)


def test_roots_and_splits(root: Path) -> None:
    for place in (root, root.parent):
        sizes = {s: len(open_dataset("coco-stuff10k", place, s)) for s in ("train", "val", "test")}
        assert sizes == {"train": 3, "val": 3, "test": 3}
    train, val, test = (open_dataset("coco-stuff10k", root, s) for s in ("train", "val", "test"))
    assert train.ids[0] == "COCO_train2014_000000000001"
    assert val.ids == test.ids == (root / "imageLists" / "test.txt").read_text().split()
    assert set(train.ids).isdisjoint(val.ids)


def test_twin_has_the_official_variables(root: Path) -> None:
    content = loadmat(str(map_of(root, 1)))
    official = {"S", "names", "captions", "regionMapStuff", "regionLabelsStuff"}
    assert {name for name in content if not name.startswith("__")} == official
    stuff = content["regionLabelsStuff"][content["regionMapStuff"] - 1, 0]
    ids = content["S"]
    assert (stuff[ids > 91] == ids[ids > 91]).all()
    assert content["names"][182, 0][0] == "wood"


def test_the_171_classes_are_the_used_ids_in_order(root: Path) -> None:
    dataset = open_dataset("coco-stuff10k", root, "train")
    assert len(dataset.vocabulary) == 171
    raw = np.array([[0, *USED]], dtype=np.uint8).repeat(2, axis=0)
    save(root, S=raw)
    mask = dataset.read_mask(0)
    assert mask[0].tolist() == [IGNORE_INDEX, *range(171)]
    names = dataset.vocabulary.names
    assert (names[0], names[11], names[80], names[170]) == ("person", "stop sign", "banner", "wood")


def test_all_182_ids_in_the_variant(root: Path) -> None:
    dataset = open_dataset("coco-stuff10k", root, "train", variant="182")
    assert len(dataset.vocabulary) == 182
    save(root, S=np.arange(183, dtype=np.int16)[None])
    assert dataset.read_mask(0)[0].tolist() == [IGNORE_INDEX, *range(182)]
    assert dataset.vocabulary.names[11] == "street sign"
    # A class looks the same in both readings.
    usual = open_dataset("coco-stuff10k", root, "train").vocabulary
    assert (dataset.vocabulary.colors[np.array(USED) - 1] == usual.colors).all()
    with pytest.raises(ConfigError, match="no variant '91'; known: 182"):
        open_dataset("coco-stuff10k", root, "train", variant="91")


def test_unused_ids_are_errors(root: Path) -> None:
    ids = loadmat(str(map_of(root, 1)))["S"]
    ids[:3, :5] = 12
    ids[10:12, :2] = 91
    save(root, S=ids)
    assert "none of the 171 classes has: 12 (15 pixels), 91 (4 pixels)" in message(root)
    assert open_dataset("coco-stuff10k", root, "train", variant="182").read_mask(0)[0, 0] == 11
    ids[0, 0] = 183
    save(root, S=ids)
    assert "none of the 182 classes has: 183 (1 pixels)" in message(root, "182")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_any_type_of_whole_numbers(root: Path, dtype: type) -> None:
    ids = loadmat(str(map_of(root, 1)))["S"]
    before = open_dataset("coco-stuff10k", root, "train").read_mask(0)
    savemat(str(map_of(root, 1)), {"S": ids.astype(dtype)})
    assert (open_dataset("coco-stuff10k", root, "train").read_mask(0) == before).all()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"T": np.zeros((4, 4))}, "variable 'S', the label map, is missing (there: ['T'])"),
        ({"S": np.zeros((4, 4, 3), np.uint8)}, "not 4 x 4 x 3 of uint8"),
        ({"S": np.zeros((0, 4), np.uint8)}, "not 0 x 4 of uint8"),
        ({"S": {"a": 1}}, "not 1 x 1 of struct"),
        ({"S": np.array([["a", 2]], dtype=object)}, "not 1 x 2 of cell"),
        ({"S": "text"}, "of char"),
        ({"S": np.full((4, 4), 1.5)}, "values that are no ids"),
        ({"S": np.full((4, 4), np.nan)}, "values that are no ids"),
        ({"S": np.full((4, 4), np.inf)}, "values that are no ids"),
        ({"S": np.full((4, 4), 1j)}, "values that are no ids"),
        ({"S": np.full((4, 4), -1, np.int8)}, "-1 (16 pixels)"),
        ({"S": np.full((4, 4), 3e9)}, "values that are no ids"),
        ({"S": np.ones((4, 4), np.uint8)}, "the mask is 4 x 4 but the image"),
        (
            {"S": np.ones((48, 64), np.uint8), "names": np.array([["x"]] * 172, dtype=object)},
            "version 1.0 of COCO-Stuff 10K",
        ),
    ],
)
def test_malformed_label_maps(root: Path, content: dict[str, Any], complaint: str) -> None:
    save(root, **content)
    assert complaint in message(root)


def test_damaged_files(root: Path) -> None:
    path = map_of(root, 1)
    whole = path.read_bytes()
    for length in (0, 50, 128, 140, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        message(root)
    assert "the file ends too early" in message(root)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    assert "cannot be read" in message(root)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    assert "format 7.3" in message(root)
    rng = np.random.default_rng(0)
    for _ in range(60):  # compressed variables carry a checksum
        flipped = bytearray(whole)
        flipped[int(rng.integers(136, len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                open_dataset("coco-stuff10k", root, "train")[0]
            except DataError as error:
                assert str(path) in str(error)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", [0, 8, 10, 14, 16, 200, 0xFFFF])
def test_numbers_of_an_unknown_type_do_not_end_the_process(
    root: Path, kind: int, compressed: bool
) -> None:
    """Over these scipy reads memory that is not its own; level 5 counts the types."""
    savemat(str(map_of(root, 1)), {"S": np.ones((48, 64), np.uint8)}, do_compression=False)
    data = map_of(root, 1).read_bytes()
    whole, spoilt = struct.pack("<II", 2, 48 * 64), struct.pack("<II", kind, 48 * 64)
    assert data.count(whole) == 1
    data = data.replace(whole, spoilt)
    if compressed:
        content = zlib.compress(data[128:])
        data = data[:128] + struct.pack("<II", 15, len(content)) + content
    map_of(root, 1).write_bytes(data)
    assert f"numbers of the unknown type {kind}" in message(root)


def test_the_order_of_bytes_is_not_guessed(root: Path) -> None:
    data = map_of(root, 1).read_bytes()
    map_of(root, 1).write_bytes(data[:126] + b"XX" + data[128:])
    assert "the mark of the byte order is missing" in message(root)


def test_a_claimed_size_is_not_believed(root: Path) -> None:
    savemat(str(map_of(root, 1)), {"S": np.ones((4, 4), np.uint8)}, do_compression=False)
    data = map_of(root, 1).read_bytes()
    true, claimed = struct.pack("<ii", 4, 4), struct.pack("<ii", 50_000, 50_000)
    assert data.count(true) == 1
    map_of(root, 1).write_bytes(data.replace(true, claimed))
    assert "'S' claims 50000 x 50000 pixels" in message(root)


def test_missing_files_and_lists(root: Path) -> None:
    listed = root / "imageLists" / "train.txt"
    names = listed.read_text()
    listed.write_text(names + names.splitlines()[1] + "\n")
    with pytest.raises(DataError, match=r"train\.txt: COCO_train2014_000000000002 is listed twice"):
        open_dataset("coco-stuff10k", root, "train")
    listed.write_text("\n")
    with pytest.raises(DataError, match="the split 'train' of coco-stuff10k has no image"):
        open_dataset("coco-stuff10k", root, "train")
    listed.write_text(names)
    map_of(root, 2).unlink()
    with pytest.raises(DataError, match=r"1 of the 3 images .* no map, first COCO_train2014_0+2"):
        open_dataset("coco-stuff10k", root, "train")
    (root / "imageLists" / "test.txt").unlink()
    with pytest.raises(DataError, match=r"test\.txt: the list of the split 'val' cannot be read"):
        open_dataset("coco-stuff10k", root, "val")


def test_table_is_the_official_one(realdata: Path) -> None:
    lines = (realdata / "cocostuff" / "labels.txt").read_text().splitlines()
    official = {int(line.split(": ")[0]): line.split(": ")[1] for line in lines}
    table = load_table("coco-stuff10k")
    assert dict(zip(table["raw_id"], table["name"], strict=True)) == official
    assert table.loc[table["train_id"].isna(), "raw_id"].tolist() == [0, *UNUSED]


def test_real_annotations(realdata: Path, tmp_path: Path) -> None:
    """The real samples are PNGs of the 164k edition: value = id - 1, 255 = unlabeled."""
    source = realdata / "cocostuff"
    names = sorted(path.stem for path in (source / "annotations" / "val2017").glob("*.png"))
    assert names
    for folder in ("images", "annotations", "imageLists"):
        (tmp_path / folder).mkdir()
    (tmp_path / "imageLists" / "test.txt").write_text("\n".join(names))
    pixels = np.zeros(256, np.int64)
    images = np.zeros(256, np.int64)
    for name in names:
        (tmp_path / "images" / f"{name}.jpg").symlink_to(
            source / "images" / "val2017" / f"{name}.jpg"
        )
        png = np.asarray(Image.open(source / "annotations" / "val2017" / f"{name}.png"))
        counts = np.bincount(png.ravel(), minlength=256)
        pixels += counts
        images += counts > 0
        mat = tmp_path / "annotations" / f"{name}.mat"
        savemat(str(mat), {"S": png + np.uint8(1)}, do_compression=True)  # 255 -> 0
    used = np.array(USED) - 1
    for variant, values in (("", used), ("182", np.arange(182))):
        dataset = open_dataset("coco-stuff10k", tmp_path, "val", variant=variant)
        found = count_classes(dataset)
        assert (found.pixels == pixels[values]).all()
        assert (found.images == images[values]).all()
        ignored = sum(int((dataset[i]["mask"] == IGNORE_INDEX).sum()) for i in range(len(dataset)))
        assert ignored == pixels[255] > 0


@pytest.mark.parametrize(("variant", "things"), [("", 80), ("182", 91)])
def test_families_are_told_by_the_raw_ids(root: Path, variant: str, things: int) -> None:
    dataset = open_dataset("coco-stuff10k", root, "val", variant=variant)
    assert isinstance(dataset, CocoStuff10k)
    assert dataset.families == ["things"] * things + ["stuff"] * 91
    assert dataset.vocabulary.names[things - 1 : things + 1] == [
        "toothbrush" if variant == "" else "hair brush",
        "banner",
    ]
