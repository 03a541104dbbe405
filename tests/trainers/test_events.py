"""TensorBoard: the curves of metrics.jsonl, and no step twice after a resume."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from workbench.runs import RunDirectory
from workbench.trainers import Trainer
from workbench.trainers.hooks import Hook
from workbench.trainers.train import train


class Stop(Exception):
    """Ends a training like a power cut."""


class StopAt(Hook):
    def after_step(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise Stop


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """All curves as TensorBoard itself reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own protobuf code
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run / "tensorboard")).Reload()
        tags = events.Tags()["scalars"]
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def test_a_resumed_run_has_every_step_once(
    shapeworld: Path, make_config: Any, tmp_path: Path
) -> None:
    run_config = make_config(
        data={"root": str(shapeworld), "crop": 32},
        train={"steps": 8, "checkpoint_every": 3, "evaluate_every": 4, "clip_norm": 1.0},
    )
    with pytest.raises(Stop):
        train(run_config, tmp_path / "run", hooks=[StopAt()])
    train(run_config, tmp_path / "run", resume=True)
    metrics = RunDirectory.open(tmp_path / "run").metrics()
    curves = scalars(tmp_path / "run")
    assert {"loss", "learning_rate", "gradient_norm", "val_miou", "temperature"} <= set(curves)
    for name, points in curves.items():
        known = metrics[["step", name]].dropna()
        assert [step for step, _ in points] == known["step"].tolist(), name
        assert [v for _, v in points] == pytest.approx(known[name].tolist(), rel=1e-5), name
    assert [step for step, _ in curves["loss"]] == list(range(1, 9))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pt", ".pth")]
