"""Parameter groups, and optimiser state without pickle."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from workbench.config import Model, Train
from workbench.errors import RunError
from workbench.models import build_model
from workbench.trainers.optimizers import (
    build_optimizer,
    load_state_tensors,
    parameter_groups,
    set_learning_rates,
    state_tensors,
)

DEEPLAB = Model(backbone="resnet18", embedding_dim=4)


def test_every_parameter_is_in_one_group_with_its_rate() -> None:
    model = build_model(DEEPLAB, 300)
    settings = Train(lr=0.1, backbone_lr_factor=0.1, table_lr_factor=3.0)
    groups: list[dict[str, Any]] = parameter_groups(model, settings)  # type: ignore[assignment]
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    names = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            if name.startswith("table."):
                expected = (0.3, 0.95, 0.0)
            else:
                rate = 0.01 if name.startswith("network.backbone.") else 0.1
                expected = (rate, 0.9, 0.0 if parameter.ndim == 1 else 1e-4)
            got = (group["base_lr"], group["power"], group["weight_decay"])
            assert got == pytest.approx(expected), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_dense_baseline_has_no_table_group(optimizer: Any) -> None:
    model = build_model(DEEPLAB, 300, class_table=False)
    built = build_optimizer(model, Train(optimizer=optimizer))
    assert not [g for g in built.param_groups if g["name"].startswith("table")]


def test_rates_follow_the_schedule_of_their_group() -> None:
    settings = Train(lr=0.1, steps=100, backbone_lr_factor=0.1, lr_floor=0.0)
    optimizer = build_optimizer(build_model(DEEPLAB, 300), settings)
    set_learning_rates(optimizer, 50, settings)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["network"] == pytest.approx(0.1 * 0.5**0.9)
    assert rates["backbone"] == pytest.approx(0.01 * 0.5**0.9)
    assert rates["table, no decay"] == pytest.approx(0.1 * 0.5**0.95)


def tiny(optimizer: str) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    model = model.to(memory_format=torch.channels_last)
    return model, build_optimizer(model, Train(optimizer=optimizer, lr=0.01))  # type: ignore[arg-type]


def take_steps(model: nn.Module, optimizer: Optimizer, start: int, stop: int) -> None:
    for step in range(start, stop):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_tensors_carry_on_like_torchs_own_state(name: str) -> None:
    model, optimizer = tiny(name)
    take_steps(model, optimizer, 0, 4)
    weights, torchs = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    ours = {key: value.clone().contiguous() for key, value in state_tensors(optimizer).items()}
    assert ours and all(isinstance(value, torch.Tensor) for value in ours.values())
    take_steps(model, optimizer, 4, 9)
    right = {key: value.clone() for key, value in model.state_dict().items()}

    for way in ("torch", "ours"):
        torch.manual_seed(99)
        again, fresh = tiny(name)
        again.load_state_dict(weights)
        if way == "torch":
            fresh.load_state_dict(torchs)
        else:
            load_state_tensors(fresh, ours)
        take_steps(again, fresh, 4, 9)
        for key, value in again.state_dict().items():
            torch.testing.assert_close(value, right[key], rtol=0, atol=0)


def test_loading_copies() -> None:
    model, optimizer = tiny("adamw")
    take_steps(model, optimizer, 0, 1)
    kept = {key: value.clone() for key, value in state_tensors(optimizer).items()}
    _, fresh = tiny("adamw")
    load_state_tensors(fresh, kept)
    take_steps(model, fresh, 1, 2)
    for key, value in state_tensors(optimizer).items():
        assert torch.equal(value, kept[key])


def test_state_lies_where_its_parameter_does_but_for_adams_steps() -> None:
    """A 0-d parameter, the learned temperature, as well; "meta" stands for a GPU."""
    temperature = nn.Parameter(torch.zeros((), device="meta"))
    for optimizer, name, device in (
        (torch.optim.SGD([temperature], lr=0.1, momentum=0.9), "momentum_buffer", "meta"),
        (torch.optim.AdamW([temperature]), "exp_avg_sq", "meta"),
        (torch.optim.AdamW([temperature]), "step", "cpu"),
    ):
        load_state_tensors(optimizer, {f"0.{name}": torch.tensor(3.0)})
        assert optimizer.state[temperature][name].device.type == device


@pytest.mark.parametrize("kinds", [("sgd", "adamw"), ("adamw", "sgd")])
def test_the_state_of_another_optimiser_is_refused(kinds: tuple[str, str]) -> None:
    model, optimizer = tiny(kinds[0])
    take_steps(model, optimizer, 0, 1)
    with pytest.raises(RunError, match="resume with the configuration the run was started with"):
        load_state_tensors(tiny(kinds[1])[1], state_tensors(optimizer))


@pytest.mark.parametrize("name", ["99.exp_avg", "0.exp_avg", "x.exp_avg"])
def test_foreign_state_is_refused(name: str) -> None:
    _, optimizer = tiny("adamw")
    with pytest.raises(RunError, match="does not fit the model") as error:
        load_state_tensors(optimizer, {name: torch.zeros(5, 5)})
    assert "\n" not in str(error.value)
