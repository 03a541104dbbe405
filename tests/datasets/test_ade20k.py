from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import write_twin
from workbench.errors import DataError


def test_own_folder_and_parent_are_roots(tmp_path: Path) -> None:
    root = write_twin("ade20k", tmp_path)
    for place in (root, root / "ADEChallengeData2016"):
        dataset = open_dataset("ade20k", place, "val")
        assert dataset.ids == [f"ADE_val_{number:08d}" for number in range(1, 7)]
        assert len(dataset.vocabulary) == 150
        assert dataset.federated(0) is None


def test_zero_is_ignored_and_150_is_the_last_class(tmp_path: Path) -> None:
    dataset = open_dataset("ade20k", write_twin("ade20k", tmp_path), "train")
    for index in range(len(dataset)):
        raw = np.asarray(Image.open(dataset.mask_path(index)))
        mask = dataset[index]["mask"].numpy()
        assert (mask[raw == 0] == IGNORE_INDEX).all()
        assert (mask[raw == 150] == 149).all()
        assert ((mask == IGNORE_INDEX) == (raw == 0)).all()


def test_image_without_mask_is_named(tmp_path: Path) -> None:
    root = write_twin("ade20k", tmp_path)
    (root / "ADEChallengeData2016/annotations/training/ADE_train_00000003.png").unlink()
    with pytest.raises(DataError, match=r"1 of 6 images have no mask, first ADE_train_00000003"):
        open_dataset("ade20k", root, "train")
    assert len(open_dataset("ade20k", root, "val")) == 6


def test_real_files(realdata: Path) -> None:
    for split, folder, images in (("train", "training", 7), ("val", "validation", 9)):
        dataset = open_dataset("ade20k", realdata / "ade20k", split)
        assert len(dataset) == images
        files = sorted((realdata / "ade20k/ADEChallengeData2016/annotations" / folder).iterdir())
        raw = np.concatenate([np.asarray(Image.open(path)).ravel() for path in files])
        pixels = count_classes(dataset)[1]
        assert (pixels == np.bincount(raw, minlength=151)[1:151]).all()
        for sample in (dataset[index] for index in range(len(dataset))):
            assert sample["image"].shape[1:] == sample["mask"].shape


def test_real_photo_shows_its_class(realdata: Path) -> None:
    # The largest area of each photo, as seen by looking at it.
    dataset = open_dataset("ade20k", realdata / "ade20k", "val")
    names = dataset.vocabulary.names
    seen = {"00000001": "sky", "00000003": "road", "00001599": "building", "00001996": "water"}
    for number, expected in seen.items():
        mask = dataset[dataset.ids.index(f"ADE_val_{number}")]["mask"].numpy()
        largest = np.bincount(mask[mask >= 0]).argmax()
        assert names[largest] == expected
