"""A folder of runs is the whole world: links out of it, pipes and the like are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.runs import leads_out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run among others; beside the folder of runs lies a private picture."""
    run = tmp_path / "runs" / "mine"
    (run / "evaluation" / "val" / "images").mkdir(parents=True)
    (run / "config.yaml").write_text("a: 1\n")
    (run / "evaluation" / "val" / "images" / "1.jpg").write_bytes(b"x")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "2.jpg").write_bytes(b"y")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.jpg").write_bytes(b"z")
    return run


def test_files_and_links_within_are_fine(run: Path) -> None:
    (run / "best").symlink_to("config.yaml")
    (run / "gone").symlink_to("never/was")
    (run / "images").symlink_to(run / "evaluation" / "val" / "images")
    (run / "borrowed.jpg").symlink_to("../other/2.jpg")
    assert leads_out(run, run.parent) is None
    assert leads_out(run, run) == "borrowed.jpg"  # where the run itself is all that is shown


@pytest.mark.parametrize("target", ["{}/private/secret.jpg", "../../../../../private/secret.jpg"])
def test_a_picture_from_elsewhere(run: Path, target: str, tmp_path: Path) -> None:
    assert leads_out(run, run.parent) is None
    link = run / "evaluation" / "val" / "images" / "3.jpg"
    link.symlink_to(target.format(tmp_path))
    assert link.read_bytes() == b"z"
    assert leads_out(run, run.parent) == "evaluation/val/images/3.jpg"  # though looked at before
    link.unlink()
    assert leads_out(run, run.parent) is None


def test_a_folder_from_elsewhere_and_the_way_over_another_link(run: Path, tmp_path: Path) -> None:
    (run / "embeddings").symlink_to(tmp_path / "private")
    assert leads_out(run, run.parent) == "embeddings"
    (run / "embeddings").unlink()
    (tmp_path / "runs" / "other" / "door").symlink_to(tmp_path / "private")
    (run / "over").symlink_to("../other/door/secret.jpg")
    assert leads_out(run, run.parent) == "over"


def test_a_folder_beside_the_run_is_looked_into_too(run: Path, tmp_path: Path) -> None:
    beside = tmp_path / "runs" / ".beside"
    beside.mkdir()
    (beside / "again").symlink_to(beside)  # a ring ends
    (run / "borrowed").symlink_to(beside)
    assert leads_out(run, run.parent) is None
    (beside / "1.jpg").symlink_to(tmp_path / "private" / "secret.jpg")
    assert leads_out(run, run.parent) == "../.beside/1.jpg"


def test_a_neighbour_whose_name_begins_the_same(run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs-private").mkdir()
    (run / "x").symlink_to(tmp_path / "runs-private")
    assert leads_out(run, run.parent) == "x"


def test_a_pipe_is_no_file(run: Path) -> None:
    os.mkfifo(run / "status.json")
    assert leads_out(run, run.parent) == "status.json"


def test_the_folders_themselves_may_be_links(run: Path, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to("runs")
    assert leads_out(tmp_path / "shortcut" / "mine", tmp_path / "shortcut") is None
    (tmp_path / "runs" / "away").symlink_to(tmp_path / "private")
    assert leads_out(tmp_path / "runs" / "away", tmp_path / "runs") == "."
    assert leads_out(tmp_path / "runs" / "never", tmp_path / "runs") is None
