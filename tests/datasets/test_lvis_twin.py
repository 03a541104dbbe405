"""The generated twin of LVIS + COCO-stuff: its layout, its masks, and what bad files do."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset, prepare
from workbench.datasets.twins import write_twin
from workbench.errors import DataError
from workbench.evaluation.evaluate import evaluate_predictions
from workbench.vocabulary import load_table

# The oracle's decode warns under numpy 2 with each call.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Json = dict[str, Any]
Cli = Callable[..., Any]
STUFF = ("annotations/stuff_train2017.json", "annotations/stuff_val2017.json")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared; not to be changed. The folder's name is not ASCII."""
    root = write_twin("lvis-coco", tmp_path_factory.mktemp("data") / "Öffentliche 図", images=8)
    prepare("lvis-coco", root, workers=1)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Not prepared, for changing."""
    return write_twin("lvis-coco", tmp_path / "coco", images=4)


def read(path: Path) -> Json:
    content: Json = json.loads(path.read_text(encoding="utf-8"))
    return content


def change(path: Path, edit: Callable[[Json], object]) -> None:
    content = read(path)
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_json_has_the_official_fields(twin: Path) -> None:
    table = load_table("lvis-coco")
    table = table[table["source"] == "lvis"]
    for split in ("train", "val"):
        lvis = read(twin / f"lvis_v1_{split}.json")
        assert set(lvis) == {"info", "licenses", "images", "annotations", "categories"}
        assert len(lvis["images"]) == 8
        for entry in lvis["images"]:
            assert set(entry) == {
                *("id", "width", "height", "coco_url", "flickr_url", "license", "date_captured"),
                *("neg_category_ids", "not_exhaustive_category_ids"),
            }
        for item in lvis["annotations"]:
            fields = {"id", "image_id", "category_id", "segmentation", "area", "bbox"}
            assert set(item) == fields
            packed = coco.merge(coco.frPyObjects(item["segmentation"], 48, 64))
            assert item["area"] == pytest.approx(coco.area(packed), abs=8)
            assert item["bbox"] == pytest.approx(coco.toBbox(packed).tolist(), abs=1.5)
        assert [c["id"] for c in lvis["categories"]] == list(range(1, 1204))
        assert [c["name"] for c in lvis["categories"]] == table["name"].tolist()
        present = [item["category_id"] for item in lvis["annotations"]]
        assert max(present) > 1000
        for category in lvis["categories"]:
            assert category["instance_count"] == present.count(category["id"])
            assert category["frequency"] in "rcf"
            assert {"synset", "synonyms", "def", "image_count"} < set(category)
    for name in STUFF:
        stuff = read(twin / name)
        assert [c["id"] for c in stuff["categories"]] == list(range(92, 184))
        assert 183 in {item["category_id"] for item in stuff["annotations"]}
        assert all(entry["file_name"] == f"{entry['id']:012d}.jpg" for entry in stuff["images"])
        for item in stuff["annotations"]:
            assert isinstance(item["segmentation"]["counts"], str)
            assert item["area"] == coco.area(item["segmentation"])
            assert item["iscrowd"] == 0


def test_most_val_images_lie_in_train2017(twin: Path) -> None:
    val = open_dataset("lvis-coco", twin, "val")
    folders = [val.image_path(index).parent.name for index in range(len(val))]
    assert sorted(folders) == ["train2017"] * 6 + ["val2017"] * 2
    train = open_dataset("lvis-coco", twin, "train")
    assert set(train.ids).isdisjoint(val.ids)
    assert len(list((twin / "train2017").iterdir())) == 14


@pytest.mark.parametrize("split", ["train", "val"])
def test_masks_are_lvis_over_stuff(twin: Path, split: str) -> None:
    table = load_table("lvis-coco").set_index(["source", "raw_id"])["train_id"]
    lvis = read(twin / f"lvis_v1_{split}.json")
    stuff = [item for name in STUFF for item in read(twin / name)["annotations"]]
    dataset = open_dataset("lvis-coco", twin, split)
    overlaps = curtains = 0
    for index, name in enumerate(dataset.ids):
        expected = np.full((48, 64), IGNORE_INDEX)
        # Things first, then stuff: what is taken is not painted again.
        taken = np.zeros((48, 64), dtype=bool)
        for source, items in (("lvis", lvis["annotations"]), ("stuff", stuff)):
            for item in items:
                if item["image_id"] == int(name):
                    runs = item["segmentation"]
                    if source == "lvis":
                        runs = coco.merge(coco.frPyObjects(runs, 48, 64))
                    inside = coco.decode(runs).astype(bool)
                    overlaps += source == "lvis" and bool((inside & taken).any())
                    curtains += (source, item["category_id"]) in (("lvis", 350), ("stuff", 109))
                    if item["category_id"] != 183 or source == "lvis":
                        expected[inside & ~taken] = table[source, item["category_id"]]
                    taken |= inside
        assert (dataset.read_mask(index) == expected).all()
        assert IGNORE_INDEX in expected
    assert len(dataset.vocabulary) == 1284
    assert overlaps > 0
    assert curtains > 4


def test_curtain_comes_from_both_files(twin: Path) -> None:
    things = read(twin / "lvis_v1_train.json")["annotations"]
    stuff = read(twin / STUFF[0])["annotations"]
    ids = {int(name) for name in open_dataset("lvis-coco", twin, "train").ids}
    above = {item["image_id"] for item in things if item["category_id"] == 350}
    below = {item["image_id"] for item in stuff if item["category_id"] == 109} & ids
    assert above - below
    assert below - above
    dataset = open_dataset("lvis-coco", twin, "train")
    for index, name in enumerate(dataset.ids):
        assert (349 in dataset.classes_in(index)) == (int(name) in above | below)


def test_colour_says_the_class(twin: Path) -> None:
    dataset = open_dataset("lvis-coco", twin, "val")
    colors = dataset.vocabulary.colors.astype(float)
    right = total = 0
    for index in range(len(dataset)):
        photo, mask = dataset.read(index)
        present = dataset.classes_in(index)
        distance = np.linalg.norm(np.asarray(photo)[:, :, None] - colors[present], axis=-1)
        right += int((present[distance.argmin(axis=-1)] == mask)[mask >= 0].sum())
        total += int((mask >= 0).sum())
    assert right / total > 0.9


def test_false_alarms_that_nobody_checked_are_counted_apart(twin: Path) -> None:
    dataset = open_dataset("lvis-coco", twin, "val")
    verdicts = [dataset.federated(index) or {} for index in range(len(dataset))]
    index = next(
        i
        for i, given in enumerate(verdicts)
        if given["neg"] and given["not_exhaustive"] and 500 not in given["neg"]
    )
    absent, partial = verdicts[index]["neg"][0], verdicts[index]["not_exhaustive"][0]
    truth = dataset.read_mask(index)
    assert absent not in truth
    assert partial in truth
    rows, columns = np.nonzero((truth >= 0) & (truth != partial))

    def unverified(alarm: int, pixels: int) -> tuple[int, int]:
        """Labels so many pixels of other classes as ``alarm``; (counted apart, in all)."""
        prediction = np.where(truth == IGNORE_INDEX, 0, truth)
        prediction[rows[:pixels], columns[:pixels]] = alarm
        evaluation = evaluate_predictions(
            [(dataset.ids[index], prediction, truth)],
            dataset.vocabulary,
            federated=dict(zip(dataset.ids, verdicts, strict=True)),
        )
        row = evaluation.per_class.loc[alarm]
        assert evaluation.summary["unverified_pixels"] == row["unverified_pixels"]
        wrong = row["predicted_pixels"] - row["intersection"]
        return int(row["unverified_pixels"]), int(wrong)

    assert unverified(500, 70) == (70, 70)  # nobody looked for class 500 in this image
    assert unverified(absent, 60) == (0, 60)  # verified to be absent
    assert unverified(partial, 50) == (50, 50)  # there may be more of it than is labelled
    assert unverified(1204, 40) == (0, 40)  # stuff is labelled everywhere


def test_missing_photos_are_named_by_the_command_line(root: Path, cli: Cli) -> None:
    lost = sorted((root / "train2017").iterdir())
    names = {entry["id"] for entry in read(root / "lvis_v1_train.json")["images"]}
    lost = [path for path in lost if int(path.stem) in names][:2]
    for path in lost:
        path.unlink()
    result = cli("prepare", "lvis-coco", root)
    assert result.returncode == 0
    named = ", ".join(f"train2017/{path.name}" for path in lost)
    assert f"split train: 2 of 4 images are missing ({named}); missing_train.txt" in result.stdout
    file = root / "prepared" / "missing_train.txt"
    assert file.read_text().splitlines() == [f"train2017/{path.name}" for path in lost]
    dataset = open_dataset("lvis-coco", root, "train")
    assert len(dataset) == 2
    assert "2 images left out" in dataset.notes()[0]
    for path in lost:
        Image.new("RGB", (64, 48)).save(path)
    result = cli("prepare", "lvis-coco", root)
    assert "missing_train" not in result.stdout
    assert not file.exists()
    assert open_dataset("lvis-coco", root, "train").notes() == []


def test_no_photo_at_all_is_fatal(root: Path) -> None:
    for folder in ("train2017", "val2017"):
        for path in (root / folder).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="none of its 4 images is there") as caught:
        prepare("lvis-coco", root)
    assert "\n" not in str(caught.value)
    assert not (root / "prepared").exists()


def unknown_image(content: Json) -> None:
    content["annotations"][0]["image_id"] = 999_999


def unknown_category(content: Json) -> None:
    content["annotations"][0]["category_id"] = 5000


def listed_twice(content: Json) -> None:
    content["images"][1]["id"] = content["images"][0]["id"]


def negative(content: Json) -> None:
    content["annotations"][0]["segmentation"] = [[-30.0, 5.0, 9.0, 5.0, 9.0, 9.0]]


def not_a_number(content: Json) -> None:
    content["annotations"][0]["segmentation"] = [[1.0, 5.0, float("nan"), 5.0, 9.0, 9.0]]


def too_far(content: Json) -> None:
    content["annotations"][0]["segmentation"] = [[1.0, 5.0, 90.0, 5.0, 9.0, 9.0]]


def out_of_the_root(content: Json) -> None:
    content["images"][0]["coco_url"] = "http://images.cocodataset.org/../secret.jpg"


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("lvis_v1_val.json", unknown_image, "annotation 1: image_id 999999 is not in the list"),
        ("lvis_v1_val.json", unknown_category, "category_id 5000 .image .* not among the lvis"),
        ("lvis_v1_val.json", listed_twice, "image .* is listed twice"),
        ("lvis_v1_val.json", negative, "annotation 1: .* coordinate -30.0, outside the image"),
        ("lvis_v1_val.json", not_a_number, "annotation 1: .* not a number"),
        ("lvis_v1_val.json", too_far, "image .*: a polygon reaches to x = 90.0, outside .* 64"),
        ("lvis_v1_val.json", out_of_the_root, "image .* leads out of the data root"),
        (STUFF[0], unknown_image, "annotation 10000000: image_id 999999 is not in the list"),
        (STUFF[0], unknown_category, "category_id 5000 .image .* not among the stuff"),
        (STUFF[0], listed_twice, "image .* is listed twice"),
    ],
)
def test_bad_annotations_are_named_and_nothing_is_written(
    root: Path, file: str, edit: Callable[[Json], None], message: str
) -> None:
    change(root / file, edit)
    with pytest.raises(DataError, match=message) as caught:
        prepare("lvis-coco", root)
    assert str(caught.value).startswith(str(root / file))
    assert "\n" not in str(caught.value)
    assert not (root / "prepared").exists()


@pytest.mark.parametrize("file", ["lvis_v1_train.json", STUFF[0]])
def test_a_json_cut_in_the_middle_keeps_what_was_prepared(root: Path, file: str) -> None:
    prepare("lvis-coco", root)
    before = open_dataset("lvis-coco", root, "train").read_mask(0)
    text = (root / file).read_text(encoding="utf-8")
    (root / file).write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(DataError, match=r"\.json: is not valid JSON"):
        prepare("lvis-coco", root)
    assert (open_dataset("lvis-coco", root, "train").read_mask(0) == before).all()


def test_annotations_without_area_are_counted(root: Path, cli: Cli) -> None:
    def flatten(content: Json) -> None:
        # As annotation 918 of COCO's own instances_train2017.json.
        content["annotations"][1] |= {
            "segmentation": [[29.65, 38.33, 29.65, 38.33, 30.68, 38.33, 30.68, 38.33]],
            "area": 0.0,
            "bbox": [29.65, 38.33, 1.03, 0.0],
        }

    change(root / "lvis_v1_train.json", flatten)
    result = cli("prepare", "lvis-coco", root)
    assert result.returncode == 0
    assert "lvis_v1_train.json: annotations with an empty segmentation" in result.stdout
    assert "0: 1 (first: 2)" in result.stdout


def test_places_that_cannot_be_written_are_one_line(
    root: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "taken").touch()
    for out in (root / "taken", root / "taken" / "below"):
        result = cli("prepare", "lvis-coco", root, "--out", out)
        assert result.returncode == 2
        assert f"{out}: cannot be written (" in result.stderr
        assert "--out" in result.stderr
    # A read-only disk: tests may run as root, whom file modes do not stop.
    monkeypatch.setattr(Path, "mkdir", refuse)
    result = cli("prepare", "lvis-coco", root)
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {root}/prepared: cannot be written (Read-only file system); "
        "give another folder with --out\n"
    )


def refuse(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
    del mode, parents, exist_ok
    raise OSError(errno.EROFS, "Read-only file system", str(path))
