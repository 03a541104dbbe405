"""A small experiment from the command line: its files, and that it goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench import config
from workbench.__main__ import main
from workbench.errors import ConfigError
from workbench.evaluation.iou import Counts
from workbench.experiments.budget import Rates
from workbench.experiments.cell import rounded_iou, split_halves
from workbench.experiments.plan import get_experiment
from workbench.experiments.run import RATES, cell_file, read_cells, run_experiment, standing

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of which one cell has been run; its rates are given, not measured."""
    root = tmp_path_factory.mktemp("experiment")
    rates = [
        {
            "key": f"cpu--small--{cell.method}--300-classes--4x64",
            "peak_bytes": 2**20,
            "seconds": 0.5,
            "rounds": 3,
        }
        for cell in get_experiment("smoke").cells
    ]
    path = root / "out" / RATES
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rates))
    assert run(root, "--only", "ours--*") == 0
    return root


def run(root: Path, *more: str) -> int:
    flags = ["--json", root / "out", "--data", root / "data", "--work", root / "work", *more]
    return main(["experiment", "smoke", *map(str, flags)])


def test_a_cell_tells_all_about_itself(folder: Path) -> None:
    experiment = get_experiment("smoke")
    (row,) = read_cells(experiment, folder / "out")
    assert (row["method"], row["steps"], row["images_seen"]) == ("ours", 6, 24)
    assert row["classes"] == len(row["test_iou"]) == len(row["groups"]) == 300
    shown = [value for value in row["test_iou"] if value is not None]
    assert len(shown) == row["test"]["miou_classes"] < 300
    assert row["test"]["miou"] == pytest.approx(float(np.mean(shown)), abs=1e-4)
    assert row["dev"]["miou_classes"] > 0
    assert 0 < row["diagnostics"]["effective_rank"] <= 64
    assert row["diagnostics"]["hit_rate"]["128"] >= row["diagnostics"]["hit_rate"]["7"]
    assert set(row["diagnostics"]["gradients"]) == {"rare", "common", "frequent", "stuff"}
    assert str(folder) not in json.dumps(row)


def test_a_cell_that_is_done_is_left_alone(folder: Path) -> None:
    experiment = get_experiment("smoke")
    file = folder / "out" / "smoke" / f"{experiment.cells[0].name}.json"
    before = file.stat().st_mtime_ns
    assert run(folder, "--only", "ours--*") == 0
    assert file.stat().st_mtime_ns == before
    done, missing = standing(experiment.cells, folder / "out" / "smoke")
    assert (len(done), len(missing)) == (1, 2)


def test_a_lost_file_is_made_from_the_finished_run(folder: Path) -> None:
    experiment = get_experiment("smoke")
    (before,) = read_cells(experiment, folder / "out")
    (folder / "out" / "smoke" / f"{experiment.cells[0].name}.json").unlink()
    assert run(folder, "--only", "ours--*") == 0
    (after,) = read_cells(experiment, folder / "out")
    assert after["test_iou"] == before["test_iou"]
    assert after["curve"] == before["curve"]


def test_budgets_that_allow_the_same_steps_share_a_training(folder: Path, tmp_path: Path) -> None:
    plan = get_experiment("smoke")
    tight = plan.cells[0]
    roomy = dataclasses.replace(tight, memory=8 * tight.memory)
    other_seed = dataclasses.replace(tight, seed=1)
    plan = dataclasses.replace(plan, cells=(tight, roomy, other_seed))
    run_experiment(plan, folder / "out", data=folder / "data", work=tmp_path)
    first, second, third = read_cells(plan, folder / "out")
    assert [path.name for path in (tmp_path / "smoke").iterdir()] == [other_seed.name]
    assert second == first | {"cell": roomy.name, "memory": roomy.memory}
    assert third["curve"] != first["curve"]
    for cell in (roomy, other_seed):
        cell_file(folder / "out" / "smoke", cell).unlink()


def test_the_list_shows_what_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["done", "-", "-"]


def test_a_pattern_that_fits_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--only", "mystery*") == 2
    assert "no cell of smoke fits 'mystery*'" in capsys.readouterr().err


def test_memory_and_time_are_those_of_real_steps(folder: Path) -> None:
    """Measured in a fresh process, on the pictures the cell learns from."""
    experiment = get_experiment("smoke")
    cell = experiment.cells[0]
    run = config.from_dict(
        {
            "data": {"root": str(folder / "data" / cell.world.name), "crop": 64},
            "train": {"batch_size": 2},
        },
        base=experiment.settings(cell),
    )
    path = folder / "measured" / RATES
    path.parent.mkdir()
    rate = Rates(path, "cpu").get(run, cell.method, cell.world.classes)
    assert rate.peak_bytes is not None
    assert 2**20 < rate.peak_bytes < 2**31 and 0 < rate.seconds < 60
    (row,) = json.loads(path.read_text("utf-8"))
    assert row["key"] == f"cpu--small--{cell.method}--300-classes--2x64"


def test_photos_have_to_be_somewhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "photos", "--json", str(folder)]) == 2
    assert "photos: --photos ROOT says where COCO's photos are" in capsys.readouterr().err


def test_dev_and_test_share_no_picture() -> None:
    halves = split_halves([str(number) for number in range(9)])
    assert sorted(halves["dev"] + halves["test"]) == [str(number) for number in range(9)]
    assert not set(halves["dev"]) & set(halves["test"])


def test_absent_classes_have_no_iou() -> None:
    counts = Counts(np.array([3, 0, 0]), np.array([6, 4, 0]), np.array([3, 0, 5]))
    assert rounded_iou(counts) == [0.5, 0.0, None]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_experiment_for_a_gpu_says_that_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gpu: its steps are measured on a CUDA device"):
        run_experiment(get_experiment("gpu"), tmp_path, data=tmp_path, work=tmp_path)
