"""ShapeWorld writes LVIS + COCO-Stuff files that hold what was drawn and what was promised."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools.coco import COCO

from workbench.datasets.shapeworld import class_table, write_shapeworld
from workbench.datasets.shapeworld_classes import HUES, class_groups, class_looks
from workbench.datasets.shapeworld_plan import plan_train, plan_val, train_counts
from workbench.datasets.shapeworld_render import least_visible
from workbench.errors import ConfigError, DataError

# pycocotools' decode still has the array protocol of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = 320  # 300 things and 20 stuff: train ids above 255 are things and stuff
SIZE = 96


def read_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "shapeworld"
    report = write_shapeworld(out, images=40, size=SIZE, classes=CLASSES, seed=3, workers=1)
    assert report.dropped == 0
    assert report.scarce_val == 0
    return out


@pytest.fixture(scope="module")
def mapping(world: Path) -> pd.DataFrame:
    return pd.read_csv(world / "mapping.csv", keep_default_na=False)


def merged_mask(
    world: Path, split: str, image_id: int, lvis: COCO, stuff: COCO, mapping: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Train ids of every pixel (-1 where none) and how many masks claim it."""
    lookup = {(r.source, r.raw_id): r.train_id for r in mapping.itertuples()}
    ids = np.full((SIZE, SIZE), -1, dtype=np.int64)
    claims = np.zeros((SIZE, SIZE), dtype=np.int64)
    for source, coco in (("stuff", stuff), ("lvis", lvis)):
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            assert annotation["bbox"] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
            ids[mask] = lookup[source, annotation["category_id"]]
            claims += mask
    return ids, claims


def test_same_bytes_for_any_number_of_workers(tmp_path: Path, world: Path) -> None:
    again = tmp_path / "again"
    write_shapeworld(again, images=40, size=SIZE, classes=CLASSES, seed=3, workers=2)
    assert digest(again) == digest(world)


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_shapeworld(tmp_path / str(seed), images=4, val_images=2, classes=12, seed=seed)
    one, two = digest(tmp_path / "0"), digest(tmp_path / "1")
    assert one.keys() == two.keys()
    assert one["train2017/000000000001.jpg"] != two["train2017/000000000001.jpg"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_masks_are_disjoint_and_cover_every_pixel(
    world: Path, mapping: pd.DataFrame, split: str
) -> None:
    lvis = read_coco(world / f"lvis_v1_{split}.json")
    stuff = read_coco(world / "annotations" / f"stuff_{split}2017.json")
    assert sorted(lvis.imgs) == sorted(stuff.imgs)
    seen: set[int] = set()
    for image_id, record in lvis.imgs.items():
        ids, claims = merged_mask(world, split, image_id, lvis, stuff, mapping)
        assert (claims == 1).all()
        assert ids.min() >= 0
        seen.update(np.unique(ids).tolist())
        path = world.joinpath(*record["coco_url"].split("/")[-2:])
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert image.size == (record["width"], record["height"]) == (SIZE, SIZE)
    assert max(seen) == CLASSES - 1
    assert sum(i > 255 for i in seen) >= 40


def test_masks_show_the_colour_they_name(world: Path, mapping: pd.DataFrame) -> None:
    """A plain thing has its hue: nearer to it than to the other hues, pixel by pixel."""
    lvis = read_coco(world / "lvis_v1_val.json")
    plain = mapping[(mapping["source"] == "lvis") & (mapping["texture"] == "plain")]
    hue_of = dict(zip(plain["raw_id"], plain["hue"], strict=True))
    hues = np.array(list(HUES.values()), dtype=float)
    names = list(HUES)
    right = total = 0
    for annotation in lvis.anns.values():
        if annotation["category_id"] not in hue_of:
            continue
        path = world / "val2017" / f"{annotation['image_id']:012d}.jpg"
        pixels = np.asarray(Image.open(path), dtype=float)[lvis.annToMask(annotation) == 1]
        nearest = np.linalg.norm(pixels[:, None] - hues, axis=2).argmin(axis=1)
        right += int((nearest == names.index(hue_of[annotation["category_id"]])).sum())
        total += len(pixels)
    assert total > 10_000
    assert right / total > 0.9


def test_every_class_is_visible_in_three_val_images(world: Path, mapping: pd.DataFrame) -> None:
    lvis = read_coco(world / "lvis_v1_val.json")
    stuff = read_coco(world / "annotations" / "stuff_val2017.json")
    for source, coco in (("lvis", lvis), ("stuff", stuff)):
        for raw_id in mapping.loc[mapping["source"] == source, "raw_id"]:
            large = {
                a["image_id"]
                for a in coco.anns.values()
                if a["category_id"] == raw_id and a["area"] >= least_visible(SIZE)
            }
            assert len(large) >= 3, (source, raw_id)


def test_json_has_the_official_fields(world: Path, mapping: pd.DataFrame) -> None:
    lvis = json.loads((world / "lvis_v1_train.json").read_text())
    image = lvis["images"][0]
    assert "file_name" not in image
    assert image["coco_url"].endswith("/train2017/000000000001.jpg")
    present = {a["category_id"] for a in lvis["annotations"] if a["image_id"] == image["id"]}
    assert image["neg_category_ids"]
    assert not present & set(image["neg_category_ids"])
    assert image["not_exhaustive_category_ids"] == []
    assert len({a["id"] for a in lvis["annotations"]}) == len(lvis["annotations"])

    images_of: dict[int, set[int]] = {}
    for annotation in lvis["annotations"]:
        images_of.setdefault(annotation["category_id"], set()).add(annotation["image_id"])
    groups = dict(zip(mapping["name"], mapping["group"], strict=True))
    for category in lvis["categories"]:
        assert category["image_count"] == len(images_of.get(category["id"], ()))
        assert category["instance_count"] >= category["image_count"]
        group = groups[category["name"].replace("_", " ")]
        assert category["frequency"] == group[0]
        assert category["synset"].endswith(".n.01")
        assert category["synonyms"]

    stuff = json.loads((world / "annotations" / "stuff_train2017.json").read_text())
    assert [c["id"] for c in stuff["categories"]] == list(range(92, 92 + 20))
    assert stuff["images"][0]["file_name"] == "000000000001.jpg"
    assert not list(world.rglob(".tmp-*"))


def test_reference_classes_have_the_proportions_of_lvis() -> None:
    table = class_table(1284)
    assert list(table["class_id"]) == list(range(1284))
    assert table["name"].is_unique
    assert table["group"].value_counts().to_dict() == {
        "common": 461,
        "frequent": 405,
        "rare": 337,
        "stuff": 81,
    }
    assert list(table["source"]) == ["lvis"] * 1203 + ["stuff"] * 81
    assert table.loc[1203, "raw_id"] == 92
    things = table[:1203]
    assert (things["supercategory"] == things["shape"]).all()
    assert (things["shape"].nunique(), things["hue"].nunique()) == (17, 12)
    assert things["texture"].nunique() == 6
    assert table["color"].str.fullmatch("#[0-9a-f]{6}").all()
    # Rarity says nothing about looks: every shape, hue and texture is in every group.
    for factor in ("shape", "hue", "texture"):
        assert (pd.crosstab(things[factor], things["group"]) > 0).all(axis=None)
    pd.testing.assert_frame_equal(table, class_table(1284))
    assert (class_table(1284, seed=1)["group"] != table["group"]).any()


@pytest.mark.parametrize("classes", [4, 5, 7, 21, 150, 1285, 6000, 100_000])
def test_any_class_count_has_unique_looks_and_names(classes: int) -> None:
    looks = class_looks(classes)
    assert len(looks) == classes
    assert len(looks.stuff) >= 2
    assert len(np.unique(looks.things, axis=0)) == len(looks.things)
    assert len(np.unique(looks.stuff, axis=0)) == len(looks.stuff)
    if classes <= 6000:
        assert class_table(classes)["name"].is_unique


def test_plan_at_the_reference_size_is_long_tailed() -> None:
    groups = class_groups(1203)
    counts = train_counts(groups, 9600, np.random.default_rng(0))
    bounds = {"rare": (1, 10), "common": (11, 100), "frequent": (101, 200)}
    for group, (low, high) in bounds.items():
        own = counts[groups == group]
        assert low <= own.min() <= 1.1 * low
        assert 0.9 * high <= own.max() <= high
    assert 8.0 <= counts.sum() / 9600 <= 8.6

    plan = plan_train(groups, 81, 9600, np.random.default_rng(0))
    assert all(len(set(row)) == len(row) for row in plan.things)
    dealt = np.bincount(np.concatenate(plan.things), minlength=1203)
    np.testing.assert_array_equal(dealt, counts)
    assert {len(row) for row in plan.stuff} == {1, 2}
    val = plan_val(1203, 81, 632, np.random.default_rng(0))
    assert np.bincount(np.concatenate(val.things), minlength=1203).min() >= 3


def test_more_classes_than_room_leaves_the_rarest_out(tmp_path: Path) -> None:
    report = write_shapeworld(tmp_path / "w", images=20, val_images=5, size=64, classes=1284)
    assert report.absent_train > 0
    assert report.scarce_val > 0
    lvis = json.loads((tmp_path / "w" / "lvis_v1_train.json").read_text())
    absent = {c["frequency"] for c in lvis["categories"] if c["image_count"] == 0}
    shown = {c["frequency"] for c in lvis["categories"] if c["image_count"]}
    assert "r" in absent
    assert shown == {"f"}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "w"
    write_shapeworld(out, images=2, val_images=1, size=32, classes=4)
    before = digest(out)
    write_shapeworld(out, images=2, val_images=1, size=32, classes=4)  # begun earlier: go on
    assert digest(out) == before
    with pytest.raises(DataError, match="other settings"):
        write_shapeworld(out, images=3, val_images=1, size=32, classes=4)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.jpg").touch()
    with pytest.raises(DataError, match="not empty"):
        write_shapeworld(other)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"classes": 3}, "classes"),
        ({"images": 0}, "images"),
        ({"val_images": 0}, "val_images"),
        ({"size": 8}, "size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_name_the_field(tmp_path: Path, settings: dict[str, int], field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: "):
        write_shapeworld(tmp_path / "w", **settings)
    assert not (tmp_path / "w").exists()


def test_a_hundred_images_a_second_on_one_core(tmp_path: Path) -> None:
    """Measured 180 a second; CPU time and a wide margin, so that a busy machine passes."""
    write_shapeworld(tmp_path / "warm", images=4, val_images=4, workers=1)
    began = time.process_time()
    write_shapeworld(tmp_path / "timed", images=200, val_images=40, workers=1)
    rate = 240 / (time.process_time() - began)
    assert rate > (40 if os.environ.get("CI") else 60)
