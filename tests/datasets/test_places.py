"""A dataset's folder, or its twin where there is none."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from workbench.datasets import open_dataset
from workbench.datasets.places import TwinWarning, get_or_twin
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


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    mine = tmp_path / "twin" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("all of it")
    for taken in (mine, mine.parent):
        with pytest.raises(DataError, match=f"{taken.name}: .* is taken; choose another"):
            get_or_twin("voc", tmp_path / "no", taken, images=2, size=64)
    assert mine.read_text() == "all of it"


@pytest.mark.filterwarnings("ignore::workbench.datasets.places.TwinWarning")
def test_what_has_to_be_prepared_is(tmp_path: Path) -> None:
    place = get_or_twin("lvis-coco", tmp_path / "no", tmp_path / "lvis", images=2, size=64)
    assert len(open_dataset("lvis-coco", place.root, "val").vocabulary) == 1284


def test_the_registry_loads_neither_tables_nor_torch() -> None:
    """Processes that build masks import it, many at a time."""
    code = (
        "import sys, workbench.datasets;"
        "print([name for name in ('pandas', 'torch', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
