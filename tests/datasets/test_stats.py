from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench.colors import GROUPS
from workbench.datasets import open_dataset, prepare, write_sample
from workbench.datasets.counts import ClassCounts, count_classes
from workbench.datasets.stats import class_table, color_statistics, group_table, write_stats
from workbench.datasets.stats_picture import draw_stats
from workbench.datasets.twins import write_twin
from workbench.errors import ConfigError, DataError
from workbench.vocabulary import Vocabulary, load_table

Cli = Callable[..., Any]
ABSENT = (238, 240, 243)  # the ground behind classes that do not occur


@pytest.fixture(scope="module")
def shapeworld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 classes, of which 20 images cannot show all."""
    root = tmp_path_factory.mktemp("world") / "shapeworld"
    write_sample("shapeworld", root, images=20, val_images=4, size=48, classes=300)
    prepare("shapeworld", root, workers=1)
    return root


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the numbers alone: drawing takes most of the time."""
    monkeypatch.setattr("workbench.datasets.stats_picture.draw_stats", lambda *_: b"")


def vocabulary(groups: list[str], names: list[str] | None = None) -> Vocabulary:
    rows = range(len(groups))
    names = names or [f"class {row}" for row in rows]
    return Vocabulary.from_table(
        pd.DataFrame({"raw_id": rows, "train_id": rows, "name": names, "group": groups})
    )


def pixels_of(png: bytes, color: tuple[int, ...]) -> int:
    with Image.open(io.BytesIO(png)) as image:
        return int((np.asarray(image.convert("RGB")) == color).all(axis=-1).sum())


def rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def test_counts_are_those_of_the_masks(tmp_path: Path) -> None:
    root = write_twin("ade20k", tmp_path / "ade", images=5)
    values = write_stats("ade20k", root)
    folder = root / "ADEChallengeData2016" / "annotations" / "training"
    masks = [np.asarray(Image.open(path)) for path in folder.iterdir()]
    pixels = np.sum([np.bincount(mask.ravel(), minlength=151) for mask in masks], axis=0)[1:]
    images = np.sum([np.isin(np.arange(1, 151), mask) for mask in masks], axis=0)
    table = pd.read_parquet(values["table"])
    assert list(table)[:4] == ["class_id", "name", "group", "supercategory"]
    assert table["class_id"].tolist() == list(range(150))
    assert table["name"][20] == "car"
    assert table["pixels"].tolist() == pixels.tolist()
    assert table["images"].tolist() == images.tolist()
    assert np.allclose(table["pixel_share"], pixels / pixels.sum())
    assert values["labelled_pixels"] == pixels.sum()
    assert values["present"] == (images > 0).sum() < values["classes"] == 150
    assert values["images"] == 5
    assert Path(values["table"]) == root / "stats" / "stats_train.parquet"
    assert sorted(path.name for path in (root / "stats").iterdir()) == [
        "stats_train.parquet",
        "stats_train.png",
    ]
    with Image.open(values["picture"]) as picture:
        assert picture.size == (1950, 1290)


@pytest.mark.usefixtures("no_picture")
def test_groups(shapeworld: Path, tmp_path: Path) -> None:
    values = write_stats("shapeworld", shapeworld, split="val", out=tmp_path)
    table = pd.read_parquet(tmp_path / "stats_val.parquet")
    masks = np.stack(
        [np.asarray(Image.open(path)) for path in (shapeworld / "prepared/masks/val").iterdir()]
    )
    assert masks[masks != 65535].max() > 255
    assert [row["group"] for row in values["groups"]] == ["rare", "common", "frequent", "stuff"]
    for row in values["groups"]:
        ids = table.loc[table["group"] == row["group"], "class_id"].to_numpy()
        assert row["classes"] == len(ids)
        assert row["pixels"] == np.isin(masks, ids).sum()
        assert row["present"] == np.isin(ids, masks).sum()
        assert row["class_images"] == sum(int(np.isin(ids, mask).sum()) for mask in masks)
    assert sum(row["pixel_share"] for row in values["groups"]) == pytest.approx(1)


@pytest.mark.usefixtures("no_picture")
def test_prepared_counts_are_used_where_they_are(shapeworld: Path, tmp_path: Path) -> None:
    dataset = open_dataset("shapeworld", shapeworld, "train")
    known = dataset.known_counts()
    assert known is not None
    counted = count_classes(dataset)
    assert known.images.tolist() == counted.images.tolist()
    assert known.pixels.tolist() == counted.pixels.tolist()
    path = shapeworld / "prepared" / "class_counts.parquet"
    whole = path.read_bytes()
    table = pd.read_parquet(path)
    table.loc[(table["split"] == "train") & (table["class_id"] == 299), "pixels"] = 10**12
    table.sample(frac=1, random_state=0).to_parquet(path)
    assert write_stats("shapeworld", shapeworld, out=tmp_path)["labelled_pixels"] > 10**12
    for damage in (whole[:100], None):
        path.write_bytes(damage) if damage else table.iloc[5:].to_parquet(path)
        with pytest.raises(DataError, match=r"class_counts\.parquet: is damaged"):
            write_stats("shapeworld", shapeworld, out=tmp_path)
    prepare("shapeworld", shapeworld, workers=1)  # as the message says
    assert write_stats("shapeworld", shapeworld, out=tmp_path)["labelled_pixels"] < 10**6


@pytest.mark.usefixtures("no_picture")
def test_variants_have_files_of_their_own(tmp_path: Path) -> None:
    root = write_twin("coco-stuff10k", tmp_path / "stuff", images=2)
    usual, other = (write_stats("coco-stuff10k", root, variant=name) for name in ("", "182"))
    assert (usual["classes"], other["classes"]) == (171, 182)
    assert other["table"].endswith("stats_train_182.parquet")
    assert len(list((root / "stats").iterdir())) == 4


@pytest.mark.usefixtures("no_picture")
def test_errors(tmp_path: Path) -> None:
    root = write_twin("ade20k", tmp_path / "ade", images=1)
    with pytest.raises(ConfigError, match="no split 'test'"):
        write_stats("ade20k", root, split="test")
    with pytest.raises(DataError, match="must hold ADEChallengeData2016"):
        write_stats("ade20k", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"stats: cannot be written .*--out"):
        write_stats("ade20k", root, out=tmp_path / "file" / "stats")


def test_a_picture_that_fails_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_twin("ade20k", tmp_path / "ade", images=1)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_stats("ade20k", root)
    assert list((root / "stats").iterdir()) == []


def test_the_picture_has_each_group_in_its_colour() -> None:
    groups = ["rare"] * 20 + ["common"] * 20 + ["frequent"] * 20 + ["stuff"] * 4
    counts = np.arange(64) + 1
    full = draw_stats(class_table(vocabulary(groups), ClassCounts(counts, counts)), "x", 64)
    assert all(pixels_of(full, rgb(GROUPS[group])) > 5_000 for group in set(groups))
    assert pixels_of(full, ABSENT) == 0
    none = np.where(np.array(groups) == "stuff", 0, counts)
    part = draw_stats(class_table(vocabulary(groups), ClassCounts(none, none)), "x", 64)
    assert pixels_of(part, ABSENT) > 5_000
    assert pixels_of(part, rgb(GROUPS["stuff"])) < 1_000  # only its square in the legend


def test_taller_bars_for_larger_counts() -> None:
    heights = []
    for count in (10, 1_000):
        counts = np.array([100_000, count, 1])
        table = class_table(vocabulary(["rare", "common", "rare"]), ClassCounts(counts, counts))
        heights.append(pixels_of(draw_stats(table, "x", 3), rgb(GROUPS["common"])))
    # Lengths go with the logarithm, from 0.7 at the foot: 1.15 and 3.15 decades.
    assert heights[1] / heights[0] == pytest.approx(3.155 / 1.155, rel=0.05)


@pytest.mark.parametrize("classes", [1, 1284])
def test_any_number_of_classes_and_any_name(classes: int) -> None:
    names = ["$1 and $2", "分割", "two\nlines", "long " * 30]
    names += [f"_{number}^{{" for number in range(classes)]
    counts = np.arange(classes) % 700 * 10**7
    table = class_table(vocabulary(["all"] * classes, names[:classes]), ClassCounts(counts, counts))
    with Image.open(io.BytesIO(draw_stats(table, "a $ {b}", 0))) as picture:
        assert picture.size == (1950, 1290)


def test_group_table_counts_what_is_absent() -> None:
    counts = np.array([0, 4, 0, 6])
    table = class_table(
        vocabulary(["stuff", "rare", "rare", "own"]), ClassCounts(counts, counts * 10)
    )
    assert group_table(table).to_dict("records") == [
        {
            "group": "rare",
            "classes": 2,
            "present": 1,
            "class_images": 4,
            "pixels": 40,
            "pixel_share": 0.4,
        },
        {
            "group": "stuff",
            "classes": 1,
            "present": 0,
            "class_images": 0,
            "pixels": 0,
            "pixel_share": 0.0,
        },
        {
            "group": "own",
            "classes": 1,
            "present": 1,
            "class_images": 6,
            "pixels": 60,
            "pixel_share": 0.6,
        },
    ]


@pytest.mark.usefixtures("no_picture")
def test_the_command(cli: Cli, shapeworld: Path, tmp_path: Path) -> None:
    done = cli("data", "stats", "shapeworld", shapeworld, "--split", "val", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 images" in done.stdout
    assert "frequent" in done.stdout
    done = cli("data", "stats", "shapeworld", shapeworld, "--out", tmp_path, "--json")
    values = json.loads(done.stdout)
    assert values["classes"] == 300
    assert {row["group"] for row in values["groups"]} == {"rare", "common", "frequent", "stuff"}
    assert (tmp_path / "stats_train.png").is_file()
    failed = cli("data", "stats", "voc", tmp_path)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)


@pytest.mark.usefixtures("no_picture")
def test_real_files(realdata: Path, tmp_path: Path) -> None:
    values = write_stats("voc", realdata / "voc", split="trainval", out=tmp_path)
    folder = realdata / "voc" / "VOCdevkit" / "VOC2012"
    names = (folder / "ImageSets" / "Segmentation" / "trainval.txt").read_text().split()
    masks = [np.asarray(Image.open(folder / f"SegmentationClass/{name}.png")) for name in names]
    expected = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)[:21]
    table = pd.read_parquet(values["table"])
    assert table["pixels"].tolist() == expected.tolist()
    assert table["name"].tolist() == load_table("voc")["name"].tolist()[:21]


def test_color_statistics_are_those_of_all_pixels(tmp_path: Path) -> None:
    root = write_twin("voc", tmp_path, images=2, size=(40, 50))
    dataset = open_dataset("voc", root, "val")
    for index, shape in enumerate([(40, 50), (64, 32)]):  # the larger one counts for more
        pixels = np.random.default_rng(index).integers(0, 100 + 100 * index, (*shape, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(dataset.image_path(index), quality=95)
    pictures = [np.asarray(Image.open(dataset.image_path(index))) for index in range(2)]
    stacked = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255
    mean, std = color_statistics(dataset)
    np.testing.assert_allclose(mean, stacked.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, stacked.std(axis=0), rtol=1e-9)
