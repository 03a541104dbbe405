"""A dataset's folder, or its twin where there is none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from workbench.datasets import TwinWarning, get_or_twin, open_dataset
from workbench.datasets.twins import write_twin
from workbench.errors import DataError


def test_an_absent_root_gives_a_twin_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(TwinWarning, match="no voc there, so a GENERATED TWIN") as caught:
        place = get_or_twin("voc", tmp_path / "voc", tmp_path / "twin", images=3, size=(64, 96))
    assert caught[0].filename == __file__
    assert place.twin and place.root == tmp_path / "twin" / "voc"
    dataset = open_dataset("voc", place.root, "val")
    assert len(dataset) == 3 and dataset.read(0)[0].size == (96, 64)
    assert "Generated twin" in place._repr_html_() and "voc" in place._repr_html_()


def test_an_empty_root_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "ade").mkdir()
    with pytest.warns(TwinWarning):
        place = get_or_twin("ade20k", tmp_path / "ade", tmp_path / "twin", images=2, size=64)
    assert open_dataset("ade20k", place.root, "train").read(0)[0].size == (64, 64)


def test_a_root_that_holds_the_dataset_is_used_without_a_word(tmp_path: Path) -> None:
    write_twin("voc", tmp_path / "data", images=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        place = get_or_twin("voc", tmp_path / "data", tmp_path / "twin", images=2, size=64)
    assert place == (tmp_path / "data", False, "voc")
    assert not (tmp_path / "twin").exists()
    assert "Generated" not in place._repr_html_()


def test_a_root_with_something_else_is_no_reason_for_a_twin(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no voc; data\.root must hold"):
        get_or_twin("voc", tmp_path, tmp_path / "twin", images=2, size=64)


@pytest.mark.filterwarnings("ignore::workbench.datasets.TwinWarning")
def test_the_same_twin_is_written_once_and_another_replaces_it(tmp_path: Path) -> None:
    def twin(images: int) -> list[Path]:
        place = get_or_twin("voc", tmp_path / "no", tmp_path / "twin", images=images, size=64)
        return sorted(place.root.rglob("*.jpg"))

    first = twin(4)
    times = [path.stat().st_mtime_ns for path in first]
    assert [path.stat().st_mtime_ns for path in twin(4)] == times
    assert len(first) == 8 and len(twin(2)) == 4


@pytest.mark.filterwarnings("ignore::workbench.datasets.TwinWarning")
def test_a_twin_that_was_interrupted_is_written_again(tmp_path: Path) -> None:
    arguments = ("voc", tmp_path / "no", tmp_path / "twin")
    place = get_or_twin(*arguments, images=2, size=64)
    (tmp_path / "twin" / "twin.json").write_text(json.dumps({}))
    picture = next(place.root.rglob("*.jpg"))
    picture.unlink()
    get_or_twin(*arguments, images=2, size=64)
    assert picture.is_file()


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    mine = tmp_path / "twin" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("all of it")
    with pytest.raises(DataError, match="holds other files; choose another"):
        get_or_twin("voc", tmp_path / "no", tmp_path / "twin", images=2, size=64)
    assert mine.read_text() == "all of it"


@pytest.mark.filterwarnings("ignore::workbench.datasets.TwinWarning")
def test_what_has_to_be_prepared_is(tmp_path: Path) -> None:
    place = get_or_twin("lvis-coco", tmp_path / "no", tmp_path / "lvis", images=2, size=64)
    assert len(open_dataset("lvis-coco", place.root, "val").vocabulary) == 1284
    place = get_or_twin(
        "shapeworld", tmp_path / "no", tmp_path / "s", images=6, size=48, val_images=2, classes=20
    )
    assert len(open_dataset("shapeworld", place.root, "val")) == 2
