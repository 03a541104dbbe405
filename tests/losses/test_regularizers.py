"""The separation penalty against the formula, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workbench.losses import separation_penalty


def by_definition(weight: Tensor, margin: float) -> float:
    rows = [[float(v) for v in row] for row in weight.detach().tolist()]
    units = [[v / math.hypot(*row) for v in row] for row in rows]
    total = 0.0
    for i, one in enumerate(units):
        nearest = min(math.dist(one, other) for j, other in enumerate(units) if j != i)
        total += max(0.0, margin - nearest)
    return total / len(units)


@pytest.mark.parametrize("classes", [2, 9, 300])
@pytest.mark.parametrize("budget", [1_000, 2**26])
def test_the_penalty_is_the_formula(classes: int, budget: int) -> None:
    torch.manual_seed(classes)
    weight = 3.0 * torch.randn(classes, 3, dtype=torch.float64)
    for margin in (0.2, 1.0):
        ours = separation_penalty(weight, margin=margin, budget=budget)
        assert float(ours) == pytest.approx(by_definition(weight, margin), abs=1e-9)


def test_the_papers_margin_is_the_default() -> None:
    weight = torch.tensor([[1.0, 0.0], [math.cos(0.1), math.sin(0.1)], [0.0, -5.0]])
    apart = 2 * math.sin(0.05)
    assert float(separation_penalty(weight)) == pytest.approx(2 * (0.2 - apart) / 3, abs=1e-6)


def test_gradients_are_those_of_the_values() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert by_definition(weight, 0.8) > 0.01
    assert torch.autograd.gradcheck(lambda w: separation_penalty(w, margin=0.8), (weight,))


def test_descent_parts_close_classes() -> None:
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(separation_penalty(weight), [weight])
    with torch.no_grad():
        moved = weight - 0.1 * gradient
    assert by_definition(moved, 0.2) < by_definition(weight, 0.2)
    assert (gradient[2] == 0).all()


def test_coinciding_classes_stay_finite() -> None:
    weight = torch.ones(1284, 4, requires_grad=True)
    penalty = separation_penalty(weight, budget=2**20)
    (gradient,) = torch.autograd.grad(penalty, [weight])
    assert penalty.item() == pytest.approx(0.2, abs=1e-5)
    assert gradient.isfinite().all()


def test_a_single_class_has_nothing_to_leave() -> None:
    weight = torch.randn(1, 5, requires_grad=True)
    penalty = separation_penalty(weight)
    (gradient,) = torch.autograd.grad(penalty, [weight])
    assert penalty == 0 and (gradient == 0).all()


def test_classes_far_apart_cost_nothing() -> None:
    weight = torch.eye(4, requires_grad=True)
    penalty = separation_penalty(weight)
    (gradient,) = torch.autograd.grad(penalty, [weight])
    assert penalty == 0 and (gradient == 0).all()
