"""How a class table uses its space, on tables whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.evaluation.table_health import crowding, effective_rank


def test_axes_fill_all_dimensions() -> None:
    axes = torch.eye(6)
    both = torch.cat((axes, -axes))  # their mean is the origin
    assert effective_rank(both) == pytest.approx(6.0)
    assert effective_rank(both * 17.0) == pytest.approx(6.0)  # length says nothing


def test_a_flat_table_has_few_dimensions() -> None:
    turns = torch.linspace(0, 2 * math.pi, 301)[:-1]
    flat = torch.zeros(300, 12)
    flat[:, 0], flat[:, 1] = turns.cos(), turns.sin()
    assert effective_rank(flat) == pytest.approx(2.0, abs=1e-6)
    assert effective_rank(torch.ones(300, 12)) == 0.0


def test_crowding_counts_classes_closer_than_the_margin() -> None:
    degrees = torch.tensor([0.0, 5.0, 90.0, 180.0]).deg2rad()
    found = crowding(3.0 * torch.stack((degrees.cos(), degrees.sin()), dim=1))
    chord = 2 * math.sin(math.radians(5) / 2)
    assert found["smallest"] == pytest.approx(chord, abs=1e-3)
    assert found["within_margin"] == 0.5
    assert found["median"] <= 2 * math.sin(math.radians(90) / 2)
