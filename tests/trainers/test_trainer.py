"""The loop: it learns, ignores what is ignored, stops on nonsense, and adds up."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from workbench.errors import ConfigError, RunError
from workbench.runs import Checkpoint
from workbench.trainers.devices import make_accelerator
from workbench.trainers.sampling import Batch

LOSSES = ["nearest", "streaming", "dense"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_falls(make_trainer: Any, batch: Batch, loss: str, optimizer: str) -> None:
    trainer = make_trainer(
        loss={"name": loss, "separation_weight": 1.0},
        train={"optimizer": optimizer, "lr": 0.01 if optimizer == "adamw" else 0.02},
    )
    records = [trainer.train_step(batch) for _ in range(20)]
    losses = [record["loss"] for record in records]
    assert [record["step"] for record in records] == list(range(1, 21))
    assert max(losses[-4:]) < 0.6 * losses[0]
    assert ("temperature" in records[0]) == (loss != "dense")


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "linear"])
def test_the_loss_falls_for_the_other_distances(
    make_trainer: Any, batch: Batch, distance: str
) -> None:
    temperature = 1.0 if distance == "linear" else 10.0
    trainer = make_trainer(model={"distance": distance, "temperature": temperature})
    losses = [trainer.train_step(batch)["loss"] for _ in range(20)]
    assert max(losses[-4:]) < 0.75 * losses[0]


@pytest.mark.parametrize("pixels", [0, 100])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_ignored_batch_changes_nothing_but_statistics(
    make_trainer: Any, batch: Batch, loss: str, pixels: int
) -> None:
    trainer = make_trainer(
        loss={"name": loss, "pixels": pixels, "separation_weight": 0.0},
        train={"optimizer": "sgd", "weight_decay": 0.0},
    )
    before = {name: p.detach().clone() for name, p in trainer.unwrapped.named_parameters()}
    record = trainer.train_step(batch._replace(masks=torch.full_like(batch.masks, -100)))
    assert record["loss"] == 0.0 and record["pixels"] == 0
    for name, parameter in trainer.unwrapped.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert trainer.train_step(batch)["loss"] > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_that_is_not_finite_names_the_images(
    make_trainer: Any, batch: Batch, loss: str
) -> None:
    trainer = make_trainer(loss={"name": loss})
    trainer.train_step(batch)
    with torch.no_grad():
        trainer.unwrapped.network.project.weight.fill_(float("nan"))
    before = trainer.unwrapped.network.stem[0].weight.detach().clone()
    with pytest.raises(RunError, match=r"step 2: the loss is nan on images square 0, ") as error:
        trainer.train_step(batch)
    assert "\n" not in str(error.value)
    assert trainer.step == 1
    assert torch.equal(before, trainer.unwrapped.network.stem[0].weight)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_ends_its_own_step(
    make_trainer: Any, batch: Batch, clip: float
) -> None:
    """Not the next one, whose images would be named, after the weights are lost."""
    trainer = make_trainer(train={"clip_norm": clip})
    trainer.train_step(batch)
    weight = trainer.unwrapped.network.project.weight
    weight.register_hook(lambda gradient: gradient / 0)
    before = weight.detach().clone()
    with pytest.raises(RunError, match=r"step 2: the gradient is not finite on images square 0, "):
        trainer.train_step(batch)
    assert trainer.step == 1 and torch.equal(before, weight)


def test_the_reported_loss_is_the_mean_over_labelled_pixels(
    make_trainer: Any, batch: Batch
) -> None:
    trainer = make_trainer(loss={"name": "dense", "pixels": 0})
    trainer.model.train()
    output = trainer.model(batch.images)
    full = torch.nn.functional.interpolate(output.pixels, (32, 32), mode="bilinear")
    right = torch.nn.functional.cross_entropy(full, batch.masks)
    record = trainer.train_step(batch)
    assert record["loss"] == pytest.approx(right.item(), rel=1e-5)
    assert record["pixels"] == 4 * 30 * 32


def test_the_separation_penalty_is_weighed_and_trained(make_trainer: Any, batch: Batch) -> None:
    trainer = make_trainer(
        loss={"separation_weight": 2.0, "separation_margin": 0.5}, train={"optimizer": "sgd"}
    )
    with torch.no_grad():
        trainer.unwrapped.table.weight.fill_(1.0)
    record = trainer.train_step(batch)
    assert record["penalty"] == pytest.approx(2.0 * 0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [("adamw", "fp32"), ("sgd", "fp32"), ("adamw", "bf16"), ("adamw", "fp16")],
)
def test_a_checkpoint_in_memory_gives_the_same_curve(
    make_trainer: Any, batch: Batch, optimizer: str, precision: str
) -> None:
    settings = {"train": {"optimizer": optimizer, "precision": precision, "steps": 8}}
    trainer = make_trainer(**settings)
    for _ in range(3):
        trainer.train_step(batch)
    model, state, extra = trainer.state()
    kept = Checkpoint(
        step=3,
        model={name: value.clone() for name, value in model.items()},
        optimizer={name: value.clone() for name, value in state.items()},
        trainer=json.loads(json.dumps(extra)),
    )
    right = [trainer.train_step(batch) for _ in range(5)]
    torch.manual_seed(1234)
    again = make_trainer(**settings)
    again.train_step(batch)  # something else happened before
    again.restore(kept)
    assert [again.train_step(batch) for _ in range(5)] == right


def test_training_follows_the_seed_alone(make_trainer: Any, batch: Batch) -> None:
    def losses(seed: int, noise: int) -> list[float]:
        trainer = make_trainer(train={"seed": seed}, loss={"pixels": 50})
        torch.manual_seed(noise)
        return [trainer.train_step(batch)["loss"] for _ in range(3)]

    assert losses(0, 1) == losses(0, 2) != losses(1, 1)


def test_the_loop_stops_at_the_last_step(make_trainer: Any, batch: Batch) -> None:
    trainer = make_trainer(train={"steps": 3})
    trainer.fit([batch] * 10)
    assert trainer.step == 3


def test_bfloat16_trains(make_trainer: Any, batch: Batch) -> None:
    trainer = make_trainer(train={"precision": "bf16"})
    losses = [trainer.train_step(batch)["loss"] for _ in range(20)]
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    assert {p.dtype for p in trainer.unwrapped.parameters()} == {torch.float32}


def test_one_process_may_train_in_several_precisions(make_config: Any) -> None:
    for precision in ("fp32", "bf16", "fp32"):
        accelerator = make_accelerator(make_config(train={"precision": precision}).train)
        assert accelerator.mixed_precision == {"fp32": "no", "bf16": "bf16"}[precision]


def test_a_precision_the_device_lacks_is_one_line(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_options: Any) -> None:
        raise ValueError("fp16 mixed precision\nis not supported here")

    monkeypatch.setattr("workbench.trainers.devices.Accelerator", refuse)
    with pytest.raises(ConfigError, match=r"train\.precision: fp16 .* take fp32") as error:
        make_accelerator(make_config(train={"precision": "fp16"}).train)
    assert "\n" not in str(error.value)
