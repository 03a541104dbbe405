"""The chunked search against a full sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench.distances import DISTANCES, ClassEmbeddings, get_distance
from workbench.kernels.reference import tile_shape
from workbench.neighbours import (
    log_partition,
    nearest_classes,
    nearest_other_class,
    top_k_products,
)


def full_sort(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, order = scores.sort(dim=1, descending=True)
    return order[:, :k], values[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    pixels=st.integers(0, 9),
    classes=st.integers(1, 40),
    k=st.integers(1, 40),
    budget=st.integers(1, 3_000),
    with_bias=st.booleans(),
    exclude=st.booleans(),
    seed=st.integers(0, 1_000),
)
def test_top_k_is_the_head_of_a_full_sort(
    pixels: int, classes: int, k: int, budget: int, with_bias: bool, exclude: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(pixels, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(classes, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64) if with_bias else None
    own = torch.randint(0, classes, (pixels,), generator=generator) if exclude else None
    if own is not None and pixels >= 2:
        own[0], own[1] = 0, classes - 1
    k = min(k, classes - exclude)
    if k < 1:
        return
    scores = x @ weight.T + (0.0 if bias is None else bias)
    if own is not None:
        scores[torch.arange(pixels), own] = -torch.inf
    indices, values = top_k_products(x, weight, k, bias=bias, exclude=own, budget=budget)
    right_indices, right_values = full_sort(scores, k)
    assert indices.dtype == torch.int64 and indices.shape == (pixels, k)
    torch.testing.assert_close(values, right_values)
    assert torch.equal(indices, right_indices)


@pytest.mark.parametrize("budget", [1, 4_096 * 4, 2**26])
def test_ids_above_255_are_found(budget: int) -> None:
    weight = torch.eye(1284)
    x = weight[[0, 255, 256, 1283]]
    indices, scores = top_k_products(x, weight, 1, budget=budget)
    assert indices[:, 0].tolist() == [0, 255, 256, 1283] and (scores == 1).all()


def test_tables_wider_than_a_tile() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(9_000, 4), torch.randn(50, 4)
    own = (x @ weight.T).argmax(dim=1)
    for exclude in (None, own):
        scores = x @ weight.T
        if exclude is not None:
            scores[torch.arange(50), exclude] = -torch.inf
        indices, values = top_k_products(x, weight, 5, exclude=exclude)
        torch.testing.assert_close(values, full_sort(scores, 5)[1])
        assert torch.equal(indices, full_sort(scores, 5)[0])


@pytest.mark.parametrize(("k", "exclude"), [(0, False), (4, False), (3, True)])
def test_too_many_neighbours_are_refused(k: int, exclude: bool) -> None:
    own = torch.zeros(2, dtype=torch.int64) if exclude else None
    with pytest.raises(ValueError, match="k must lie between 1 and"):
        top_k_products(torch.randn(2, 2), torch.randn(3, 2), k, exclude=own)


@given(
    pixels=st.integers(1, 10**7),
    classes=st.integers(1, 10**7),
    budget=st.integers(1, 2**32),
    itemsize=st.sampled_from([2, 4, 8]),
)
def test_tiles_fit_the_budget(pixels: int, classes: int, budget: int, itemsize: int) -> None:
    rows, columns = tile_shape(pixels, classes, budget, itemsize)
    assert 1 <= rows <= pixels and 1 <= columns <= classes
    assert rows * columns * itemsize <= max(budget, itemsize)


@pytest.mark.parametrize("name", list(DISTANCES))
@pytest.mark.parametrize("budget", [64, 2**26])
def test_nearest_classes_and_their_logits(name: str, budget: int) -> None:
    torch.manual_seed(0)
    pixels = 3 * torch.randn(20, 4, dtype=torch.float64)
    weight = 2 * torch.randn(300, 4, dtype=torch.float64)
    bias = 5 * torch.randn(300, dtype=torch.float64) if name == "linear" else None
    classes = ClassEmbeddings(weight, bias, torch.tensor(7.0, dtype=torch.float64))
    x = pixels / pixels.norm(dim=1, keepdim=True)
    e = weight / weight.norm(dim=1, keepdim=True)
    gaps = (x[:, None] - e[None]).norm(dim=2)
    right = 7.0 * {
        "euclidean": -gaps,
        "squared_euclidean": -(gaps**2),
        "cosine": x @ e.T,
        "linear": pixels @ weight.T,
    }[name] + (0.0 if bias is None else bias)
    ids, values = nearest_classes(pixels, classes, get_distance(name), 6, budget=budget)
    assert torch.equal(ids, full_sort(right, 6)[0])
    torch.testing.assert_close(values, full_sort(right, 6)[1])


@pytest.mark.parametrize("budget", [1_000, 2**26])
def test_nearest_other_class_of_every_class(budget: int) -> None:
    torch.manual_seed(0)
    weight = 4 * torch.randn(300, 3)
    units = (weight / weight.norm(dim=1, keepdim=True)).tolist()
    ids, distances = nearest_other_class(weight, budget=budget)
    for own, (found, distance) in enumerate(zip(ids.tolist(), distances.tolist(), strict=True)):
        gaps = [
            sum((a - b) ** 2 for a, b in zip(units[own], other, strict=True)) ** 0.5
            for other in units
        ]
        gaps[own] = float("inf")
        assert found != own
        assert distance == pytest.approx(min(gaps), abs=1e-4)
        assert gaps[found] == pytest.approx(min(gaps), abs=1e-4)


def test_two_classes_are_each_others_nearest() -> None:
    ids, distances = nearest_other_class(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    assert ids.tolist() == [1, 0]
    torch.testing.assert_close(distances, torch.full((2,), 2**0.5))


@pytest.mark.parametrize("budget", [64, 1 << 20])  # eight classes at a time, and all of them
@pytest.mark.parametrize("distance", DISTANCES)
def test_the_partition_is_that_of_all_classes(distance: str, budget: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(11, 5, generator=generator)
    weight = torch.randn(300, 5, generator=generator)
    bias = torch.randn(300, generator=generator) if distance == "linear" else None
    classes = ClassEmbeddings(weight, bias, torch.tensor(3.0))
    x, e = pixels.double(), weight.double()
    if distance != "linear":
        x, e = x / x.norm(dim=1, keepdim=True), e / e.norm(dim=1, keepdim=True)
    apart = (x[:, None] - e[None]).norm(dim=2)
    raw = {"euclidean": -apart, "squared_euclidean": -apart.square()}.get(distance, x @ e.T)
    right = (3.0 * raw + (0.0 if bias is None else bias.double())).exp().sum(dim=1).log()
    found = log_partition(pixels, classes, get_distance(distance), budget=budget)
    torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)
