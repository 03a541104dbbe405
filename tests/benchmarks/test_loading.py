"""The benchmark compares like with like, and says what it measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import config
from workbench.benchmarks import loading, report_loading
from workbench.constants import IGNORE_INDEX
from workbench.errors import ConfigError, DataError
from workbench.trainers.train import open_training_set

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    loading.write_photos(root, 3, size=(96, 96))
    return root


def settings(root: Path, **fields: Any) -> config.Data:
    return config.Data(dataset="folder", root=str(root), train_split="all", **fields)


def test_generated_photos_weigh_what_photos_do(tmp_path: Path) -> None:
    loading.write_photos(tmp_path, 1)
    (image,), (mask,) = (list((tmp_path / name).iterdir()) for name in ("images", "masks"))
    assert 100_000 < image.stat().st_size < 200_000
    with Image.open(image) as opened, Image.open(mask) as ids:
        assert opened.format == "JPEG" and opened.size == ids.size == (640, 480)
        labels = np.unique(np.asarray(ids))
    assert labels.max() > 255 and len(labels) > 5


@pytest.mark.parametrize("jitter", loading.JITTERS)
def test_every_pipeline_gives_crops_of_the_same_kind(photos: Path, jitter: float) -> None:
    data = settings(photos, crop=200, color_jitter=jitter)  # holds every scale whole
    dataset = open_training_set(data)
    compared = loading.pipelines(dataset, data)
    assert len(compared) == 4
    sizes = set()
    for draw in range(6):
        known = {*np.unique(dataset.read_mask(draw % 3)).tolist(), IGNORE_INDEX}
        areas = set()
        for load in compared.values():
            image, mask = load(draw)
            assert (image.shape, image.dtype) == ((3, 200, 200), torch.uint8)
            assert (mask.shape, mask.dtype) == ((200, 200), torch.int64)
            assert set(mask.unique().tolist()) <= known
            areas.add(int((mask != IGNORE_INDEX).sum()))
        assert len(areas) == 1  # the same scale in all
        sizes |= areas
    assert len(sizes) == 6 and min(sizes) < 96**2 < max(sizes)


def test_without_chance_every_pipeline_gives_the_files(photos: Path) -> None:
    data = settings(photos, crop=96, scale=(1.0, 1.0), flip=False)
    dataset = open_training_set(data)
    for index in range(3):
        with Image.open(dataset.image_path(index)) as image:
            pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(int)
        with Image.open(dataset.mask_path(index)) as mask:
            ids = np.asarray(mask)
        for name, load in loading.pipelines(dataset, data).items():
            image, labels = load(index)
            assert (labels.numpy() == ids).all(), name
            assert np.abs(image.numpy() - pixels).max() <= 4, name  # decoders differ a little


def test_the_summary_compares_passes_pair_by_pair() -> None:
    ours = [(2.0, 1.0), (4.0, 2.0), (2.0, 1.0)]
    theirs = [(3.0, 2.0), (6.0, 4.0), (3.0, 5.0)]
    assert loading.summarise(theirs, ours, draws=12) == {
        "images_per_second": 4.0,
        "images_per_cpu_second": 3.0,
        "wall_ratio": 1.5,
        "cpu_ratio": 2.0,
        "cpu_ratio_low": 2.0,
        "cpu_ratio_high": 5.0,
    }


def test_pipelines_take_turns() -> None:
    order: list[str] = []

    def load(name: str) -> loading.Load:
        def run(draw: int) -> Any:
            order.append(f"{name}{draw}")
            return torch.zeros(3, 2, 2), torch.zeros(2, 2)

        return run

    times = loading.time_pipelines({"a": load("a"), "b": load("b")}, draws=2, repetitions=2)
    assert {name: len(passes) for name, passes in times.items()} == {"a": 2, "b": 2}
    assert order == ["a0", "a1", "b0", "b1", "b2", "b3", "a2", "a3", "a4", "a5", "b4", "b5"]


def test_the_command_writes_a_row_each(
    photos: Path, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "run_isolated", loading.measure_loading)
    monkeypatch.setattr(
        loading, "write_photos", lambda root, _: shutil.copytree(photos, root, dirs_exist_ok=True)
    )
    (photos / "train.txt").write_text("0\n1\n")
    file = tmp_path / "rows.json"
    done = cli("bench", "loading", "--root", photos, "--repetitions", 1, "--json", file)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    named = {(row["data"], row["color_jitter"], row["pipeline"]) for row in rows}
    assert len(rows) == len(named) == 2 * len(loading.JITTERS) * 4
    for row in rows:
        assert row["images_per_second"] > 0 and row["images_per_cpu_second"] > 0
        assert row["cpu_ratio_low"] <= row["cpu_ratio"] <= row["cpu_ratio_high"]
        assert row["images"] == (3 if row["data"] == "generated photos" else 2)
        assert row["mean_pixels"] == 96 * 96 and row["crop"] == 512 and row["machine"]["cpu"]
        if row["pipeline"] == loading.OURS:
            assert row["cpu_ratio"] == row["wall_ratio"] == 1


def test_what_cannot_be_measured_is_said(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--repetitions"):
        loading.run_loading(repetitions=0)
    data = settings(photos, crop=96)
    dataset = open_training_set(data)
    dataset.mask_path = lambda index: tmp_path / "a.mat"  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="no PNG files"):
        loading.pipelines(dataset, data)


def test_the_section_has_a_line_a_row() -> None:
    machine = {"cpu": "Abacus 3", "cpu_count": 7, "torch": "9.9", "load": 0.1}
    images = {"images": 24, "mean_bytes": 143_538, "mean_pixels": 307_200}
    common = {"crop": 512, "repetitions": 9, "machine": machine, "color_jitter": 0.5, **images}
    ours = {"images_per_second": 60.4, "images_per_cpu_second": 70.6} | dict.fromkeys(
        ("wall_ratio", "cpu_ratio", "cpu_ratio_low", "cpu_ratio_high"), 1.0
    )
    theirs = ours | {"cpu_ratio": 1.5, "cpu_ratio_low": 1.26, "cpu_ratio_high": 2.0}
    rows = [
        {**common, "data": data, "pipeline": name, **figures}
        for data in ("generated photos", "voc")
        for name, figures in ((loading.OURS, ours), ("plain", theirs))
    ]
    section = report_loading.render_loading(rows)
    for line in (
        "| generated photos | 0.5 | workbench | 60 | 71 |  |",
        "| voc | 0.5 | plain | 60 | 71 | 1.50 (1.26 to 2.00) |",
        "- voc: 24 images of 307 thousand pixels and 144 kB on average",
        "workbench bench loading --root ROOT --dataset voc --json benchmarks/loading.json",
    ):
        assert line in section.splitlines()
    assert "Abacus 3, 7 cores, torch 9.9" in section and "other work" not in section
    busy = [{**row, "machine": machine | {"load": 2.5}} for row in rows]
    assert "other work went on beside it (load 2.5" in report_loading.render_loading(busy)
    with pytest.raises(DataError, match="bench loading"):
        report_loading.render_loading([])
