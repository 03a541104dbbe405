from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import DATASETS, get_dataset, open_dataset, prepare, write_sample
from workbench.datasets.counts import count_classes
from workbench.datasets.images import read_image, read_mask, write_mask
from workbench.datasets.twins import write_twin
from workbench.errors import ConfigError, DataError


@pytest.fixture
def ade(tmp_path: Path) -> Path:
    return write_twin("ade20k", tmp_path / "ade", images=2)


def first_mask(root: Path) -> Path:
    return root / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png"


def first_image(root: Path) -> Path:
    return root / "ADEChallengeData2016/images/training/ADE_train_00000001.jpg"


def test_registry_opens_every_class_and_lists_the_known_ones() -> None:
    for key in DATASETS:
        assert get_dataset(key).key == key
    with pytest.raises(ConfigError, match="called 'ade'; known: ade20k, cityscapes, "):
        get_dataset("ade")


def test_samples_are_uint8_and_int64_with_train_ids(ade: Path) -> None:
    dataset = open_dataset("ade20k", ade, "train")
    sample = dataset[1]
    raw = np.asarray(Image.open(first_mask(ade).with_name("ADE_train_00000002.png")))
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].shape == (3, *raw.shape)
    assert sample["mask"].dtype == torch.int64
    expected = raw.astype(np.int64) - 1
    expected[raw == 0] = IGNORE_INDEX
    assert (sample["mask"].numpy() == expected).all()
    assert 149 in expected
    assert (sample["id"], sample["index"]) == ("ADE_train_00000002", 1)
    pixels = np.asarray(Image.open(dataset.image_path(1)).convert("RGB"))
    assert (sample["image"].permute(1, 2, 0).numpy() == pixels).all()


def test_transform_gets_image_and_mask_and_pickles_for_spawned_workers(ade: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset("ade20k", ade, "val")))
    dataset.transform = lambda image, mask: (image[:, :5, :7], mask[:5, :7])
    assert dataset[0]["image"].shape == (3, 5, 7)
    assert dataset[0]["mask"].shape == (5, 7)
    with pytest.raises(IndexError):
        dataset[2]


def test_unknown_split_and_missing_folder(ade: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no split 'test'; known: train, val"):
        open_dataset("ade20k", ade, "test")
    with pytest.raises(DataError, match=r"nowhere: the folder is missing.*ADEChallengeData2016"):
        open_dataset("ade20k", tmp_path / "nowhere", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no ade20k; data\.root must hold"):
        open_dataset("ade20k", tmp_path / "empty", "train")


def test_ids_outside_the_vocabulary_are_named_with_their_pixels(ade: Path) -> None:
    mask = np.array(Image.open(first_mask(ade)))
    mask[:2, :3] = 151
    mask[5, 5] = 255
    Image.fromarray(mask).save(first_mask(ade))
    dataset = open_dataset("ade20k", ade, "train")
    with pytest.raises(
        DataError, match=r"00000001\.png.*150 classes.*151 \(6 pixels\), 255 \(1 pix"
    ):
        dataset[0]


def test_mask_of_another_size_is_refused(ade: Path) -> None:
    Image.fromarray(np.zeros((48, 63), np.uint8)).save(first_mask(ade))
    with pytest.raises(DataError, match=r"mask is 63 x 48 but the image .* is 64 x 48"):
        open_dataset("ade20k", ade, "train")[0]


def test_colour_masks_are_refused(ade: Path) -> None:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(first_mask(ade))
    with pytest.raises(DataError, match=r"00000001\.png.*colour picture \(mode RGB\)"):
        open_dataset("ade20k", ade, "train")[0]


def test_truncated_and_foreign_files_are_named(ade: Path) -> None:
    path = first_image(ade)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"00000001\.jpg: cannot be decoded"):
        open_dataset("ade20k", ade, "train")[0]
    path.write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"00000001\.jpg: cannot be decoded"):
        open_dataset("ade20k", ade, "train")[0]
    mask = first_mask(ade)
    mask.write_bytes(mask.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"00000001\.png: cannot be decoded"):
        read_mask(mask)


@pytest.mark.parametrize("side", [9_600, 12_000, 60_000])
def test_decompression_bombs_are_refused(
    tmp_path: Path, side: int, png_header: Callable[[int, int], bytes]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"bomb\.png") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "LA"])
def test_every_kind_of_8_bit_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.png" if mode != "CMYK" else "image.jpg")
    picture = Image.new("RGB", (9, 7), (102, 102, 102)).convert(mode)
    picture.save(path)
    read = read_image(path)
    assert (read.mode, read.size) == ("RGB", (9, 7))
    assert np.abs(np.asarray(read).astype(int) - 102).max() <= 3


def test_16_bit_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "depth.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(tmp_path / "depth.png")


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").size == (20, 10)


@pytest.mark.parametrize(
    ("name", "dtype", "largest"), [("m.png", np.uint16, 65535), ("m.tif", np.int32, 999_999)]
)
def test_masks_survive_the_disk(tmp_path: Path, name: str, dtype: type, largest: int) -> None:
    mask = np.random.default_rng(0).integers(0, largest + 1, (31, 17)).astype(dtype)
    mask[0, 0], mask[0, 1] = 1283, largest
    write_mask(tmp_path / name, np.asfortranarray(mask))
    with Image.open(tmp_path / name) as image:  # Pillow as the independent reader
        assert (np.asarray(image) == mask).all()
    assert (read_mask(tmp_path / name) == mask).all()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_count_classes_agrees_with_the_files(ade: Path) -> None:
    dataset = open_dataset("ade20k", ade, "train")
    images, pixels = count_classes(dataset)
    masks = [np.asarray(Image.open(path)) for path in sorted(first_mask(ade).parent.iterdir())]
    for raw in range(1, 151):
        assert pixels[raw - 1] == sum(int((mask == raw).sum()) for mask in masks)
        assert images[raw - 1] == sum(bool((mask == raw).any()) for mask in masks)


def test_samples_are_written_by_key(tmp_path: Path) -> None:
    written = write_sample("voc", tmp_path / "voc", images=2, size=40)
    assert written == {"dataset": "voc", "root": str(tmp_path / "voc")}
    assert open_dataset("voc", written["root"], "val")[0]["image"].shape == (3, 40, 40)
    with pytest.raises(ConfigError, match="--classes does not apply to voc"):
        write_sample("voc", tmp_path / "x", classes=5)
    with pytest.raises(ConfigError, match="known: shapeworld, ade20k, cityscapes"):
        write_sample("coco", tmp_path / "x")


def test_only_annotated_datasets_are_prepared(ade: Path) -> None:
    with pytest.raises(ConfigError, match="ade20k needs no preparation; only lvis-coco and"):
        prepare("ade20k", ade)
    with pytest.raises(ConfigError, match="known: ade20k"):
        prepare("nothing", ade)


def test_twins_too_small_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a twin needs"):
        write_twin("voc", tmp_path / "small", size=(8, 8))
