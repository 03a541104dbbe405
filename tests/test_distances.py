"""Distances against formulas over vectors, not over inner products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.distances import DISTANCES, ClassEmbeddings, get_distance, logits
from workbench.errors import ConfigError
from workbench.kernels.reference import raw_slopes

NAMES = list(DISTANCES)


def pairwise(name: str, pixels: Tensor, weight: Tensor) -> Tensor:
    """Logit at temperature 1 of every pair, from the vectors themselves."""
    rows = []
    for x in pixels:
        row = []
        for e in weight:
            gap = (x / x.norm() - e / e.norm()).norm()
            row.append(
                {
                    "euclidean": -gap,
                    "squared_euclidean": -(gap**2),
                    "cosine": (x * e).sum() / (x.norm() * e.norm()),
                    "linear": (x * e).sum(),
                }[name]
            )
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_formula(name: str) -> None:
    torch.manual_seed(0)
    pixels = 3 * torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(9, dtype=torch.float64) if name == "linear" else None
    classes = ClassEmbeddings(weight, bias, torch.tensor(20.0, dtype=torch.float64))
    ours = logits(pixels, classes, get_distance(name))
    right = 20.0 * pairwise(name, pixels, weight) + (0.0 if bias is None else bias)
    torch.testing.assert_close(ours, right)
    outer = torch.randn_like(right)
    for mine, theirs in zip(
        torch.autograd.grad(ours, [pixels, weight], outer),
        torch.autograd.grad(right, [pixels, weight], outer),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_is_the_derivative(name: str) -> None:
    distance = get_distance(name)
    products = torch.linspace(-1.0, 0.999, 41, dtype=torch.float64, requires_grad=True)
    (right,) = torch.autograd.grad(distance.logit(products).sum(), [products])
    torch.testing.assert_close(raw_slopes(products.detach(), distance.kind), right)
    assert (right > 0).all()  # the nearest class has the largest product


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_finite_where_points_coincide(name: str, dtype: torch.dtype) -> None:
    distance = get_distance(name)
    products = torch.tensor([1.0, 1.0 + 1e-7, -1.0], dtype=dtype)
    slopes = raw_slopes(products, distance.kind)
    for values in (distance.logit(products), slopes, distance.distance(products)):
        assert values.isfinite().all()
    if name == "euclidean":
        assert (slopes[:2] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_embedding_normalises_in_single_precision(name: str) -> None:
    distance = get_distance(name)
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.bfloat16)
    embedded = distance.embed(vectors)
    assert embedded.dtype == torch.float32
    first = [0.6, 0.8] if distance.normalized else [3.0, 4.0]
    torch.testing.assert_close(embedded, torch.tensor([first, [0.0, 0.0]]))
    assert distance.embed(vectors.double()).dtype == torch.float64


@pytest.mark.parametrize("name", ["euclidean", "squared_euclidean", "cosine"])
def test_reported_distances_are_between_unit_vectors(name: str) -> None:
    torch.manual_seed(0)
    x, e = functional.normalize(torch.randn(2, 50, 4, dtype=torch.float64), dim=2)
    reported = get_distance(name).distance((x * e).sum(dim=1))
    torch.testing.assert_close(reported, (x - e).norm(dim=1))


def test_an_unknown_distance_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"model\.distance: .*'manhattan'.*euclidean.*linear"):
        get_distance("manhattan")
