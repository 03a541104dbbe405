"""The compiled kernels against plain torch in double precision, written out here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.kernels import EUCLIDEAN, PRODUCT, SQUARED, cpu, reference

KINDS = [EUCLIDEAN, SQUARED, PRODUCT]
BUDGET = 2**20


class Problem(NamedTuple):
    pixels: Tensor
    weight: Tensor
    offset: Tensor | None
    targets: Tensor
    hard: Tensor
    smooth: Tensor | None
    temperature: Tensor


def make(
    kind: int,
    *,
    pixels: int = 101,
    classes: int = 300,
    dim: int = 6,
    offset: bool = False,
    smooth: bool = False,
    temperature: float = 20.0,
) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, w = normal(pixels, dim), normal(classes, dim)
    if kind != PRODUCT:
        x, w = functional.normalize(x), functional.normalize(w)
    targets = torch.randint(0, classes, (pixels,), generator=generator)
    targets[:1], targets[1:2] = 0, classes - 1
    return Problem(
        x,
        w,
        normal(classes) if offset else None,
        targets,
        0.5 + torch.rand(pixels, generator=generator),
        0.2 * torch.rand(classes, generator=generator) / classes if smooth else None,
        torch.tensor(temperature if kind != PRODUCT else 1.5),
    )


def dense(problem: Problem, kind: int) -> list[Tensor]:
    """Loss and gradients in float64, from the definition."""
    x, w, temperature = (
        part.double().requires_grad_()
        for part in (problem.pixels, problem.weight, problem.temperature)
    )
    offset = torch.zeros(len(w), dtype=torch.float64)
    if problem.offset is not None:
        offset = problem.offset.double()
    offset.requires_grad_()
    square = (2 - 2 * x @ w.T).clamp_min(1e-9)
    raw = {EUCLIDEAN: -square.sqrt(), SQUARED: -square, PRODUCT: x @ w.T}[kind]
    log_p = (temperature * raw + offset).log_softmax(dim=1)
    loss = -(problem.hard * log_p.gather(1, problem.targets[:, None])[:, 0]).sum()
    if problem.smooth is not None:
        loss = loss - (log_p @ problem.smooth.double()).sum()
    return [loss.detach(), *torch.autograd.grad(loss, [x, w, offset, temperature])]


def compiled(problem: Problem, kind: int, budget: int = BUDGET) -> list[Tensor]:
    result = cpu.stream(
        problem.pixels,
        problem.weight,
        problem.offset,
        problem.targets,
        hard=problem.hard,
        smooth=problem.smooth,
        temperature=problem.temperature,
        kind=kind,
        want_offset=True,
        budget=budget,
    )
    assert result.offset is not None
    return [result.total, result.pixels, result.weight, result.offset, result.temperature]


def assert_close(ours: list[Tensor], right: list[Tensor], tolerance: float = 5e-6) -> None:
    """Errors relative to the largest entry: gradients of one loss share a scale."""
    for mine, exact in zip(ours, right, strict=True):
        assert mine.shape == exact.shape
        assert mine.dtype == torch.float32
        error = (mine.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-12)
        assert error < tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("classes", [1, 5, 300, cpu.WIDEST + 501])
def test_streaming_is_the_definition(kind: int, smooth: bool, classes: int) -> None:
    # An offset has a gradient in the linear distance alone, where slopes are 1.
    problem = make(kind, classes=classes, smooth=smooth, offset=kind == PRODUCT)
    ours, right = compiled(problem, kind), dense(problem, kind)
    if kind != PRODUCT:
        del ours[3], right[3]
    if classes == 1:
        assert all(part.abs().max() < 1e-4 for part in ours)
        return
    assert_close(ours, right)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("dim", [2, 3, 4, 33])
def test_odd_sizes_are_padded(kind: int, pixels: int, dim: int) -> None:
    problem = make(kind, pixels=pixels, dim=dim, classes=67, temperature=5.0)
    ours, right = compiled(problem, kind), dense(problem, kind)
    del ours[3], right[3]
    # In few dimensions some pixel is close to a class: 2 - 2s loses digits.
    assert_close(ours, right, 2e-4 if kind == EUCLIDEAN else 2e-5)


def test_a_small_budget_takes_pixels_in_blocks() -> None:
    problem = make(EUCLIDEAN, pixels=203, classes=cpu.WIDEST + 1)
    few, many = (compiled(problem, EUCLIDEAN, budget=budget) for budget in (1, BUDGET))
    for one, other in zip(few, many, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_sharp_and_far_logits_stay_finite() -> None:
    problem = make(PRODUCT, classes=300)._replace(temperature=torch.tensor(400.0))
    ours = compiled(problem, PRODUCT)
    assert all(bool(part.isfinite().all()) for part in ours)
    assert_close(ours[:1], dense(problem, PRODUCT)[:1])


def test_pixels_on_their_class_have_no_direction() -> None:
    problem = make(EUCLIDEAN, pixels=40)
    problem.pixels[:] = problem.weight[problem.targets]
    ours = compiled(problem, EUCLIDEAN)
    assert all(bool(part.isfinite().all()) for part in ours)
    theirs = reference.stream(
        *problem[:4],
        hard=problem.hard,
        smooth=None,
        temperature=problem.temperature,
        kind=EUCLIDEAN,
        want_offset=False,
        budget=BUDGET,
    )
    torch.testing.assert_close(ours[1], theirs.pixels, rtol=1e-3, atol=1e-4)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    problem = make(EUCLIDEAN, pixels=2_003, classes=700)
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(compiled(problem, EUCLIDEAN))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_many_threads_may_call_at_once() -> None:
    """As the sessions of an app do."""
    problem = make(EUCLIDEAN, pixels=500, classes=1284)

    def find(_: int) -> Tensor:
        ids, _scores = cpu.search(
            problem.pixels, problem.weight, 3, offset=None, exclude=None, budget=BUDGET
        )
        return ids

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(find, range(12)))
    assert all(bool((one == found[0]).all()) for one in found)


@pytest.mark.parametrize("classes", [8, 63, 64, 130, 1284, 3 * cpu.WIDEST])
@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("offset", [False, True])
def test_search_is_the_head_of_a_full_sort(classes: int, k: int, offset: bool) -> None:
    problem = make(EUCLIDEAN, classes=classes, offset=offset, pixels=57)
    ids, scores = cpu.search(
        problem.pixels,
        problem.weight,
        k,
        offset=problem.offset,
        exclude=problem.targets,
        budget=BUDGET,
    )
    products = problem.pixels.double() @ problem.weight.double().T
    if problem.offset is not None:
        products += problem.offset.double()
    products[torch.arange(57), problem.targets] = -torch.inf
    values, order = products.sort(dim=1, descending=True)
    torch.testing.assert_close(scores.double(), values[:, :k], rtol=1e-5, atol=1e-6)
    assert (ids == order[:, :k]).float().mean() > 0.99  # but for ties to rounding


def test_search_finds_all_when_asked_for_all() -> None:
    problem = make(PRODUCT, classes=100, pixels=9)
    ids, scores = cpu.search(
        problem.pixels, problem.weight, 100, offset=None, exclude=None, budget=BUDGET
    )
    assert (ids.sort(dim=1).values == torch.arange(100)).all()
    assert (scores.diff(dim=1) <= 0).all()


def test_equal_classes_are_all_found() -> None:
    pixels = torch.ones(4, 4)
    ids, _ = cpu.search(pixels, torch.ones(200, 4), 7, offset=None, exclude=None, budget=BUDGET)
    assert all(len(set(row)) == 7 and min(row) >= 0 for row in ids.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_contrast_is_the_loss_among_members(kind: int) -> None:
    problem = make(kind, offset=kind == PRODUCT, classes=500)
    others = torch.stack([torch.randperm(499)[:5] for _ in range(101)])
    members = torch.cat((problem.targets[:, None], others), dim=1)
    members[:, 1:] += (members[:, 1:] >= problem.targets[:, None]).long()  # never the target
    ours = cpu.contrast(
        problem.pixels,
        problem.weight,
        problem.offset,
        members,
        hard=problem.hard,
        temperature=problem.temperature,
        kind=kind,
        want_offset=True,
    )
    doubles = problem._replace(
        pixels=problem.pixels.double().requires_grad_(),
        weight=problem.weight.double().requires_grad_(),
    )
    temperature = problem.temperature.double().requires_grad_()
    offset = torch.zeros(500).double() if problem.offset is None else problem.offset.double()
    offset.requires_grad_()
    products = (doubles.pixels[:, None] * doubles.weight[members]).sum(dim=2)
    square = (2 - 2 * products).clamp_min(1e-9)
    raw = {EUCLIDEAN: -square.sqrt(), SQUARED: -square, PRODUCT: products}[kind]
    log_p = (temperature * raw + offset[members]).log_softmax(dim=1)
    loss = -(problem.hard * log_p[:, 0]).sum()
    right = torch.autograd.grad(loss, [doubles.pixels, doubles.weight, offset, temperature])
    assert ours.offset is not None
    assert_close(
        [ours.total, ours.pixels, ours.weight, ours.offset, ours.temperature],
        [loss.detach(), *right],
        1e-5,
    )
