"""What a step consists of: micro-batches, clipping, half precision, frozen statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workbench import config
from workbench.errors import ConfigError
from workbench.inference import build_from_config
from workbench.losses import build_loss, sample_pixels
from workbench.trainers import Trainer
from workbench.trainers.devices import make_accelerator
from workbench.trainers.failures import explained
from workbench.trainers.micro import draw_pixels
from workbench.trainers.sampling import Batch

FROZEN = {"optimizer": "sgd", "batch_norm": "frozen", "lr": 0.05}


@pytest.fixture
def uneven(batch: Batch) -> Batch:
    """Labels that are spread unevenly, so that a mean of means is another number."""
    masks = batch.masks.clone()
    masks[0, 3:] = -100
    masks[1, :, 5:] = -100
    masks[2] = -100
    return batch._replace(masks=masks)


def weights(trainer: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.unwrapped.named_parameters()}


@pytest.mark.parametrize("pixels", [0, 150])
@pytest.mark.parametrize("loss", ["nearest", "streaming", "dense"])
def test_micro_batches_add_up_to_the_one_batch(
    make_trainer: Any, uneven: Batch, loss: str, pixels: int
) -> None:
    def trained(accumulate: int) -> tuple[list[Any], dict[str, Tensor]]:
        trainer = make_trainer(
            loss={"name": loss, "pixels": pixels, "separation_weight": 1.0},
            train={**FROZEN, "accumulate": accumulate},
        )
        records = [trainer.train_step(uneven) for _ in range(3)]
        return records, weights(trainer)

    whole, reached = trained(1)
    assert whole[0]["pixels"] == (pixels or int((uneven.masks >= 0).sum()))
    assert whole[2]["loss"] != whole[0]["loss"]
    for accumulate in (2, 3, 4):
        records, ours = trained(accumulate)
        for one, other in zip(whole, records, strict=True):
            assert other == pytest.approx(one, rel=1e-5)
        for name, value in ours.items():
            torch.testing.assert_close(value, reached[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("balance", ["none", "inverse_sqrt"])
def test_a_step_draws_the_pixels_of_one_large_batch(
    make_trainer: Any, batch: Batch, balance: str
) -> None:
    trainer = make_trainer(loss={"pixels": 90, "balance": balance}, train={"accumulate": 2})
    generator = torch.Generator().manual_seed(5)
    right = sample_pixels(batch.masks, 90, balance=balance, generator=generator)  # type: ignore[arg-type]
    drawn = draw_pixels(
        batch.masks, trainer.config.loss, generator.manual_seed(5), trainer.accelerator
    )
    places = (drawn.flatten() != -100).nonzero().squeeze(1)
    assert places.tolist() == right.sort().values.tolist()
    assert (drawn.flatten()[places] == batch.masks.flatten()[places]).all()


@pytest.mark.parametrize("pixels", [0, 50, 10**6])
@pytest.mark.parametrize("loss", ["nearest", "streaming", "dense", "published"])
def test_the_count_is_known_before_the_network_has_run(
    make_trainer: Any, uneven: Batch, loss: str, pixels: int
) -> None:
    model = {"distance": "euclidean", "temperature": 10.0}
    trainer = make_trainer(loss={"name": loss, "pixels": pixels}, model=model)
    output = trainer.model(uneven.images)
    terms = trainer.loss(output.pixels, output.classes, uneven.masks, torch.Generator())
    assert int(terms.count) == int(trainer.loss.expected_count(uneven.masks))


def step_length(trainer: Any, batch: Batch) -> tuple[float, float]:
    """(recorded norm of the gradient or NaN, how far plain SGD with rate 1 moved)."""
    before = weights(trainer)
    record = trainer.train_step(batch)
    moved = [(after - before[name]).flatten() for name, after in weights(trainer).items()]
    return record.get("gradient_norm", float("nan")), float(torch.cat(moved).norm())


PLAIN = {
    **{"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "power": 0.0},
    **{"table_power": 0.0, "backbone_lr_factor": 1.0, "warmup_steps": 0, "batch_norm": "frozen"},
}


def scaled_trainer(run: config.Run, scale: float | None) -> Trainer:
    """A trainer with the loss scaler of fp16, which Accelerate makes on GPUs alone."""
    accelerator = make_accelerator(run.train)
    if scale is not None:
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    torch.manual_seed(0)
    model, loss = build_from_config(run, 300), build_loss(run.loss, run.model.distance)
    return Trainer(run, model, loss, accelerator=accelerator)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gradient_is_shortened_to_the_limit(
    make_config: Any, batch: Batch, precision: str, accumulate: int
) -> None:
    """In fp16 the gradients are scaled by hundreds until the step: clipping must know."""

    def trainer(clip: float) -> Any:
        train = {**PLAIN, "precision": precision, "accumulate": accumulate, "clip_norm": clip}
        run = make_config(loss={"separation_weight": 0.0}, train=train)
        return scaled_trainer(run, 2.0**8 if precision == "fp16" else None)

    free = trainer(0.0)
    _, length = step_length(free, batch)
    assert length > 0.1
    norm, same = step_length(trainer(10 * length), batch)
    assert (norm, same) == pytest.approx((length, length), rel=0.02)
    norm, short = step_length(trainer(length / 50), batch)
    assert norm == pytest.approx(length, rel=0.02)
    assert short == pytest.approx(length / 50, rel=0.02)


def test_the_norm_is_recorded_only_where_it_is_asked_for(make_trainer: Any, batch: Batch) -> None:
    assert "gradient_norm" not in make_trainer().train_step(batch)


def test_the_recall_of_an_index_is_recorded(make_trainer: Any, batch: Batch) -> None:
    pytest.importorskip("faiss", reason="no faiss, no index to search by")
    record = make_trainer(loss={"name": "nearest", "search": "index"}).train_step(batch)
    assert 0.95 <= record["index_recall"] <= 1
    assert "index_recall" not in make_trainer(loss={"name": "nearest"}).train_step(batch)


def test_a_step_whose_scaled_gradients_overflow_is_left_out(make_config: Any, batch: Batch) -> None:
    train = {**PLAIN, "precision": "fp16", "accumulate": 2, "clip_norm": 1.0, "ema_decay": 0.9}
    trainer = scaled_trainer(make_config(train=train), 2.0**8)
    trainer.train_step(batch)
    before, average = weights(trainer), {n: v.clone() for n, v in trainer.average.values.items()}
    scaler = trainer.accelerator.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**100})
    trainer.train_step(batch)
    assert scaler.get_scale() < 2.0**100
    for name, value in weights(trainer).items():
        assert torch.equal(value, before[name]), name
    for name, value in trainer.average.values.items():
        assert torch.equal(value, average[name]), name


def test_frozen_statistics_stay_as_they_are(make_trainer: Any, batch: Batch) -> None:
    def statistics(how: str) -> tuple[Tensor, Tensor, Tensor]:
        trainer = make_trainer(train={"batch_norm": how, "steps": 2})
        trainer.fit([batch] * 2)
        norm = trainer.unwrapped.network.stem[1]
        return norm.running_mean, norm.running_var, norm.weight

    mean, var, weight = statistics("frozen")
    assert (mean == 0).all() and (var == 1).all() and not (weight == 1).any()
    mean, _, _ = statistics("batch")
    assert not (mean == 0).any()


def test_a_batch_too_small_for_its_parts_is_one_line(
    make_trainer: Any, make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"train\.accumulate: at most batch_size \(4\)"):
        make_config(train={"accumulate": 5})

    trainer = make_trainer(train={"accumulate": 2})
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", property(lambda _: 3))
    with pytest.raises(ConfigError, match=r"3 processes .* set it to 6 or more") as error:
        make_trainer(train={"accumulate": 2})
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_without_a_compiler_the_line_says_so(
    make_trainer: Any,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    import torch._inductor.config as settings

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    patch = settings.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    trainer = make_trainer(train={"compile": True})
    with pytest.warns(UserWarning), pytest.raises(RuntimeError) as error, patch:
        trainer.train_step(batch)
    told = explained(error.value, trainer.config, trainer.step)
    assert isinstance(told, ConfigError) and "\n" not in str(told)
    assert "install a C++ compiler" in str(told) and "--train.compile false" in str(told)
    with trainer.for_evaluation() as model:  # needs none
        assert model(batch.images).pixels.shape[0] == 4


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_keeps_its_names(
    make_trainer: Any, batch: Batch
) -> None:
    train = {**FROZEN, "compile": True}
    plain, compiled = make_trainer(train={**train, "compile": False}), make_trainer(train=train)
    assert list(plain.state()[0]) == list(compiled.state()[0])
    for _ in range(3):
        one, other = plain.train_step(batch), compiled.train_step(batch)
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert list(plain.state()[0]) == list(compiled.state()[0])
