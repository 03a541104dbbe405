"""What ends a training before its last step, and what is left then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import config
from workbench.errors import RunError
from workbench.runs import RunDirectory
from workbench.trainers import Trainer
from workbench.trainers.failures import explained
from workbench.trainers.hooks import Hook, Record, best_of
from workbench.trainers.train import train


class At(Hook):
    """Does something to a training after a step."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def after_step(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if record["step"] == self.step:
            self.act(trainer)


@pytest.fixture
def small(shapeworld: Path, make_config: Any) -> Any:
    """Settings of a short training; fields of `train` and `loss` may be given."""

    def make(train: dict[str, Any], loss: dict[str, Any] | None = None) -> config.Run:
        data = {"root": str(shapeworld), "crop": 32}
        run: config.Run = make_config(data=data, train={"steps": 6, **train}, loss=loss or {})
        return run

    return make


def line_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    line = str(error.value)
    assert "\n" not in line
    return line


def poison(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.unwrapped.network.project.weight.fill_(float("nan"))


def test_a_loss_that_is_no_number_leaves_the_images(small: Any, tmp_path: Path) -> None:
    run_config = small({"batch_size": 10, "checkpoint_every": 2, "accumulate": 3})
    with pytest.raises(RunError) as error:
        train(run_config, tmp_path / "run", hooks=[At(3, poison)])
    run = RunDirectory.open(tmp_path / "run")
    line = line_of(error)
    assert line.startswith("step 4: the loss is nan on images ") and " and 2 more; " in line
    assert str(tmp_path / "run" / "bad_batch.json") in line
    assert run.status()["state"] == "failed" and run.status()["message"] == line
    kept = json.loads((tmp_path / "run" / "bad_batch.json").read_text())
    assert kept == run.bad_batch()
    assert (kept["step"], kept["loss"], len(set(kept["images"]))) == (4, "nan", 10)
    assert all(name in kept["images"] for name in line.split(" images ")[1][:30].split(", ")[:2])

    train(run_config, tmp_path / "run", resume=True)  # goes on from step 2, healthy
    assert run.status()["state"] == "done" and run.bad_batch() is None
    assert run.metrics()["step"].tolist() == [1, 2, 3, 4, 5, 6]


def exhaust(trainer: Trainer) -> None:
    torch.empty(2**50, dtype=torch.uint8)


def raising(error: BaseException) -> Any:
    def act(trainer: Trainer) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "act",
    [
        exhaust,
        raising(torch.OutOfMemoryError("CUDA out of memory.\nTried")),
        raising(MemoryError()),
    ],
)
def test_too_little_memory_says_what_to_lower(small: Any, tmp_path: Path, act: Any) -> None:
    run_config = small({"batch_size": 4, "accumulate": 2}, {"pixels": 321})
    with pytest.raises(RunError) as error:
        train(run_config, tmp_path / "run", hooks=[At(2, act)])
    line = line_of(error)
    for words in (
        *("out of memory", "--train.accumulate (now 2)", "--train.batch_size (now 4)"),
        *("--data.crop (now 32)", "--loss.pixels (now 321)"),
    ):
        assert words in line
    assert RunDirectory.open(tmp_path / "run").status()["message"] == line


def test_only_what_can_be_lowered_is_named() -> None:
    run_config = config.Run(
        loss=config.Loss(name="dense"), train=config.Train(batch_size=1, accumulate=1)
    )
    line = str(explained(MemoryError(), run_config, 0))
    assert "accumulate" not in line and "batch_size" not in line
    assert "--loss.pixels (now all)" in line and "dense" in line


def test_other_errors_stay_as_they_are() -> None:
    error = RuntimeError("shapes differ")
    assert explained(error, config.Run(), 3) is error


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=12))
def test_the_best_evaluation_is_the_first_of_the_highest(scores: list[float]) -> None:
    found = best_of((10 * place, score) for place, score in enumerate(scores, start=1))
    known = [(score, 10 * n) for n, score in enumerate(scores, start=1) if score == score]
    if not known:
        assert found == (-1.0, 0, 0)
        return
    highest = max(score for score, _ in known)
    place = [score for score, _ in known].index(highest)
    assert found == (highest, known[place][1], len(known) - place - 1)


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Evaluations that give these scores one after another."""
    import importlib

    scores = [0.2, 0.3, 0.3, 0.1, 0.25, 0.9]
    given = iter(scores)
    module = importlib.import_module("workbench.trainers.train")  # hidden by its function
    names = ("miou", "miou_union", "pixel_accuracy")
    monkeypatch.setattr(
        module,
        "_periodic_evaluation",
        lambda _: lambda: dict.fromkeys(names, next(given)),
    )
    yield scores


def test_training_stops_when_it_gets_no_better(
    small: Any, tmp_path: Path, falling: list[float], cli: Any
) -> None:
    settings = {"steps": 12, "checkpoint_every": 100, "evaluate_every": 2, "patience": 2}
    run = train(small(settings), tmp_path / "run")
    status = run.status()
    assert (status["state"], status["step"], status["steps"]) == ("done", 8, 12)
    assert status["message"] == (
        "stopped early: 2 evaluations were not better than the val mIoU 0.3000 of step 4 "
        "(train.patience 2)"
    )
    assert run.metrics()["val_miou"].dropna().tolist() == falling[:4]
    assert run.load_checkpoint("last").step == 8 and run.best_step() == 4

    again = cli("train", "--run", tmp_path / "run", "--resume", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["step"] == 8
    assert json.loads(again.stdout)["message"] == status["message"]
    assert RunDirectory.open(tmp_path / "run").status()["message"] == status["message"]


@pytest.mark.usefixtures("falling")
def test_the_step_it_stops_at_is_logged(small: Any, tmp_path: Path, cli: Any) -> None:
    run_config = small({"steps": 12, "log_every": 50, "evaluate_every": 2, "patience": 2})
    run = train(run_config, tmp_path / "run")
    assert run.metrics().dropna(subset=["loss"])["step"].tolist() == [8]
    again = cli("train", "--run", tmp_path / "run", "--resume", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["loss"] == run.metrics()["loss"].dropna().item()


class StopAtThree(Hook):
    def after_step(self, trainer: Trainer, record: Record) -> None:
        if trainer.step == 3:
            trainer.stopped = "enough"


def test_a_hook_of_ones_own_stops_without_losing_steps(small: Any, tmp_path: Path) -> None:
    run = train(small({"steps": 9, "checkpoint_every": 100}), tmp_path, hooks=[StopAtThree()])
    assert (run.status()["message"], run.status()["step"]) == ("enough", 3)
    assert run.load_checkpoint("last").step == 3


@pytest.mark.usefixtures("falling")
def test_a_best_checkpoint_that_was_not_marked_is_marked_on_resume(
    small: Any, tmp_path: Path
) -> None:
    settings = small({"steps": 4, "evaluate_every": 2})
    run = train(settings, tmp_path / "run")
    assert run.best_step() == 4
    (run.path / "checkpoints" / "best").unlink()
    assert train(settings, tmp_path / "run", resume=True).best_step() == 4


@pytest.mark.usefixtures("falling")
def test_the_last_step_is_not_early(small: Any, tmp_path: Path) -> None:
    run = train(small({"steps": 8, "evaluate_every": 2, "patience": 2}), tmp_path / "run")
    assert (run.status()["state"], run.status()["step"]) == ("done", 8)
    assert "message" not in run.status()


def test_more_patience_goes_on_where_it_stopped(
    small: Any, tmp_path: Path, falling: list[float]
) -> None:
    settings = {"steps": 12, "checkpoint_every": 100, "evaluate_every": 2, "patience": 2}
    train(small(settings), tmp_path / "run")
    run = train(small({**settings, "patience": 4}), tmp_path / "run", resume=True)
    assert run.metrics()["val_miou"].dropna().tolist() == falling
    assert run.status()["step"] == 12 and "message" not in run.status()
    assert run.best_step() == 12
