"""What bf16 changes, measured in small; `make reliability` measures it at every loss and size."""

from __future__ import annotations

import pytest
import torch
from helpers import golden
from helpers.precision import LOSSES, SITUATIONS, differences, gradients, problem

from workbench.losses import LOSSES as REGISTERED


def test_differences_are_relative_to_mean_and_largest() -> None:
    right = torch.tensor([1.0, -2.0, 3.0])
    found = torch.tensor([1.0, -2.3, 3.0])
    assert differences(found, right) == pytest.approx({"mean": 0.1 / 2, "max": 0.3 / 3})


def test_every_loss_is_measured() -> None:
    assert {name for name, _, _ in LOSSES} == set(REGISTERED)


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize(("name", "distance", "temperature"), LOSSES)
def test_bf16_costs_less_than_two_percent_of_a_gradient(
    name: str, distance: str, temperature: float, situation: str
) -> None:
    case = problem(12, situation)
    right = gradients(name, distance, temperature, case, bf16=False)
    assert gradients(name, distance, temperature, case, bf16=False)[0] == right[0]
    found = gradients(name, distance, temperature, case, bf16=True)
    assert found[0] == pytest.approx(right[0], rel=2e-3)
    for place in (1, 2):
        mean = differences(found[place], right[place])["mean"]
        # bf16 has eight bits: less than a thousandth would be fp32 by mistake.
        assert 1e-3 < mean < 2e-2


def test_a_training_in_bf16_is_another_but_close() -> None:
    right = golden.curves("dense")["loss"]
    found = golden.curves("dense", precision="bf16")["loss"]
    assert found != right
    assert found == pytest.approx(right, rel=0.01)
