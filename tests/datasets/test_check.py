from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.datasets import prepare
from workbench.datasets.check import check_dataset
from workbench.datasets.check_report import CheckReport, SplitFound
from workbench.datasets.twins import TWINS, write_twin
from workbench.errors import ConfigError

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Twins of 12 images a split, each written once; tests that break one copy it."""
    top = tmp_path_factory.mktemp("twins")

    def root(key: str) -> Path:
        if not (top / key).exists():
            write_twin(key, top / key, images=12, size=(32, 40))
            if key == "lvis-coco":
                prepare(key, top / key, workers=1)
        return top / key

    return root


@pytest.fixture
def ade(ready: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(ready("ade20k"), tmp_path / "ade copy")) / "ADEChallengeData2016"


def split(report: CheckReport, name: str) -> SplitFound:
    return next(split for split in report.splits if split.name == name)


def commands(report: CheckReport) -> list[str]:
    return [step.command for step in report.steps]


@pytest.mark.parametrize("key", TWINS)
def test_whole_twins_are_usable(key: str, ready: Callable[[str], Path]) -> None:
    report = check_dataset(key, ready(key))
    assert report.usable, report.text()
    for name in ("train", "val"):
        found = split(report, name)
        assert found.usable
        assert found.images >= 11
        assert found.read == 8
    assert all(part.found for part in report.parts if not part.optional)
    assert len(report.parts) > 0
    assert commands(report)[0].startswith("workbench train ")
    assert f"--data.dataset {key}" in commands(report)[0]
    json.dumps(report.values())


def test_counts_of_files_and_what_is_published(ade: Path) -> None:
    (ade / "images" / "training" / "._ADE_train_00000001.jpg").touch()  # what macOS adds
    report = check_dataset("ade20k", ade.parent)
    assert report.folder == ade
    assert report.classes == 150
    assert [(part.found, part.full) for part in report.parts] == 2 * [(12, 20_210)] + 2 * [
        (12, 2_000)
    ]
    assert "12 of 20,210" in report.text()
    assert max(map(len, report.text().splitlines())) < 200
    values = report.values()
    assert values["usable"] is True
    assert values["parts"][0]["found"] == 12
    assert values["splits"][0] == {
        "name": "train",
        "images": 12,
        "absent": 0,
        "read": 8,
        "faulty": 0,
        "faults": (),
        "error": "",
        "usable": True,
    }


def test_either_of_two_names_counts(ready: Callable[[str], Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(ready("lvis-coco"), tmp_path / "lvis"))
    before = {part.what: part.found for part in check_dataset("lvis-coco", root).parts}
    for name in ("train", "val"):
        (root / f"lvis_v1_{name}.json").rename(root / "annotations" / f"lvis_v1_{name}.json")
    (root / "images").mkdir()
    (root / "train2017").rename(root / "images" / "train2017")
    after = {part.what: part.found for part in check_dataset("lvis-coco", root).parts}
    assert before == after
    assert before["LVIS annotations, train"] == 1
    assert before["photos of train and val"] > 12


@pytest.mark.parametrize(
    ("folder", "remaining", "reason"),
    [("training", "val", "'train' is not usable"), ("validation", "train", "evaluate")],
)
def test_one_split_alone_does_not_do(ade: Path, folder: str, remaining: str, reason: str) -> None:
    shutil.rmtree(ade / "images" / folder)
    report = check_dataset("ade20k", ade)
    assert not report.usable
    assert reason in report.problem
    assert [found.name for found in report.splits if found.usable] == [remaining]
    assert commands(report)[0] == f"workbench data download ade20k '{ade}'"
    assert "MISSING" in report.text()


def test_faulty_files_are_listed_and_counted(ade: Path) -> None:
    photos, masks = ade / "images" / "training", ade / "annotations" / "training"
    whole = (photos / "ADE_train_00000001.jpg").read_bytes()
    (photos / "ADE_train_00000001.jpg").write_bytes(whole[: len(whole) // 2])
    with Image.open(photos / "ADE_train_00000012.jpg") as image:
        image.resize((41, 32)).save(photos / "ADE_train_00000012.jpg")
    report = check_dataset("ade20k", ade)  # 8 of 12, the first and the last among them
    assert not report.usable
    train = split(report, "train")
    assert (train.read, train.faulty) == (8, 2)
    assert "ADE_train_00000001.jpg" in train.faults[0]
    assert "41 x 32" in train.faults[1]
    assert split(report, "val").usable
    for number in range(2, 9):
        Image.fromarray(np.full((32, 40), 200, np.uint8)).save(
            masks / f"ADE_train_{number:08d}.png"
        )
    train = split(check_dataset("ade20k", ade, every_file=True), "train")
    assert (train.read, train.faulty, len(train.faults)) == (12, 9, 5)
    text = check_dataset("ade20k", ade, every_file=True).text()
    assert "9 FAULTY" in text
    assert "and 4 more" in text


def test_only_all_files_show_a_rare_fault(ade: Path) -> None:
    (ade / "annotations" / "validation" / "ADE_val_00000002.png").write_bytes(b"torn")
    assert check_dataset("ade20k", ade).usable  # image 2 of 12 is not in the sample
    report = check_dataset("ade20k", ade, every_file=True)
    assert not report.usable
    assert "ADE_val_00000002.png" in split(report, "val").faults[0]


def test_listed_images_without_files(ready: Callable[[str], Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(ready("lvis-coco"), tmp_path / "lvis"))
    masks = sorted((root / "prepared" / "masks" / "train").iterdir())
    for path in masks[3:10]:
        path.unlink()
    report = check_dataset("lvis-coco", root)
    train = split(report, "train")
    assert not report.usable
    assert train.absent == 7
    assert len(train.faults) == 5
    assert masks[3].name in train.faults[0]
    assert train.faulty == 0  # counted once, as absent
    assert "and 2 more" in report.text()
    assert commands(report)[0] == f"workbench prepare lvis-coco {root}"
    prepare("lvis-coco", root, workers=1)
    assert check_dataset("lvis-coco", root).usable


def test_masks_without_any_class_are_no_truth(ade: Path) -> None:
    for path in (ade / "annotations" / "training").iterdir():
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(path)  # all "other"
    report = check_dataset("ade20k", ade)
    assert not report.usable
    assert "no pixel" in split(report, "train").error


def test_a_fault_elsewhere_is_told_but_not_fatal(
    ready: Callable[[str], Path], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(ready("voc"), tmp_path / "voc"))
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainval.txt").unlink()
    report = check_dataset("voc", root)
    assert report.usable
    assert "trainval.txt" in split(report, "trainval").error
    assert "trainval   cannot be opened" in report.text()


def test_unprepared_annotations(ready: Callable[[str], Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(ready("lvis-coco"), tmp_path / "lvis"))
    shutil.rmtree(root / "prepared")
    report = check_dataset("lvis-coco", root)
    assert not report.usable
    assert "is not prepared" in report.problem
    assert report.text().count("is not prepared") == 1
    assert next(part for part in report.parts if part.pattern.endswith("val.json")).found == 1
    assert commands(report)[0] == f"workbench prepare lvis-coco {root}"
    legacy = check_dataset("lvis-coco", root, variant="legacy")
    assert commands(legacy)[0] == f"workbench prepare lvis-coco {root} --legacy-remap"
    (root / "lvis_v1_train.json").unlink()
    assert commands(check_dataset("lvis-coco", root))[0].startswith("workbench data download")


def test_variant_is_passed_on(ready: Callable[[str], Path]) -> None:
    report = check_dataset("coco-stuff10k", ready("coco-stuff10k"), variant="182")
    assert report.classes == 182
    assert "--data.variant 182" in commands(report)[0]
    assert commands(report)[1].endswith("--variant 182")
    with pytest.raises(ConfigError, match="no variant 'x'"):
        check_dataset("ade20k", ready("ade20k"), variant="x")


def test_unknown_key() -> None:
    with pytest.raises(ConfigError, match="known: ade20k"):
        check_dataset("imagenet", ".")


def test_a_wrong_level_is_told_the_right_one(ade: Path, tmp_path: Path) -> None:
    near = f"workbench data check ade20k '{ade}'"
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    shutil.copytree(ade.parent, deeper / "one" / "two")
    places = (ade / "images", ade / "images" / "training", ade / "annotations" / "nowhere")
    for place in places:
        report = check_dataset("ade20k", place)
        assert not report.usable
        assert report.folder is None
        assert commands(report) == [near]
    below = check_dataset("ade20k", deeper)
    assert commands(below) == [
        f"workbench data check ade20k {deeper / 'one' / 'two' / 'ADEChallengeData2016'}"
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [("missing", "does not exist"), ("file", "is a file"), ("empty", "is empty")],
)
def test_a_root_with_nothing(tmp_path: Path, kind: str, said: str) -> None:
    root = tmp_path / "place"
    if kind == "file":
        root.write_text("x")
    elif kind == "empty":
        root.mkdir()
    report = check_dataset("voc", root)
    assert not report.usable
    assert said in report.problem
    assert "JPEGImages" in report.problem
    download = f"workbench data download voc {root}"
    assert (download in commands(report)) == (kind != "file")
    # A stand-in never goes where something is.
    sample = f"workbench sample voc {root if kind == 'missing' else 'data/voc-sample'}"
    assert commands(report)[-1] == sample
    assert sample in report.text()


def test_archives_that_nobody_unpacked(tmp_path: Path) -> None:
    (tmp_path / "ADEChallengeData2016.zip").touch()
    assert "ADEChallengeData2016.zip" in check_dataset("ade20k", tmp_path).problem


def test_the_command(cli: Cli, ade: Path, tmp_path: Path) -> None:
    fine = cli("data", "check", "ade20k", ade)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "ade20k: usable, 150 classes" in fine.stdout
    as_json = json.loads(cli("data", "check", "ade20k", ade, "--all", "--json").stdout)
    assert as_json["splits"][0]["read"] == 12
    unusable = cli("data", "check", "ade20k", tmp_path / "none", "--json")
    assert unusable.returncode == 1
    assert json.loads(unusable.stdout)["usable"] is False
    assert cli("data", "check", "imagenet", ade).returncode == 2


def test_real_files(realdata: Path) -> None:
    report = check_dataset("ade20k", realdata / "ade20k", every_file=True)
    assert report.usable
    top = realdata / "ade20k" / "ADEChallengeData2016"
    photos = len(list((top / "images" / "training").glob("*.jpg")))
    assert (report.parts[0].found, split(report, "train").read) == (photos, photos)
    alone = check_dataset("cityscapes", realdata / "cityscapes_tiny")
    assert not alone.usable
    assert split(alone, "val").usable
