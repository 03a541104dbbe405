"""The paper's loss with the quirk of its authors' code, shown on a table one can count."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.config import Loss
from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError
from workbench.losses import build_loss
from workbench.losses.as_published import published_cross_entropy, published_neighbours


def circle(degrees: list[float]) -> torch.Tensor:
    turns = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack((turns.cos(), turns.sin()), dim=1)


def chord(degrees: float) -> float:
    return 2 * math.sin(math.radians(degrees) / 2)


def test_a_hit_becomes_the_class_before_it() -> None:
    table = circle([0, 10, 20, 180])
    pixel = circle([12])
    # Nearest are 1 and 2. Target 2 becomes 1, which is there already; target 3 is no hit.
    assert published_neighbours(pixel, table, torch.tensor([2]), 2).tolist() == [[1, 1]]
    assert published_neighbours(pixel, table, torch.tensor([3]), 2).tolist() == [[1, 2]]
    assert published_neighbours(pixel, table, torch.tensor([1]), 2).tolist() == [[0, 2]]
    # Class 0 stays: its own negative.
    assert published_neighbours(circle([1]), table, torch.tensor([0]), 1).tolist() == [[0]]


def test_the_loss_counts_a_repeated_neighbour_twice() -> None:
    classes = ClassEmbeddings(5.0 * circle([0, 10, 20, 180]), None, torch.tensor(20.0).double())
    terms = published_cross_entropy(
        3.0 * circle([12, 12]), classes, torch.tensor([2, IGNORE_INDEX]), k=2
    )
    right = math.exp(-20 * chord(8))
    wrong = math.exp(-20 * chord(2))
    assert int(terms.count) == 1
    assert float(terms.sum) == pytest.approx(-math.log(right / (right + 2 * wrong)), rel=1e-9)


def test_without_hits_it_is_the_repaired_loss() -> None:
    """Far pixels of a class that is never among its own neighbours."""
    torch.manual_seed(0)
    weight = torch.randn(600, 6)
    features = torch.randn(1, 6, 8, 8)
    mask = torch.randint(300, 600, (1, 8, 8))
    flat = torch.nn.functional.normalize(features.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
    far = (flat @ torch.nn.functional.normalize(weight, dim=1).T).argmin(dim=1)
    mask = far.reshape(1, 8, 8)
    classes = ClassEmbeddings(weight, None, torch.tensor(20.0))
    published, repaired = (
        build_loss(Loss(name=name, k=7, pixels=0), "euclidean")(features, classes, mask).mean()
        for name in ("published", "nearest")
    )
    assert float(published) == pytest.approx(float(repaired), rel=1e-5)


def test_gradients_reach_pixels_and_table() -> None:
    weight = torch.randn(400, 5, requires_grad=True)
    features = torch.randn(2, 5, 6, 6, requires_grad=True)
    loss = build_loss(Loss(name="published", k=3, pixels=20), "euclidean")
    mask = torch.randint(256, 400, (2, 12, 12))
    terms = loss(features, ClassEmbeddings(weight, None, torch.tensor(20.0)), mask)
    terms.mean().backward()
    assert int(terms.count) == 20
    assert features.grad is not None and bool(features.grad.abs().sum() > 0)
    assert weight.grad is not None and bool(weight.grad.abs().sum() > 0)


@pytest.mark.parametrize("settings", [("cosine", 0.0), ("euclidean", 1.0)])
def test_what_it_does_not_know_is_said(settings: tuple[str, float]) -> None:
    distance, adjustment = settings
    with pytest.raises(ConfigError, match=r"loss\.name: published knows only"):
        build_loss(Loss(name="published", logit_adjustment=adjustment), distance)
