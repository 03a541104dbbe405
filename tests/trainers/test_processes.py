"""Two real processes train and evaluate as one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.processes import Home, end_of

from workbench.runs import RunDirectory

STEPS = 8
SETTINGS = [
    *("--preset", "smoke", "--train.steps", STEPS, "--train.checkpoint_every", 2),
    *("--data.crop", 32, "--model.width", 8, "--model.embedding_dim", 8),
    *("--train.batch_size", 5, "--train.batch_norm", "frozen", "--loss.name", "nearest"),
    *("--loss.pixels", 150, "--loss.separation_weight", 2, "--loss.separation_margin", 1),
    *("--train.ema_decay", 0.8, "--train.clip_norm", 5, "--train.evaluate_every", 4),
    *("--train.keep_checkpoints", 9),
]  # 5 images: shares of 2 and 3, with pixels drawn over both


def train(run: Path, root: Path, *more: object) -> tuple[object, ...]:
    return ("-m", "workbench", "train", "--run", run, "--data.root", root, *SETTINGS, *more)


def curve(run: Path) -> pd.DataFrame:
    return RunDirectory.open(run).metrics().drop(columns="seconds")


def same_curve(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """To 1e-5: sums in fp32 are added up in another order."""
    pd.testing.assert_frame_equal(one, other, rtol=1e-5, atol=1e-8)


@pytest.fixture(scope="module")
def alone(forks: Home, shapeworld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    (done,) = forks.run_job(1, *train(run, shapeworld))
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def together(forks: Home, shapeworld: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by two processes; the second is told of, and writes, nothing."""
    run = tmp_path_factory.mktemp("runs") / "together"
    first, second = forks.run_job(2, *train(run, shapeworld, "--json"))
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert json.loads(first.stdout)["step"] == STEPS
    assert second.stdout == "" and "train" not in second.stderr and "evaluate" not in second.stderr
    return run


def test_two_processes_give_the_curve_of_one(alone: Path, together: Path) -> None:
    one, other = curve(alone), curve(together)
    assert one["step"].tolist() == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert one["penalty"].dropna().min() > 0.1  # the penalty and clipping take part
    assert one["gradient_norm"].max() > 5
    assert one["val_miou"].notna().sum() == 2
    same_curve(one, other)


def test_their_weights_stay_those_of_one(alone: Path, together: Path) -> None:
    for step in (2, STEPS):
        one = RunDirectory.open(alone).load_checkpoint(step)
        other = RunDirectory.open(together).load_checkpoint(step)
        assert one.optimizer is not None and other.optimizer is not None
        assert one.optimizer.keys() == other.optimizer.keys()
        for kept, ours in ((one.model, other.model), (one.optimizer, other.optimizer)):
            for name, value in kept.items():
                np.testing.assert_allclose(value, ours[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_only_process_0_writes(alone: Path, together: Path) -> None:
    def files(run: Path) -> list[str]:
        names = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
        return sorted(name for name in names if not name.startswith("tensorboard/"))

    assert files(together) == files(alone)
    assert len(list((together / "tensorboard").iterdir())) == 1
    assert RunDirectory.open(together).status()["state"] == "done"


def cut(run: Path, copy: Path, step: int) -> Path:
    """A copy of a run as it was after a step: its later checkpoints are gone."""
    shutil.copytree(run, copy)
    for later in RunDirectory.open(copy).checkpoint_steps():
        if later > step:
            shutil.rmtree(copy / "checkpoints" / f"step_{later:06d}")
    assert RunDirectory.open(copy).load_checkpoint("last").step == step
    return copy


def test_one_process_goes_on_where_two_have_been(
    forks: Home, alone: Path, together: Path, tmp_path: Path
) -> None:
    run = cut(together, tmp_path / "run", 4)
    (done,) = forks.run_job(1, "-m", "workbench", "train", "--run", run, "--resume")
    assert done.returncode == 0, done.stderr
    same_curve(curve(alone), curve(run))


def test_two_processes_go_on_where_one_has_been(forks: Home, alone: Path, tmp_path: Path) -> None:
    run = cut(alone, tmp_path / "run", 4)
    for process in forks.run_job(2, "-m", "workbench", "train", "--run", run, "--resume"):
        assert process.returncode == 0, process.stderr
    same_curve(curve(alone), curve(run))


def test_an_evaluation_in_shares_is_that_of_one_process(
    forks: Home, alone: Path, together: Path
) -> None:
    evaluate = ("-m", "workbench", "evaluate", alone, "--save", 3, "--json")
    assert forks.run_job(1, *evaluate)[0].returncode == 0
    one = RunDirectory.open(alone)
    tables = [read("val") for read in (one.read_per_class, one.read_per_image_class)]
    summary, samples = one.read_summary("val"), one.samples("val")
    first, second = forks.run_job(2, *evaluate)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert second.stdout == "" and json.loads(first.stdout)["images"] == 8
    again = [read("val") for read in (one.read_per_class, one.read_per_image_class)]
    for before, after in zip(tables, again, strict=True):
        pd.testing.assert_frame_equal(before, after, check_exact=True)
    assert tables[1]["image_id"].nunique() == 8 and tables[1]["class_id"].max() > 255
    assert {**summary, "seconds": 0} == {**one.read_summary("val"), "seconds": 0}
    assert one.samples("val") == samples and len(samples) == 3


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_job_with_a_line(
    forks: Home, shapeworld: Path, tmp_path: Path, victim: int, cli: Any
) -> None:
    run = tmp_path / "run"
    processes = forks.start_job(2, *train(run, shapeworld, "--train.steps", 5000))
    log, deadline = run / "metrics.jsonl", time.monotonic() + 100
    while not log.exists() or log.read_bytes().count(b'"loss"') < 5:
        assert time.monotonic() < deadline and not any(p.poll() for p in processes)
        time.sleep(0.01)
    os.kill(processes[victim].pid, signal.SIGKILL)
    ended = end_of(processes, timeout=90)
    assert ended[victim].returncode == -signal.SIGKILL
    survivor = ended[1 - victim]
    assert survivor.returncode == 2, survivor.stderr
    line = survivor.stderr.strip().splitlines()[-1]
    assert line.startswith("error") and "another process of this job has ended" in line
    assert "--resume" in line and "Traceback" not in survivor.stderr
    status = RunDirectory.open(run).status()
    assert status["state"] == ("interrupted" if victim == 0 else "failed")
    last = RunDirectory.open(run).load_checkpoint("last").step
    done = cli("train", "--run", run, "--resume", "--train.steps", last + 1, "--json")
    assert done.returncode == 0, done.stderr  # alone, where two have been
    assert json.loads(done.stdout)["step"] == last + 1


def test_a_refusal_of_one_is_a_line_of_all(forks: Home, alone: Path, shapeworld: Path) -> None:
    """Process 0 alone looks whether the folder is free; the other waits for it meanwhile."""
    first, second = forks.run_job(2, *train(alone, shapeworld))
    assert first.returncode == second.returncode == 2
    assert "holds a run already" in first.stderr
    assert second.stderr.startswith("error (process 1): another process of this job has ended")
    assert second.stderr.count("\n") == 1


LAST = """
import sys
from workbench import config, presets, processes
from workbench.trainers import train

small = {"data.root": sys.argv[2], "data.crop": "32", "model.width": "8", "train.steps": "3"}
settings = config.from_overrides(presets.get_preset("smoke"), {**small, "train.log_every": "50"})
run = train(settings, sys.argv[1])
print(run.status()["state"], run.metrics()["loss"].notna().sum(), run.load_checkpoint().step)
processes.leave()
"""


def test_a_run_is_whole_when_any_process_goes_on(
    forks: Home, shapeworld: Path, tmp_path: Path
) -> None:
    for process in forks.run_job(2, "-c", LAST, tmp_path / "run", shapeworld):
        assert process.stdout == "done 1 3\n", process.stderr


def test_a_bad_loss_in_one_process_stops_both(
    forks: Home, shapeworld: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    broken = ("--train.lr", 1e30, "--train.clip_norm", 0, "--train.warmup_steps", 0)
    first, second = forks.run_job(2, *train(run, shapeworld, *broken))
    assert first.returncode == second.returncode == 2
    kept = RunDirectory.open(run).bad_batch()
    assert kept is not None and len(kept["images"]) == 5  # of both
    lines = [p.stderr.strip().splitlines()[-1] for p in (first, second)]
    assert lines[0].startswith("error: step ") and "bad_batch.json" in lines[0]
    assert lines[1].startswith("error (process 1): step ")


UNLABELLED = """
import dataclasses, json, sys
import torch
from workbench import processes
from workbench.inference import build_from_config
from workbench.losses import build_loss
from workbench.presets import get_preset
from workbench.trainers import Trainer
from workbench.trainers.devices import make_accelerator
from workbench.trainers.sampling import Batch, part_of

torch.set_num_threads(1)
smoke, found = get_preset("smoke"), {}
for name in ("nearest", "streaming", "dense"):
    train = dataclasses.replace(smoke.train, batch_norm="frozen", optimizer="sgd")
    loss = dataclasses.replace(smoke.loss, name=name, pixels=0)
    run = dataclasses.replace(smoke, train=train, loss=loss)
    accelerator = make_accelerator(train)
    torch.manual_seed(0)
    model = build_from_config(run, 300)
    trainer = Trainer(run, model, build_loss(loss, "cosine"), accelerator=accelerator)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    masks = torch.randint(0, 300, (4, 32, 32), generator=generator)
    masks[2:] = -100  # all that process 1 gets
    own = part_of(4, processes.rank(), processes.world())
    batch = Batch(images[own.start : own.stop], masks[own.start : own.stop], ["x"] * len(own))
    found[name] = [trainer.train_step(batch)["loss"] for _ in range(3)]
if processes.rank() == 0:
    print(json.dumps(found))
processes.leave()
"""


def test_a_process_without_a_labelled_pixel_takes_part(forks: Home) -> None:
    (alone,) = forks.run_job(1, "-c", UNLABELLED)
    first, second = forks.run_job(2, "-c", UNLABELLED)
    assert alone.returncode == first.returncode == second.returncode == 0, first.stderr
    right = json.loads(alone.stdout)
    for name, losses in json.loads(first.stdout).items():
        assert losses == pytest.approx(right[name], rel=1e-5), name
        assert losses[0] != losses[2]


@pytest.mark.slow
def test_accelerate_launches_it(shapeworld: Path, alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", 2, "--multi_gpu")
    done = subprocess.run(
        [sys.executable, *map(str, (*launcher, *train(run, shapeworld)))],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    same_curve(curve(alone), curve(run))
