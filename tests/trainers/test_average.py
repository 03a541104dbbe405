"""The average of the weights: what it is, where it is kept, and that it survives a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench.inference import load_model
from workbench.runs import Checkpoint, RunDirectory
from workbench.trainers.sampling import Batch
from workbench.trainers.train import train


def kept(trainer: Any) -> Checkpoint:
    """A checkpoint as it comes back from a file."""
    model, optimizer, extra = trainer.state()
    return Checkpoint(
        step=trainer.step,
        model={name: value.clone() for name, value in model.items()},
        optimizer={name: value.clone() for name, value in optimizer.items()},
        trainer=json.loads(json.dumps(extra)),
    )


def test_it_is_the_average_by_hand(make_trainer: Any, batch: Batch) -> None:
    trainer = make_trainer(train={"ema_decay": 0.6})
    right = {n: v.double().numpy() for n, v in trainer.unwrapped.state_dict().items()}
    for step in range(1, 13):
        trainer.train_step(batch)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, value in trainer.unwrapped.state_dict().items():
            now = value.double().numpy()
            right[name] = now if "num_batches" in name else decay * right[name] + (1 - decay) * now
    model, _, _ = trainer.state()
    assert set(model) == set(right)
    for name, value in model.items():
        np.testing.assert_allclose(value.double(), right[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_training_itself_goes_the_same_way(make_trainer: Any, batch: Batch) -> None:
    with_average, without = make_trainer(train={"ema_decay": 0.9}), make_trainer()
    for _ in range(4):
        assert with_average.train_step(batch) == without.train_step(batch)
        with with_average.for_evaluation():
            pass


def test_evaluation_borrows_the_averaged_weights(make_trainer: Any, batch: Batch) -> None:
    trainer = make_trainer(train={"ema_decay": 0.9})
    for _ in range(3):
        trainer.train_step(batch)
    own = {name: v.clone() for name, v in trainer.unwrapped.state_dict().items()}
    average = {name: v.clone() for name, v in trainer.average.values.items()}
    assert not torch.equal(own["table.weight"], average["table.weight"])
    with trainer.for_evaluation() as model:
        assert not model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, average[name]), name
    for name, value in trainer.unwrapped.state_dict().items():
        assert torch.equal(value, own[name]), name
    for name, value in trainer.average.values.items():
        assert torch.equal(value, average[name]), name


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_resume_goes_on_with_both(make_trainer: Any, batch: Batch, optimizer: str) -> None:
    settings = {"train": {"ema_decay": 0.9, "optimizer": optimizer, "steps": 8}}
    trainer = make_trainer(**settings)
    for _ in range(3):
        trainer.train_step(batch)
    saved = kept(trainer)
    right = [trainer.train_step(batch) for _ in range(5)]
    again = make_trainer(**settings)
    again.train_step(batch)
    again.restore(saved)
    assert [again.train_step(batch) for _ in range(5)] == right
    for one, other in zip(trainer.state()[:2], again.state()[:2], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


def test_it_may_begin_or_end_with_a_resume(make_trainer: Any, batch: Batch) -> None:
    plain, averaged = make_trainer(), make_trainer(train={"ema_decay": 0.9})
    for trainer in (plain, averaged):
        trainer.train_step(batch)
        trainer.train_step(batch)
    right = plain.train_step(batch)
    for decay, checkpoint in (
        (0.9, kept_before(plain, make_trainer, batch)),
        (0.0, kept(averaged)),
    ):
        again = make_trainer(train={"ema_decay": decay})
        again.restore(checkpoint)
        assert again.train_step(batch) == right


def kept_before(_: Any, make_trainer: Any, batch: Batch) -> Checkpoint:
    trainer = make_trainer()
    trainer.train_step(batch)
    trainer.train_step(batch)
    return kept(trainer)


def test_a_run_has_the_average_for_its_weights(
    shapeworld: Path, make_config: Any, tmp_path: Path, cli: Any
) -> None:
    run_config = make_config(
        data={"root": str(shapeworld), "crop": 32},
        train={"steps": 4, "checkpoint_every": 2, "ema_decay": 0.8, "evaluate_every": 4},
    )
    run = train(run_config, tmp_path / "run")
    saved = run.load_checkpoint()
    assert saved.optimizer is not None
    trained = saved.optimizer["trained.table.weight"]
    assert not torch.equal(trained, saved.model["table.weight"])
    assert torch.equal(run.read_embeddings(), saved.model["table.weight"])
    model, _ = load_model(run)
    assert model.table is not None
    assert torch.equal(model.table.weight, saved.model["table.weight"])
    scored = cli("evaluate", tmp_path / "run", "--json")
    assert scored.returncode == 0, scored.stderr
    during = run.metrics()["val_miou"].dropna().iloc[-1]
    assert json.loads(scored.stdout)["miou"] == pytest.approx(during, abs=1e-12)
    assert cli("pack", tmp_path / "run", tmp_path / "packed").returncode == 0
    packed = RunDirectory.open(tmp_path / "packed").load_checkpoint()
    assert packed.optimizer is None and packed.model.keys() == saved.model.keys()
