from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.counts import count_classes
from workbench.datasets.lvis_coco import LvisCoco, prepare
from workbench.datasets.lvis_sources import legacy_lookup
from workbench.datasets.shapeworld import write_shapeworld
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table

LvisRoot = Callable[..., Path]
HEIGHT, WIDTH = 40, 50


def box(
    image_id: int, category: int, left: int, top: int, right: int, bottom: int
) -> dict[str, Any]:
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return {"id": 1, "image_id": image_id, "category_id": category, "segmentation": [polygon]}


def everywhere(image_id: int, category: int) -> dict[str, Any]:
    counts = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    return {"id": 2, "image_id": image_id, "category_id": category, "segmentation": counts}


def disk(root: Path, split: str, image_id: int, folder: str = "prepared") -> np.ndarray:
    with Image.open(root / folder / "masks" / split / f"{image_id:012d}.png") as image:
        assert image.mode == "I;16"
        return np.asarray(image)


@pytest.fixture
def root(lvis_root: LvisRoot) -> Path:
    """Things over stuff in both splits; class ids on both sides of 255."""
    return lvis_root(
        things={
            "train": [box(1, 1203, 5, 5, 20, 20), box(1, 3, 10, 10, 30, 30), box(2, 3, 0, 0, 9, 9)],
            "val": [box(3, 1000, 2, 3, 12, 13)],
        },
        stuff={
            "train": [everywhere(1, 182), everywhere(2, 183)],
            "val": [box(3, 182, 0, 0, 25, 40), box(3, 93, 25, 0, 50, 40)],
        },
    )


def test_things_lie_over_stuff_and_the_first_thing_wins(root: Path) -> None:
    report = prepare(root)
    assert (report.images, report.missing_images, report.classes) == (3, 0, 1284)
    assert report.splits == {"train": 2, "val": 1}
    assert report.notes == ()
    expected = np.full((HEIGHT, WIDTH), 1283)  # wood, 182
    expected[10:30, 10:30] = 2
    expected[5:20, 5:20] = 1202
    assert (disk(root, "train", 1) == expected).all()
    ignored = np.full((HEIGHT, WIDTH), 65535)  # "other", 183
    ignored[:9, :9] = 2
    assert (disk(root, "train", 2) == ignored).all()
    merged = np.full((HEIGHT, WIDTH), 1283)
    merged[:, 25:] = 109  # stuff blanket is LVIS blanket
    merged[3:13, 2:12] = 999
    assert (disk(root, "val", 3) == merged).all()


def test_dataset_reads_what_was_prepared(root: Path) -> None:
    prepare(root)
    train = open_dataset("lvis-coco", root, "train")
    assert train.ids == ["000000000001", "000000000002"]
    assert (train[1]["mask"] == IGNORE_INDEX).sum() == HEIGHT * WIDTH - 81
    assert train[0]["mask"].max() == 1283
    assert len(open_dataset("lvis-coco", root.parent, "val")) == 1  # the parent will do
    vocabulary = train.vocabulary
    assert vocabulary.names[1283] == "wood"
    assert vocabulary.groups[109] == "frequent"
    images, pixels = count_classes(train)
    assert vocabulary.table["train_images"].tolist() == images.tolist()
    assert vocabulary.table["train_pixels"].tolist() == pixels.tolist()


def test_tables_on_disk(root: Path) -> None:
    prepare(root)
    folder = root / "prepared"
    images = pd.read_parquet(folder / "images_train.parquet")
    columns = ["id", "image_path", "width", "height", "neg", "not_exhaustive", "classes"]
    assert list(images) == columns
    assert images["image_path"].tolist() == [
        "train2017/000000000001.jpg",
        "train2017/000000000002.jpg",
    ]
    counts = pd.read_parquet(folder / "class_counts.parquet")
    assert list(counts) == ["split", "class_id", "images", "pixels"]
    assert len(counts) == 2 * 1284
    for split, ids in (("train", (1, 2)), ("val", (3,))):
        masks = np.stack([disk(root, split, image_id) for image_id in ids])
        rows = counts[counts["split"] == split].set_index("class_id")
        for class_id in (2, 109, 999, 1202, 1283, 500):
            assert rows.loc[class_id, "pixels"] == (masks == class_id).sum()
            assert rows.loc[class_id, "images"] == (masks == class_id).any(axis=(1, 2)).sum()
    assert len(Vocabulary.from_parquet(folder / "vocabulary.parquet")) == 1284
    everything = "".join(str(path) for path in folder.rglob("*"))
    assert ".tmp" not in everything


def test_split_follows_the_json_not_the_folder(lvis_root: LvisRoot) -> None:
    # 15,000 of LVIS's val images lie in train2017, and so do their stuff annotations.
    images = {
        "train": [{"id": 1, "coco_url": "http://x/train2017/000000000001.jpg"}],
        "val": [{"id": 2, "coco_url": "http://x/train2017/000000000002.jpg"}],
    }
    root = lvis_root(
        things={"train": [box(1, 3, 0, 0, 5, 5)], "val": [box(2, 3, 0, 0, 5, 5)]},
        stuff={"train": [everywhere(1, 94), everywhere(2, 95)], "val": []},
        images=images,
    )
    assert prepare(root).splits == {"train": 1, "val": 1}
    val = open_dataset("lvis-coco", root, "val")
    assert val.image_path(0) == root / "train2017" / "000000000002.jpg"
    assert disk(root, "val", 2)[-1, -1] == 1204


def test_federated_classes_become_train_ids(lvis_root: LvisRoot) -> None:
    entry = {
        "id": 7,
        "file_name": "val2017/000000000007.jpg",
        "coco_url": "http://x/val2017/000000000007.jpg",
        "neg_category_ids": [1, 1203],
        "not_exhaustive_category_ids": [300],
    }
    root = lvis_root(things={"val": [box(7, 300, 0, 0, 9, 9)]}, images={"val": [entry]})
    prepare(root)
    dataset = open_dataset("lvis-coco", root, "val")
    assert dataset.federated(0) == {"neg": [0, 1202], "not_exhaustive": [299]}


def test_missing_pieces_are_reported(root: Path) -> None:
    (root / "train2017" / "000000000002.jpg").unlink()
    (root / "annotations" / "stuff_val2017.json").unlink()
    report = prepare(root)
    assert (report.images, report.missing_images) == (2, 1)
    assert report.notes[0] == (
        "split train: 1 of 2 images are missing (train2017/000000000002.jpg); "
        "missing_train.txt names them all"
    )
    named = (root / "prepared" / "missing_train.txt").read_text()
    assert named == "train2017/000000000002.jpg\n"
    assert not (root / "prepared" / "missing_val.txt").exists()
    assert any("stuff_val2017.json is missing" in note for note in report.notes)
    assert open_dataset("lvis-coco", root, "train").ids == ["000000000001"]
    assert set(np.unique(disk(root, "val", 3))) == {999, 65535}
    (root / "lvis_v1_train.json").unlink()
    report = prepare(root)
    assert report.splits == {"val": 1}
    assert "split train skipped: lvis_v1_train.json is missing" in report.notes
    with pytest.raises(DataError, match="split 'train' is not prepared"):
        open_dataset("lvis-coco", root, "train")
    (root / "lvis_v1_val.json").unlink()
    with pytest.raises(DataError, match="nothing to prepare"):
        prepare(root)
    with pytest.raises(DataError, match="nowhere: the folder is missing"):
        prepare(root / "nowhere")


def test_second_call_reuses_masks_and_remakes_torn_ones(root: Path) -> None:
    prepare(root)
    kept = root / "prepared/masks/train/000000000001.png"
    torn = root / "prepared/masks/val/000000000003.png"
    os.utime(kept, (1, 1))
    whole = torn.read_bytes()
    torn.write_bytes(whole[:30])
    before = pd.read_parquet(root / "prepared/class_counts.parquet")
    report = prepare(root)
    assert (report.images, report.reused_masks) == (3, 2)
    assert kept.stat().st_mtime == 1
    assert torn.read_bytes() == whole
    pd.testing.assert_frame_equal(pd.read_parquet(root / "prepared/class_counts.parquet"), before)


def test_changed_annotations_remake_every_mask(root: Path) -> None:
    prepare(root)
    path = root / "lvis_v1_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 1001
    path.write_text(json.dumps(content))
    report = prepare(root)
    assert report.reused_masks == 0
    assert 1000 in disk(root, "val", 3)
    assert 999 not in disk(root, "val", 3)


def test_masks_of_unknown_origin_are_not_deleted(root: Path) -> None:
    (root / "prepared" / "masks").mkdir(parents=True)
    (root / "prepared" / "masks" / "precious.png").touch()
    with pytest.raises(DataError, match="masks of unknown origin"):
        prepare(root)
    assert (root / "prepared" / "masks" / "precious.png").exists()


def in_place(stuff_ids: list[int], merged: dict[int, int]) -> np.ndarray:
    """The published script's loop, as a reader of it would write it down."""
    mask = np.array(stuff_ids)
    for raw in range(92, 183):
        mask[mask == raw] = merged[raw]
    return mask


def test_legacy_lookup_is_the_in_place_loop() -> None:
    rows = load_table("lvis-coco")
    rows = rows[(rows["source"] == "stuff") & rows["train_id"].notna()]
    raw = rows["raw_id"].to_numpy(dtype=np.int64)
    merged = rows["train_id"].to_numpy(dtype=np.int64) + 1
    legacy = legacy_lookup(raw, merged)
    oracle = in_place(raw.tolist(), dict(zip(raw.tolist(), merged.tolist(), strict=True)))
    assert legacy.tolist() == oracle.tolist()
    changed = {
        int(a): (int(b), int(c)) for a, b, c in zip(raw, merged, legacy, strict=True) if b != c
    }
    assert changed == {93: (110, 1217), 98: (181, 1283)}


def test_legacy_masks_reproduce_both_published_mislabellings(lvis_root: LvisRoot) -> None:
    stripes = [93, 98, 110, 181, 92, 182]
    stuff = [box(1, raw, 8 * n, 0, 8 * n + 8, HEIGHT) for n, raw in enumerate(stripes)]
    root = lvis_root(
        things={"train": [box(1, 110, 0, 0, 50, 4)]}, stuff={"train": stuff}, size=(HEIGHT, WIDTH)
    )
    prepare(root)
    prepare(root, legacy_remap=True)
    columns = np.arange(6) * 8 + 4
    raw = disk(root, "train", 1, "prepared_legacy")
    assert raw[20, columns].tolist() == [1217, 1283, 1217, 1283, 50, 1284]
    assert raw[20, 49] == 0  # ignored
    assert raw[2, columns].tolist() == [110] * 6  # LVIS's own blanket was never remapped
    ours = disk(root, "train", 1)
    assert ours[20, columns].tolist() == [109, 180, 1216, 1282, 49, 1283]
    legacy = LvisCoco(root, "train", prepared="prepared_legacy")
    sample = legacy[0]["mask"]
    assert sample[20, columns].tolist() == [1216, 1282, 1216, 1282, 49, 1283]
    assert sample[20, 49] == IGNORE_INDEX
    assert legacy.classes_in(0).tolist() == [49, 109, 1216, 1282, 1283]
    right = open_dataset("lvis-coco", root, "train")
    assert legacy.vocabulary.names == right.vocabulary.names
    assert legacy.vocabulary.groups == right.vocabulary.groups
    assert count_classes(legacy)[1].tolist() == legacy.vocabulary.table["train_pixels"].tolist()


def write_mapping(root: Path, lines: list[str]) -> None:
    (root / "mapping.csv").write_text("\n".join(lines) + "\n")


def test_own_mapping_wins_and_groups_come_from_counts(lvis_root: LvisRoot) -> None:
    def things(count: int, category: int) -> list[dict[str, Any]]:
        return [box(image_id, category, 0, 0, 20, 20) for image_id in range(1, count + 1)]

    everyday = [dict(item, category_id=22) for item in things(101, 22)]
    common = [dict(item, segmentation=[[25, 0, 45, 0, 45, 20, 25, 20]]) for item in things(11, 21)]
    rare = [dict(item, segmentation=[[0, 25, 20, 25, 20, 39, 0, 39]]) for item in things(10, 20)]
    root = lvis_root(
        things={"train": [*everyday, *common, *rare]},
        stuff={"train": [everywhere(1, 92)]},
    )
    write_mapping(
        root,
        [
            "source,raw_id,train_id,name,hue",
            "stuff,92,3,sea,blue",
            "stuff,93,2,ball,",
            "lvis,20,0,cube,red",
            "lvis,21,1,cone,green",
            "lvis,22,2,sphere,",
        ],
    )
    report = prepare(root)
    assert report.classes == 4
    vocabulary = open_dataset("lvis-coco", root, "train").vocabulary
    assert vocabulary.names == ["cube", "cone", "sphere", "sea"]
    assert vocabulary.groups == ["rare", "common", "frequent", "stuff"]
    assert vocabulary.table["hue"].tolist() == ["red", "green", "", "blue"]
    assert vocabulary.table["train_images"].tolist() == [10, 11, 101, 1]


def test_group_column_of_the_mapping_wins(root: Path) -> None:
    table = load_table("lvis-coco")
    table["group"] = [
        "odd" if raw == 1203 else group
        for raw, group in zip(table["raw_id"], table["group"], strict=True)
    ]
    table.to_csv(root / "mapping.csv", index=False)
    prepare(root)
    assert open_dataset("lvis-coco", root, "val").vocabulary.groups[1202] == "odd"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["raw_id,train_id,name", "1,0,a"], "column 'source' is missing"),
        (["source,raw_id,train_id,name", "coco,1,0,a"], "source 'coco' is unknown"),
        (
            ["source,raw_id,train_id,name", "lvis,3,0,a"],
            r"lvis_v1_train\.json: category_id 1203 \(image 1\) is not among the lvis",
        ),
        (
            ["source,raw_id,train_id,name", "lvis,3,0,a", "lvis,1203,1,b", "lvis,1000,2,c"],
            r"stuff_train2017\.json: category_id 182 \(image 1\) is not among the stuff",
        ),
    ],
)
def test_faulty_mappings_are_named(root: Path, lines: list[str], message: str) -> None:
    write_mapping(root, lines)
    with pytest.raises(DataError, match=message):
        prepare(root)
    assert not (root / "prepared").exists()


@pytest.mark.parametrize(
    "place",
    [
        {"file_name": "../../secret.jpg"},
        {"coco_url": "../1.jpg"},
        {"coco_url": "http://x/../1.jpg"},
    ],
)
def test_paths_out_of_the_root_are_refused(lvis_root: LvisRoot, place: dict[str, str]) -> None:
    root = lvis_root(things={"val": [box(1, 3, 0, 0, 9, 9)]})
    path = root / "lvis_v1_val.json"
    content = json.loads(path.read_text())
    content["images"][0] = {"id": 1, "height": HEIGHT, "width": WIDTH} | place
    path.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"lvis_v1_val\.json: image 1: .* leads out of the data root"
    ):
        prepare(root)


def test_unprepared_roots_say_what_to_run(root: Path) -> None:
    with pytest.raises(DataError, match=r"run: workbench prepare lvis-coco .*coco"):
        open_dataset("lvis-coco", root, "train")


def test_8_bit_masks_are_refused(root: Path) -> None:
    prepare(root)
    path = root / "prepared/masks/train/000000000001.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)
    with pytest.raises(DataError, match="has 8 bits, too few for 1284 classes"):
        open_dataset("lvis-coco", root, "train")[0]


def test_ids_outside_the_vocabulary_are_refused(root: Path) -> None:
    prepare(root)
    path = root / "prepared/masks/train/000000000001.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 1284, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"1284 \(2000 pixels\)"):
        open_dataset("lvis-coco", root, "train")[0]


def test_more_classes_than_16_bits(lvis_root: LvisRoot) -> None:
    root = lvis_root(things={"train": [box(1, 70_000, 0, 0, 9, 9), box(1, 65_536, 9, 0, 18, 9)]})
    rows = [f"lvis,{raw},{raw - 1},class {raw}" for raw in range(1, 70_001)]
    write_mapping(root, ["source,raw_id,train_id,name", *rows])
    prepare(root)
    mask = open_dataset("lvis-coco", root, "train")[0]["mask"]
    assert mask[4, [4, 12, 30]].tolist() == [69_999, 65_535, IGNORE_INDEX]


def test_shapeworld_is_prepared_by_the_same_code(tmp_path: Path) -> None:
    root = tmp_path / "world"
    write_shapeworld(root, images=30, val_images=20, size=48, classes=1284, workers=1)
    report = prepare(root, workers=1)
    assert report.splits == {"train": 30, "val": 20}
    dataset = open_dataset("shapeworld", root, "train")
    assert len(dataset.vocabulary) == 1284
    assert {"shape", "hue", "texture"} <= set(dataset.vocabulary.table)
    ignored = [
        float((sample["mask"] == IGNORE_INDEX).float().mean())
        for sample in (dataset[index] for index in range(len(dataset)))
    ]
    assert np.mean(ignored) < 0.05
    assert (count_classes(dataset)[1] == dataset.vocabulary.table["train_pixels"]).all()
    assert dataset.federated(0) is None  # generated scenes are labelled whole
