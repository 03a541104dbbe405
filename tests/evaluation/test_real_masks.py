"""Evaluations of real masks are those of a plain implementation and of scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.plain_scores import NOTHING, Pair, perturbed, plain_scores
from PIL import Image

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.evaluation.evaluate import evaluate_predictions
from workbench.inference import build_from_config
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary

Cli = Callable[..., Any]
COLUMNS = ("intersection", "union", "truth_pixels", "predicted_pixels", "val_images")


class Scene(NamedTuple):
    """Masks as a dataset has them on disk.

    Attributes:
        masks: Raw ids of each image.
        table: raw id -> train id; all others have no label.
        classes: C.
        bits: Of the files to write.
    """

    masks: list[np.ndarray]
    table: dict[int, int]
    classes: int
    bits: int = 8


def pictures(folder: Path, pattern: str, most: int = 9) -> list[np.ndarray]:
    found = sorted(folder.glob(pattern))[:most]
    assert found
    return [np.asarray(Image.open(path)).astype(np.int64) for path in found]


def ade20k(root: Path) -> Scene:
    masks = pictures(root / "ade20k/ADEChallengeData2016/annotations/validation", "*.png")
    return Scene(masks, {raw: raw - 1 for raw in range(1, 151)}, 150)


def voc(root: Path) -> Scene:
    masks = pictures(root / "voc/VOCdevkit/VOC2012/SegmentationClass", "*.png")
    return Scene(masks, {raw: raw for raw in range(21)}, 21)


def cityscapes(root: Path) -> Scene:
    masks = pictures(root / "cityscapes_tiny/gtFine/val/frankfurt", "*_labelIds.png")
    rows = json.loads((root / "classes/cityscapes.json").read_text())
    table = {row["id"]: row["trainId"] for row in rows if row["id"] >= 0 and row["trainId"] < 19}
    return Scene(masks, table, 19)


def coco_stuff(root: Path) -> Scene:
    masks = pictures(root / "cocostuff/annotations/val2017", "*.png")
    rows = json.loads((root / "classes/cocostuff_182.json").read_text())
    used = [row["png_value"] for row in rows if row["used"]]
    return Scene(masks, {raw: number for number, raw in enumerate(used)}, 171)


def coco_panoptic(root: Path) -> Scene:
    folder = root / "coco/annotations"
    facts = json.loads((folder / "panoptic_train2017.json").read_text())
    masks = []
    for entry in facts["annotations"][:8]:
        colors = np.asarray(Image.open(folder / "panoptic_train2017" / entry["file_name"]))
        ids = colors.astype(np.int64) @ np.array([1, 256, 65536])
        mask = np.zeros(ids.shape, np.int64)
        for segment in entry["segments_info"]:
            mask[ids == segment["id"]] = segment["category_id"]
        masks.append(mask)
    raws = [category["id"] for category in facts["categories"]]
    return Scene(masks, {raw: number for number, raw in enumerate(raws)}, 133)


def lvis(root: Path) -> Scene:
    from pycocotools import mask as rle

    facts = json.loads((root / "lvis/annotations/lvis_v1_val.json").read_text())
    masks = []
    for image in facts["images"][:12]:
        size = (image["height"], image["width"])
        mask = np.zeros(size, np.int64)
        for annotation in facts["annotations"]:
            if annotation["image_id"] == image["id"]:
                whole = rle.merge(rle.frPyObjects(annotation["segmentation"], *size))
                mask[(rle.decode(whole) > 0) & (mask == 0)] = annotation["category_id"]
        masks.append(mask)
    assert max(mask.max() for mask in masks) > 1000
    return Scene(masks, {raw: raw - 1 for raw in range(1, 1204)}, 1203, bits=16)


SCENES = [ade20k, voc, cityscapes, coco_stuff, coco_panoptic, lvis]


def looked_up(scene: Scene) -> list[np.ndarray]:
    """The masks in train ids, `NOTHING` where there is no label."""
    lookup = np.full(1 << 16, NOTHING)
    for raw, train in scene.table.items():
        lookup[raw] = train
    return [lookup[mask] for mask in scene.masks]


def write(scene: Scene, pairs: list[Pair], place: Path) -> list[str]:
    """Files of truth and prediction, both in raw ids; the flags that import them."""
    for name in ("images", "truth", "pred"):
        (place / name).mkdir()
    kind = np.uint8 if scene.bits == 8 else np.uint16
    # A class has one raw id here; no class is the largest value of the file.
    back = np.full(scene.classes + 1, np.iinfo(kind).max)
    for raw, train in scene.table.items():
        back[train] = raw
    for number, (mask, (prediction, _)) in enumerate(zip(scene.masks, pairs, strict=True)):
        blank = Image.new("RGB", mask.shape[::-1])
        blank.save(place / "images" / f"{number}.png")
        Image.fromarray(mask.astype(kind)).save(place / "truth" / f"{number}.png")
        raw_prediction = back[prediction].astype(kind)
        Image.fromarray(raw_prediction).save(place / "pred" / f"{number}.png")
    unlabelled = {raw for mask in scene.masks for raw in np.unique(mask)} - {*scene.table}
    rows = [f"{raw},{train},class {train}" for raw, train in scene.table.items()]
    rows += [f"{raw},,nothing {raw}" for raw in sorted(unlabelled) if raw != np.iinfo(kind).max]
    (place / "classes.csv").write_text("raw_id,train_id,name\n" + "\n".join(rows))
    flags = [f"--{name}={place / name}" for name in ("images", "truth", "pred")]
    return [*flags, f"--vocabulary={place / 'classes.csv'}", f"--run={place / 'runs' / 'r'}"]


def compare(
    summary: dict[str, Any],
    per_class: pd.DataFrame,
    confusions: pd.DataFrame,
    pairs: list[Pair],
) -> dict[str, Any]:
    """All counts are equal, all shares to rounding, and the confusions are scikit-learn's.

    Returns:
        The plain scores.
    """
    from sklearn.metrics import confusion_matrix

    classes = len(per_class)
    right = plain_scores(pairs, classes)
    for name in (*COLUMNS, "boundary_errors"):
        np.testing.assert_array_equal(per_class[name], right[name], err_msg=name)
    np.testing.assert_array_equal(per_class["iou"].isna(), np.isnan(right["iou"]))
    np.testing.assert_allclose(per_class["iou"], right["iou"], rtol=1e-15)
    for name in ("miou_classes", "miou_union_classes", "labelled_pixels"):
        assert summary[name] == right[name]
    for name in ("miou", "miou_union", "pixel_accuracy", "frequency_weighted_iou"):
        assert summary[name] == pytest.approx(right[name], rel=1e-12), name
    matrix = np.zeros((classes, classes), np.int64)
    for prediction, truth in pairs:
        both = (truth != NOTHING) & (prediction != NOTHING)
        if not both.any():  # an image of LVIS may have no annotation; scikit-learn wants a pixel
            continue
        here = np.union1d(truth[both], prediction[both])
        counts = confusion_matrix(truth[both], prediction[both], labels=here)
        matrix[np.ix_(here, here)] += counts
    found = np.zeros_like(matrix)
    found[confusions["truth"], confusions["predicted"]] = confusions["pixels"]
    np.testing.assert_array_equal(found, matrix)
    assert len(confusions) == np.count_nonzero(matrix)
    return right


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("scene", SCENES, ids=lambda make: make.__name__)
def test_imported_masks(
    realdata: Path, tmp_path: Path, cli: Cli, scene: Callable[[Path], Scene]
) -> None:
    made, rng = scene(realdata), np.random.default_rng(5)
    pairs = [(perturbed(truth, made.classes, rng), truth) for truth in looked_up(made)]
    done = cli("import-predictions", *write(made, pairs, tmp_path), "--save", "1", "--json")
    assert done.returncode == 0, done.stderr
    run = RunDirectory.open(tmp_path / "runs" / "r")
    summary = run.read_summary("val")
    assert json.loads(done.stdout)["miou"] == summary["miou"]
    right = compare(summary, run.read_per_class("val"), run.read_confusions("val"), pairs)
    # A test of predictions that are all right, or all wrong, would show little.
    assert 0.2 < right["pixel_accuracy"] < 0.9
    assert right["miou_classes"] < right["miou_union_classes"]
    by_image = run.read_per_image_class("val").groupby("class_id").sum(numeric_only=True)
    for name in COLUMNS[:-1]:
        sums = by_image[name].reindex(range(made.classes), fill_value=0)
        np.testing.assert_array_equal(sums, right[name], err_msg=name)


@pytest.mark.parametrize("scene", [ade20k, cityscapes], ids=lambda make: make.__name__)
def test_a_model_s_predictions(
    realdata: Path, tmp_path: Path, cli: Cli, scene: Callable[[Path], Scene]
) -> None:
    """`workbench evaluate`: the truth of the files, the predictions that it keeps."""
    key = scene.__name__
    root = next(path for path in (realdata / f"{key}_tiny", realdata / key) if path.is_dir())
    dataset = open_dataset(key, root, "val")
    settings = config.Run(
        data=config.Data(dataset=key, root=str(root)),
        model=config.Model(network="small", width=8, distance="cosine"),
    )
    run = RunDirectory.create(
        tmp_path / "r", config=config.to_dict(settings), vocabulary=dataset.vocabulary
    )
    torch.manual_seed(0)
    model = build_from_config(settings, len(dataset.vocabulary))
    run.save_checkpoint(1, model=model.state_dict(), optimizer=None, trainer={})
    done = cli("evaluate", run.path, "--save", "all", "--json")
    assert done.returncode == 0, done.stderr
    kept = run.samples("val")
    # Both are in the order of the files' names; the truth is read from those, not from the run.
    truths = looked_up(scene(realdata))
    pairs = [
        (run.read_sample("val", name)[2], truth) for name, truth in zip(kept, truths, strict=True)
    ]
    compare(run.read_summary("val"), run.read_per_class("val"), run.read_confusions("val"), pairs)


def generated(classes: int) -> Iterator[Pair]:
    """Regions of all ids, the last ones too, with holes in the labels and classes nobody has."""
    rng = np.random.default_rng(classes)
    for number in range(4):
        coarse = rng.integers(0, classes, (6, 8))
        coarse[0, 0], coarse[2, number] = classes - 1, NOTHING
        truth = np.kron(coarse, np.ones((10, 30), np.int64))
        yield perturbed(truth, classes, rng), truth


@pytest.mark.parametrize("classes", [150, 1284])
def test_generated_masks(classes: int, make_vocabulary: Callable[[int], Vocabulary]) -> None:
    pairs = list(generated(classes))
    stream = [
        (
            f"image {number}",
            *(np.where(part == NOTHING, IGNORE_INDEX, part) for part in pair),
        )
        for number, pair in enumerate(pairs)
    ]
    result = evaluate_predictions(stream, make_vocabulary(classes))
    right = compare(result.summary, result.per_class, result.confusions, pairs)
    assert 0.2 < right["pixel_accuracy"] < 0.9
    assert right["miou_classes"] < right["miou_union_classes"]
