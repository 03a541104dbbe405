"""The layers behind a mask, and what the scenes of the LVIS twin hold for the lessons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco

from workbench.constants import IGNORE_INDEX
from workbench.datasets import prepare
from workbench.datasets.lvis_coco import LvisCoco
from workbench.datasets.lvis_layers import read_layers
from workbench.datasets.twins import write_twin
from workbench.errors import DataError
from workbench.vocabulary import load_table

# The oracle's decode warns under numpy 2 with each call.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGES = 8
BLANKET, CABINET, DESK, WINDOW = 109, 180, 1217 - 1, 1283 - 1


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared both ways; not to be changed."""
    root = tmp_path_factory.mktemp("rooms")
    write_twin("lvis-coco", root, images=IMAGES, size=(96, 128), scenes=True)
    prepare("lvis-coco", root, workers=1)
    prepare("lvis-coco", root, workers=1, legacy_remap=True)
    return root


def decoded(root: Path, files: list[str], source: str, image_id: int) -> np.ndarray:
    """Paints an image's annotations with pycocotools, the first of the file on top."""
    table = load_table("lvis-coco")
    train = table[table["source"] == source].set_index("raw_id")["train_id"]
    mask = np.full((96, 128), IGNORE_INDEX, dtype=np.int64)
    for name in files:
        rows = json.loads((root / name).read_text())["annotations"]
        for row in reversed([row for row in rows if row["image_id"] == image_id]):
            parts = row["segmentation"]
            packed = coco.merge(coco.frPyObjects(parts, 96, 128)) if source == "lvis" else parts
            value = train[row["category_id"]]
            inside = coco.decode(packed).astype(bool)
            mask[inside] = IGNORE_INDEX if pd.isna(value) else int(value)
    return mask


@pytest.mark.parametrize("split", ["train", "val"])
def test_layers_are_the_annotations_and_make_the_prepared_mask(rooms: Path, split: str) -> None:
    dataset = LvisCoco(rooms, split)
    indices = [5, 0, 3]
    stuff_files = ["annotations/stuff_train2017.json", "annotations/stuff_val2017.json"]
    for index, layers in zip(indices, read_layers(dataset, indices), strict=True):
        image_id = int(dataset.ids[index])
        np.testing.assert_array_equal(layers.merged, dataset.read_mask(index))
        np.testing.assert_array_equal(
            layers.things, decoded(rooms, [f"lvis_v1_{split}.json"], "lvis", image_id)
        )
        np.testing.assert_array_equal(layers.stuff, decoded(rooms, stuff_files, "stuff", image_id))
        over = layers.things != IGNORE_INDEX
        np.testing.assert_array_equal(layers.merged[over], layers.things[over])
        np.testing.assert_array_equal(layers.merged[~over], layers.stuff[~over])


def test_layers_of_the_legacy_variant_have_its_ids(rooms: Path) -> None:
    dataset = LvisCoco(rooms, "train", variant="legacy")
    layers = read_layers(dataset, range(IMAGES))
    for index in range(IMAGES):
        np.testing.assert_array_equal(layers[index].merged, dataset.read_mask(index))
    assert not any((one.stuff == BLANKET).any() for one in layers)
    assert any((one.things == BLANKET).any() for one in layers)


def test_a_missing_annotation_file_is_named(rooms: Path, tmp_path: Path) -> None:
    dataset = LvisCoco(rooms, "train")
    dataset.root = tmp_path
    with pytest.raises(DataError, match=r"lvis_v1_train\.json is missing"):
        read_layers(dataset, [0])


def test_the_fault_of_the_published_masks_shows_in_the_rooms(rooms: Path) -> None:
    """It moves the blankets and cabinets of COCO-stuff and nothing else."""
    moved = set[tuple[int, int]]()
    whole = 0
    for index in range(IMAGES):
        right = LvisCoco(rooms, "val").read_mask(index)
        wrong = LvisCoco(rooms, "val", variant="legacy").read_mask(index)
        differ = right != wrong
        moved |= set(zip(right[differ].tolist(), wrong[differ].tolist(), strict=True))
        whole += int(np.isin(right, [BLANKET, CABINET]).sum() > 0 and not differ.any())
    assert moved == {(BLANKET, DESK), (CABINET, WINDOW)}
    assert whole > 0  # where LVIS annotates them, they are right in both


def test_rooms_keep_lvis_promises(rooms: Path) -> None:
    """Absent classes are absent, and of partly labelled ones something is labelled."""
    seen = {"neg": 0, "not_exhaustive": 0}
    for split in ("train", "val"):
        dataset = LvisCoco(rooms, split)
        for index in range(IMAGES):
            present = set(dataset.classes_in(index).tolist())
            checked = dataset.federated(index)
            assert checked is not None
            assert not set(checked["neg"]) & present
            assert set(checked["not_exhaustive"]) <= present
            for name in seen:
                seen[name] += len(checked[name])
    assert min(seen.values()) >= IMAGES / 2
