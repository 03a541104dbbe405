from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import write_twin
from workbench.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twin("voc", tmp_path, images=4)


def top(root: Path) -> Path:
    return root / "VOCdevkit" / "VOC2012"


def test_roots_and_splits(root: Path) -> None:
    sizes = {"train": 3, "val": 4, "trainval": 7, "train_aug": 4}
    for place in (root, root / "VOCdevkit", top(root)):
        assert {split: len(open_dataset("voc", place, split)) for split in sizes} == sizes


def test_border_is_ignored_and_background_is_a_class(root: Path) -> None:
    dataset = open_dataset("voc", root, "train_aug")
    for index in range(len(dataset)):
        raw = np.asarray(Image.open(dataset.mask_path(index)))
        mask = dataset[index]["mask"].numpy()
        assert (raw == 255).any()
        assert ((mask == IGNORE_INDEX) == (raw == 255)).all()
        assert (mask[raw != 255] == raw[raw != 255]).all()
        assert 0 in mask


def test_each_image_takes_the_original_mask_where_there_is_one(root: Path) -> None:
    # An augmented mask of an image that has an original one must not be used.
    aug = top(root) / "SegmentationClassAug"
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(aug / "2007_000001.png")
    dataset = open_dataset("voc", root, "train_aug")
    folders = {dataset.ids[i]: dataset.mask_path(i).parent.name for i in range(len(dataset))}
    assert folders == {
        "2007_000001": "SegmentationClass",
        "2007_000002": "SegmentationClass",
        "2007_000003": "SegmentationClass",
        "2007_000004": "SegmentationClassAug",
    }


def test_train_aug_without_its_masks_is_not_train(root: Path) -> None:
    shutil.rmtree(top(root) / "SegmentationClassAug")
    with pytest.raises(DataError, match=r"needs SegmentationClassAug/.*--data.train_split train"):
        open_dataset("voc", root, "train_aug")


def test_val_images_never_enter_train_aug(root: Path) -> None:
    aug = top(root) / "SegmentationClassAug"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(aug / "2007_000005.png")
    assert "2007_000005" in open_dataset("voc", root, "val").ids
    assert "2007_000005" not in open_dataset("voc", root, "train_aug").ids


@pytest.mark.parametrize("name", ["train_aug.txt", "trainaug.txt"])
def test_a_list_of_the_augmented_split_wins(root: Path, name: str) -> None:
    path = top(root) / "ImageSets" / "Segmentation" / name
    path.write_text("/JPEGImages/2007_000004.jpg /SegmentationClassAug/2007_000004.png\n\n")
    assert open_dataset("voc", root, "train_aug").ids == ["2007_000004"]


def test_missing_files_are_named(root: Path) -> None:
    (top(root) / "SegmentationClass" / "2007_000002.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 3 images .* have no mask, first 2007_000002"):
        open_dataset("voc", root, "train")
    (top(root) / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: the list of the split 'val' cannot be read"):
        open_dataset("voc", root, "val")


def test_real_files(realdata: Path) -> None:
    folder = realdata / "voc" / "VOCdevkit" / "VOC2012"
    for split in ("train", "val", "trainval"):
        dataset = open_dataset("voc", realdata / "voc", split)
        listed = (folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        assert dataset.ids == listed
        masks = [
            np.asarray(Image.open(folder / f"SegmentationClass/{name}.png")) for name in listed
        ]
        counts = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
        assert (count_classes(dataset)[1] == counts[:21]).all()
        ignored = sum(int((dataset[i]["mask"] == IGNORE_INDEX).sum()) for i in range(len(dataset)))
        assert ignored == counts[255] > 0
    augmented = open_dataset("voc", realdata / "voc", "train_aug")
    assert "2007_000129" in augmented.ids


def test_colours_are_those_of_the_real_palette(realdata: Path) -> None:
    dataset = open_dataset("voc", realdata / "voc", "val")
    with Image.open(dataset.mask_path(0)) as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert (dataset.vocabulary.colors == palette[:21]).all()
