"""The door to the runs: it notices what changes, shares what it read, and opens quickly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from helpers.runs import replace_per_class
from PIL import Image

from app import data
from workbench.runs import RunDirectory, stamp, write_mask

HEAVY = ("torch", "umap", "numba", "sklearn", "scipy", "timm", "torchvision", "faiss")


@pytest.fixture
def run(synthetic_runs: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the run to change."""
    yield Path(shutil.copytree(synthetic_runs / "demo", tmp_path / "runs" / "demo"))
    st.cache_data.clear()
    st.cache_resource.clear()


def loaded(names: str) -> tuple[set[str], float]:
    """Which heavy packages an import loads in a new interpreter, and its seconds."""
    code = (
        "import time; start = time.process_time()\n"
        f"import {names}\n"
        "import sys; print(time.process_time() - start, *"
        f"[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(data.__file__).parents[1],
    )
    seconds, *packages = done.stdout.split()
    return set(packages), float(seconds)


def test_the_door_opens_quickly_and_loads_nothing_heavy() -> None:
    """What it adds to Streamlit and pandas is little; beside them, so that any machine will do."""
    tries: dict[str, list[float]] = {"app.data": [], "streamlit, pandas": []}
    for names in [*tries] * 2:
        packages, seconds = loaded(names)
        assert packages == set()
        tries[names].append(seconds)
    ours, theirs = map(min, tries.values())
    assert ours < 1.4 * theirs, tries


@pytest.mark.parametrize("module", ["app.shell", "app.data_machine", "app.memory_frames"])
def test_what_every_page_imports_loads_nothing_heavy(module: str) -> None:
    assert loaded(module)[0] == set()


def test_the_quick_import_rule_can_fail() -> None:
    assert "torch" in loaded("torch")[0]


def test_colors_come_from_the_vocabulary_alone(run: Path) -> None:
    """They go into styles, and a style can ask another machine for a picture."""
    table = RunDirectory(run).read_per_class("val")
    replace_per_class(RunDirectory(run), table.assign(color="red;background:url(//evil.example)"))
    shown = data.per_class(str(run), "val")
    assert shown is not None
    assert shown["color"].str.fullmatch("#[0-9a-f]{6}").all()


def test_runs_that_lead_out_of_their_folder_are_not_shown(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "elsewhere")
    (run.parent / "away").symlink_to(tmp_path / "elsewhere")
    assert [info.name for info in data.runs(run.parent).shown] == ["demo"]
    assert data.runs(run.parent).refused == {"away": "."}
    (run / "evaluation" / "val" / "images" / "x.jpg").symlink_to(tmp_path / "elsewhere")
    assert data.runs(run.parent).shown == []
    assert data.runs(run.parent).refused["demo"] == "evaluation/val/images/x.jpg"


def test_a_new_evaluation_is_noticed(run: Path) -> None:
    path = str(run)
    before = data.per_class(path, "val")
    summary = data.summary(path, "val")
    assert before is not None and summary is not None
    writer = RunDirectory(run)
    frames = {
        "per_class": before[[*writer.read_per_class("val").columns]].assign(iou=0.5),
        "per_image_class": writer.read_per_image_class("val").head(3),
        "confusions": writer.read_confusions("val").head(5),
    }
    writer.write_evaluation("val", summary={**summary, "miou": 0.5}, **frames)
    again = data.per_class(path, "val")
    assert again is not None and again["iou"].eq(0.5).all()
    assert len(data.per_image_class(path, "val")) == 3  # type: ignore[arg-type]
    assert len(data.confusions(path, "val")) == 5  # type: ignore[arg-type]
    assert data.summary(path, "val")["miou"] == 0.5  # type: ignore[index]
    assert next(info.miou for info in data.runs(run.parent).shown) == 0.5


def test_pictures_that_come_and_go_are_noticed(run: Path) -> None:
    path = str(run)
    kept = data.samples(path, "val")
    first = data.sample(path, "val", kept[0])
    url = data.thumbnails(path, "val", kept[:1])[kept[0]]
    assert first is not None
    writer = RunDirectory(run)
    white = Image.new("RGB", first.image.size, "white")
    other = np.full(first.truth.shape, 1283)
    writer.save_sample("val", kept[0], white, other, other)
    writer.save_sample("val", "new/one", white, other, other)
    again = data.sample(path, "val", kept[0])
    assert again is not None and (again.truth == 1283).all()
    assert data.thumbnails(path, "val", kept[:1])[kept[0]] != url
    assert "new/one" in data.samples(path, "val")
    for file in run.rglob("new%2Fone*"):
        file.unlink()
    assert data.samples(path, "val") == kept
    assert data.sample(path, "val", "new/one") is None


def test_what_is_shared_is_neither_copied_nor_changed(run: Path) -> None:
    path = str(run)
    assert data.samples(path, "val") is data.samples(path, "val")  # 20,000 ids on every click
    mine = data.metrics(path)
    mine["loss"] = -1.0
    assert (data.metrics(path)["loss"] > 0).all()


def test_training_that_goes_on_is_noticed(run: Path) -> None:
    path = str(run)
    rows = len(data.metrics(path))
    points = data.class_points(path)
    projection = data.projection(path)
    assert points is not None and projection is not None
    writer = RunDirectory(run)
    writer.append_metrics({"step": 3000, "loss": 1.0})
    writer.write_embeddings(3000, torch.flip(torch.from_numpy(points.copy()), dims=(0,)))
    writer.write_projection(projection.assign(step=3000))
    assert len(data.metrics(path)) == rows + 1
    again = data.class_points(path)
    assert again is not None and np.allclose(again, points[::-1], atol=1e-6)
    assert data.projection(path)["step"].eq(3000).all()  # type: ignore[index]
    writer.write_status("running", step=3000)
    assert [info.status for info in data.runs(run.parent).shown] == ["interrupted"]


def test_a_run_that_is_deleted_is_gone(run: Path) -> None:
    path = str(run)
    assert data.per_class(path, "val") is not None
    assert [info.name for info in data.runs(run.parent).shown] == ["demo"]
    shutil.rmtree(run)
    assert data.runs(run.parent).shown == []
    assert data.per_class(path, "val") is None
    assert data.samples(path, "val") == ()
    assert data.thumbnails(path, "val", ["x"]) == {}
    assert data.projection(path) is None and data.class_points(path) is None
    assert data.config(path) == {} and data.metrics(path).empty
    assert data.splits(path) == [] and data.summary(path, "val") is None


def test_nobody_can_change_another_s_table(run: Path) -> None:
    path = str(run)
    mine = data.per_class(path, "val")
    assert mine is not None
    mine["iou"] = -1.0
    mine.loc[0, "name"] = "spoilt"
    del mine["group"]
    yours = data.per_class(path, "val")
    assert yours is not None
    pd.testing.assert_series_equal(
        yours["iou"], RunDirectory(run).read_per_class("val")["iou"], check_names=False
    )
    assert yours["name"].iloc[0] != "spoilt" and "group" in yours
    points, sample = data.class_points(path), data.sample(path, "val", data.samples(path, "val")[0])
    assert points is not None and sample is not None
    for array in (points, sample.truth, sample.prediction):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 7


def test_only_the_pictures_asked_for_are_made_small(run: Path) -> None:
    kept = data.samples(str(run), "val")
    found = data.thumbnails(str(run), "val", [kept[2], "none"])
    assert list(found) == [kept[2]]
    assert found[kept[2]].startswith("data:image/jpeg;base64,")


def test_samples_are_those_with_all_three_files(run: Path) -> None:
    writer = RunDirectory(run)
    kept = writer.samples("val")
    mask = np.full((4, 4), 70_000)  # beyond 16 bits: a TIFF
    writer.save_sample("val", "a.b", np.zeros((4, 4, 3), np.uint8), mask, mask)
    assert set(writer.samples("val")) == {*kept, "a.b"}
    lonely = next(run.rglob(f"predictions/{kept[0]}.png"))
    lonely.unlink()
    assert set(writer.samples("val")) == {*kept[1:], "a.b"}
    write_mask(lonely.with_name(".tmp-1-x-odd"), mask)
    assert set(writer.samples("val")) == {*kept[1:], "a.b"}


def test_a_stamp_is_a_stat_and_not_a_listing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tens of thousands of pictures kept, no click may list their folders."""

    def never(*arguments: object) -> None:
        raise AssertionError("a folder was listed")

    monkeypatch.setattr(os, "scandir", never)
    monkeypatch.setattr(os, "listdir", never)
    assert len(stamp(run, "config", "vocabulary", "metrics", "embeddings", "tables", split="val"))
    assert len(stamp(run, "pictures", split="val")) == 3


def test_stamps_tell_parts_apart(run: Path) -> None:
    tables, pictures = (stamp(run, part, split="val") for part in ("tables", "pictures"))
    RunDirectory(run).append_metrics({"step": 9999})
    assert stamp(run, "tables", split="val") == tables
    image = np.zeros((2, 2, 3), np.uint8)
    RunDirectory(run).save_sample("val", "z", image, np.zeros((2, 2), int), np.ones((2, 2), int))
    assert stamp(run, "tables", split="val") == tables
    assert stamp(run, "pictures", split="val") != pictures
    assert stamp(run / "none", "config") == ()
    with pytest.raises(ValueError, match="no part of a run"):
        stamp(run, "everything")
    with pytest.raises(ValueError, match="no part of a run"):
        stamp(run, "tables")


def test_many_pictures_are_listed_quickly(tmp_path: Path) -> None:
    """19,809 pictures, three files each: a fraction of a second, and no stat of each."""
    writer = RunDirectory(tmp_path / "run")
    writer.save_sample("val", "0", np.zeros((2, 2, 3), np.uint8), np.eye(2, dtype=int), np.eye(2))
    for file in list((tmp_path / "run").rglob("0.*")):
        for number in range(1, 19_809):
            os.link(file, file.with_name(f"{number}{file.suffix}"))
    start = time.process_time()
    assert len(writer.samples("val")) == 19_809
    assert time.process_time() - start < 1.0


def test_a_class_table_is_read_without_torch(run: Path) -> None:
    writer = RunDirectory(run)
    table = torch.randn(5, 3)
    for step, kind in ((1, torch.float32), (2, torch.float16), (3, torch.bfloat16)):
        writer.write_embeddings(5000 + step, table.to(kind))
        expected = writer.read_embeddings(5000 + step).float().numpy()
        assert (writer.read_points(5000 + step) == expected).all()
    assert writer.read_points().shape == (5, 3)
