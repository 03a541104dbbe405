"""Weights, smoothing and maps of embeddings, against torch's own cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.distances import DISTANCES, ClassEmbeddings, get_distance
from workbench.losses import LossTerms, nearest_cross_entropy, streaming_cross_entropy

NAMES = list(DISTANCES)


def assert_same(ours: Tensor, theirs: Tensor, leaves: list[Tensor], **tolerance: float) -> None:
    """Value and all gradients."""
    torch.testing.assert_close(ours, theirs, **tolerance)
    got = torch.autograd.grad(ours, leaves)
    expected = torch.autograd.grad(theirs, leaves)
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right, **tolerance)


def streaming(problem: Any, distance: str, budget: int) -> LossTerms:
    return streaming_cross_entropy(
        problem.pixels, problem.classes, problem.targets, get_distance(distance), budget=budget
    )


def nearest(problem: Any, distance: str, budget: int) -> LossTerms:
    return nearest_cross_entropy(
        problem.pixels,
        problem.classes,
        problem.targets,
        get_distance(distance),
        k=299,
        budget=budget,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_smoothing_are_torchs(
    make_problem: Any,
    logits_oracle: Any,
    distance: str,
    smoothing: float,
    weighted: bool,
    dtype: torch.dtype,
) -> None:
    problem = make_problem(distance, dtype=dtype, pixels=50, classes=300)
    weights = torch.linspace(0.2, 3.0, 300, dtype=dtype) if weighted else None
    terms = streaming_cross_entropy(
        problem.pixels,
        problem.classes,
        problem.targets,
        get_distance(distance),
        class_weights=weights,
        label_smoothing=smoothing,
    )
    right = functional.cross_entropy(
        logits_oracle(problem, distance), problem.targets, weights, label_smoothing=smoothing
    )
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {}
    assert_same(terms.mean(), right, problem.leaves, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [streaming, nearest])
@pytest.mark.parametrize("budget", [40_000, 2**26])
def test_maps_are_upsampled_on_the_fly(
    loss: Callable[..., LossTerms], budget: int, dtype: torch.dtype
) -> None:
    """Strips of a map give what torch's upsampling of the whole map gives."""
    torch.manual_seed(0)
    low = torch.randn(2, 5, 7, 9, dtype=dtype, requires_grad=True)
    weight = torch.randn(300, 5, dtype=dtype, requires_grad=True)
    mask = torch.randint(0, 300, (2, 27, 33))
    mask[0, :9], mask[1, 20:, 5:] = -100, -100
    table = ClassEmbeddings(weight, None, torch.tensor(9.0, dtype=dtype))

    class Low:
        pixels, classes, targets = low, table, mask

    full = functional.interpolate(low.double(), (27, 33), mode="bilinear")
    vectors = functional.normalize(full.permute(0, 2, 3, 1).reshape(-1, 5), dim=1)
    logits = 9.0 * vectors @ functional.normalize(weight.double(), dim=1).T
    right = functional.cross_entropy(logits, mask.flatten(), reduction="sum").to(dtype)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {}
    assert_same(loss(Low, "cosine", budget).sum, right, [low, weight], **tolerance)
