"""The cross-entropies against formulas written out here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.distances import DISTANCES, ClassEmbeddings, get_distance
from workbench.kernels import reference
from workbench.losses import (
    LossTerms,
    cross_entropy,
    dense_cross_entropy,
    nearest_cross_entropy,
    streaming_cross_entropy,
)

NAMES = list(DISTANCES)
BUDGETS = [1, 100, 5_000, 64 * 2**20]
Loss = Callable[[Any, str], LossTerms]


def nearest(problem: Any, distance: str, k: int, budget: int = 2**20) -> LossTerms:
    return nearest_cross_entropy(
        problem.pixels,
        problem.classes,
        problem.targets,
        get_distance(distance),
        k=k,
        budget=budget,
    )


def streaming(problem: Any, distance: str, budget: int = 2**20) -> LossTerms:
    return streaming_cross_entropy(
        problem.pixels, problem.classes, problem.targets, get_distance(distance), budget=budget
    )


LOSSES: dict[str, Loss] = {
    "nearest": lambda problem, distance: nearest(problem, distance, k=3),
    "streaming": lambda problem, distance: streaming(problem, distance, budget=100),
}


def assert_same(ours: Tensor, theirs: Tensor, leaves: list[Tensor], **tolerance: float) -> None:
    """Value and all gradients."""
    torch.testing.assert_close(ours, theirs, **tolerance)
    got = torch.autograd.grad(ours, leaves, retain_graph=True)
    expected = torch.autograd.grad(theirs, leaves, retain_graph=True)
    for mine, right in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, right, **tolerance)


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_nearest_with_all_other_classes_is_the_exact_loss(
    make_problem: Any, loss_oracle: Any, distance: str, budget: int
) -> None:
    problem = make_problem(distance)
    terms = nearest(problem, distance, k=len(problem.weight) - 1, budget=budget)
    assert_same(terms.sum, loss_oracle(problem, distance), problem.leaves)


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_streaming_is_the_exact_loss_for_every_tile(
    make_problem: Any, loss_oracle: Any, distance: str, budget: int
) -> None:
    problem = make_problem(distance)
    terms = streaming(problem, distance, budget)
    assert_same(terms.sum, loss_oracle(problem, distance), problem.leaves)


@pytest.mark.parametrize("distance", NAMES)
def test_both_are_exact_for_1284_classes(
    make_problem: Any, loss_oracle: Any, distance: str
) -> None:
    problem = make_problem(distance, classes=1284, pixels=40)
    assert {0, 1283} <= set(problem.targets.tolist()) and problem.targets.max() > 255
    right = loss_oracle(problem, distance)
    for budget in (8_000, 60_000, 2**26):  # several chunks of classes; flat rows; one pass
        assert_same(streaming(problem, distance, budget).sum, right, problem.leaves)
    assert_same(nearest(problem, distance, k=1283).sum, right, problem.leaves)


@pytest.mark.parametrize(("budget", "passes"), [(1, 2), (100, 2), (2**26, 1)])
def test_the_budgets_here_reach_both_ways_of_streaming(
    make_problem: Any, monkeypatch: pytest.MonkeyPatch, budget: int, passes: int
) -> None:
    widths = []
    original = reference._stream_block

    def spy(*arguments: Any) -> None:
        widths.append(arguments[4])
        original(*arguments)

    monkeypatch.setattr(reference, "_stream_block", spy)
    streaming(make_problem("cosine"), "cosine", budget)
    assert set(width >= 7 for width in widths) == {passes == 1}


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", [*LOSSES, "streaming, one pass"])
def test_gradients_are_those_of_the_values(make_problem: Any, distance: str, loss: str) -> None:
    problem = make_problem(distance, pixels=5, classes=6, dim=3)
    call = LOSSES.get(loss, streaming)

    def value(pixels: Tensor, weight: Tensor, temperature: Tensor, *bias: Tensor) -> Tensor:
        changed = problem._replace(
            pixels=pixels, weight=weight, temperature=temperature, bias=bias[0] if bias else None
        )
        return call(changed, distance).sum

    leaves = [problem.pixels, problem.weight, problem.temperature]
    bias = [] if problem.bias is None else [problem.bias]
    assert torch.autograd.gradcheck(value, (*leaves, *bias))


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", [*LOSSES, "streaming, one pass"])
def test_outer_factors_reach_the_gradients(make_problem: Any, distance: str, loss: str) -> None:
    problem = make_problem(distance)
    total = LOSSES.get(loss, streaming)(problem, distance).sum
    plain = torch.autograd.grad(total, problem.leaves, retain_graph=True)
    scaled = torch.autograd.grad((total * 0.25).square(), problem.leaves)
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(other, one * (2 * 0.25**2 * total.detach()))


@pytest.mark.parametrize("distance", NAMES)
def test_single_precision_is_close(make_problem: Any, loss_oracle: Any, distance: str) -> None:
    exact = make_problem(distance, classes=300, pixels=64)
    problem = make_problem(distance, classes=300, pixels=64, dtype=torch.float32)
    right = loss_oracle(exact, distance)
    expected = torch.autograd.grad(right, exact.leaves)
    for terms in (streaming(problem, distance), nearest(problem, distance, k=299)):
        torch.testing.assert_close(terms.sum.double(), right, rtol=1e-5, atol=1e-4)
        for got, want in zip(torch.autograd.grad(terms.sum, problem.leaves), expected, strict=True):
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_half_precision_pixels_are_computed_in_single(
    make_problem: Any, distance: str, loss: str
) -> None:
    problem = make_problem(distance, dtype=torch.float32)
    low = problem.pixels.detach().bfloat16().requires_grad_()
    terms = LOSSES[loss](problem._replace(pixels=low), distance)
    right = LOSSES[loss](problem._replace(pixels=low.detach().float()), distance)
    assert terms.sum.dtype == torch.float32
    torch.testing.assert_close(terms.sum, right.sum, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(terms.sum, [low])
    assert gradient.dtype == torch.bfloat16 and gradient.isfinite().all()


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_two_unequal_parts_equal_the_whole(make_problem: Any, distance: str, loss: str) -> None:
    problem = make_problem(distance, classes=300)
    whole = LOSSES[loss](problem, distance)
    parts = [
        LOSSES[loss](
            problem._replace(pixels=problem.pixels[half], targets=problem.targets[half]), distance
        )
        for half in (slice(0, 6), slice(6, None))
    ]
    assert parts[0].count != parts[1].count
    assert whole.count == parts[0].count + parts[1].count == (problem.targets != -100).sum()
    assert_same(parts[0].sum + parts[1].sum, whole.sum, problem.leaves)


def nearest_by_definition(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Sum over labelled pixels of -log softmax over the target and its k best rivals."""
    total = logits.new_zeros(())
    for row, target in zip(logits, targets.tolist(), strict=True):
        if target == -100:
            continue
        values = row.tolist()
        rivals = sorted((c for c in range(len(row)) if c != target), key=lambda c: -values[c])
        total = total + torch.logsumexp(row[[target, *rivals[:k]]], dim=0) - row[target]
    return total


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_nearest_is_the_target_and_its_k_best_rivals(
    make_problem: Any, logits_oracle: Any, distance: str, k: int
) -> None:
    problem = make_problem(distance, classes=9)
    right = nearest_by_definition(logits_oracle(problem, distance), problem.targets, k)
    for budget in BUDGETS:
        assert_same(nearest(problem, distance, k, budget).sum, right, problem.leaves)


def test_more_neighbours_than_classes_takes_all(make_problem: Any, loss_oracle: Any) -> None:
    problem = make_problem("cosine")
    assert_same(
        nearest(problem, "cosine", k=99).sum, loss_oracle(problem, "cosine"), problem.leaves
    )


def on_a_circle(classes: int) -> ClassEmbeddings:
    """Class c's nearest classes are c - 1 and c + 1."""
    angle = torch.arange(classes, dtype=torch.float64) * (2 * torch.pi / classes)
    weight = torch.stack((angle.cos(), angle.sin()), dim=1)
    return ClassEmbeddings(weight, None, torch.tensor(20.0, dtype=torch.float64))


def reference_members(pixels: Tensor, weight: Tensor, targets: Tensor, k: int) -> Tensor:
    """The trap: a target found among its own neighbours is replaced by ``id - 1``."""
    found = torch.cdist(pixels, weight).topk(k, largest=False).indices
    found = torch.where(found == targets[:, None], (found - 1).clamp_min(0), found)
    return torch.cat((targets[:, None], found), dim=1)


def test_the_target_is_never_its_own_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    classes, k = on_a_circle(1284), 4
    targets = torch.tensor([0, 1, 255, 256, 700, 1282, 1283])
    pixels = classes.weight[targets] + 1e-4  # each pixel lies at its own class
    seen: list[Tensor] = []
    original = cross_entropy.top_k_products

    def spy(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        indices, scores = original(*arguments, **options)
        seen.append(indices)
        return indices, scores

    monkeypatch.setattr(cross_entropy, "top_k_products", spy)
    distance = get_distance("euclidean")
    terms = nearest_cross_entropy(pixels, classes, targets, distance, k=k, budget=4_000)

    members = torch.cat((targets[:, None], seen[0]), dim=1)
    assert [len(set(row)) for row in members.tolist()] == [k + 1] * len(targets)
    for target, row in zip(targets.tolist(), seen[0].tolist(), strict=True):
        assert {(target - 1) % 1284, (target + 1) % 1284} <= set(row) and target not in row

    theirs = reference_members(functional.normalize(pixels, dim=1), classes.weight, targets, k)
    assert [len(set(row)) for row in theirs.tolist()] == [k] * len(targets)  # one class twice
    assert 0 in theirs[0, 1:]  # class 0 is its own negative

    logits = -20.0 * torch.cdist(functional.normalize(pixels, dim=1), classes.weight)
    right = functional.cross_entropy(logits.gather(1, members), torch.zeros_like(targets))
    wrong = functional.cross_entropy(logits.gather(1, theirs), torch.zeros_like(targets))
    torch.testing.assert_close(terms.mean(), right, rtol=1e-6, atol=0)
    assert abs(float(wrong - right)) > 0.01


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_ignored_pixels_give_no_loss_and_no_gradient(
    make_problem: Any, distance: str, loss: str
) -> None:
    problem = make_problem(distance)
    kept = problem.targets != -100
    terms = LOSSES[loss](problem, distance)
    alone = LOSSES[loss](
        problem._replace(pixels=problem.pixels[kept], targets=problem.targets[kept]), distance
    )
    assert terms.count == kept.sum() == 16
    assert_same(terms.sum, alone.sum, problem.leaves)
    (gradient,) = torch.autograd.grad(terms.sum, [problem.pixels])
    assert (gradient[~kept] == 0).all() and (gradient[kept] != 0).any(dim=1).all()


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", [*LOSSES, "streaming, one pass"])
@pytest.mark.parametrize("pixels", [0, 5])
def test_nothing_labelled_gives_zero(
    make_problem: Any, distance: str, loss: str, pixels: int
) -> None:
    problem = make_problem(distance, pixels=pixels, classes=1284)
    problem.targets.fill_(-100)
    terms = LOSSES.get(loss, streaming)(problem, distance)
    assert terms.sum == 0 and terms.count == 0 and terms.mean() == 0
    for gradient in torch.autograd.grad(terms.mean(), problem.leaves):
        assert (gradient == 0).all()


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_single_class_is_certain(make_problem: Any, distance: str, loss: str) -> None:
    problem = make_problem(distance, classes=1)
    terms = LOSSES[loss](problem, distance)
    assert terms.count == 16
    torch.testing.assert_close(terms.sum.item(), 0.0)
    for gradient in torch.autograd.grad(terms.sum, problem.leaves):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("distance", NAMES)
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_on_their_class_stay_finite(
    make_problem: Any, distance: str, loss: str, dtype: torch.dtype
) -> None:
    problem = make_problem(distance, ignored=False, dtype=dtype)
    on_top = problem.weight.detach()[problem.targets].clone().requires_grad_()
    on_top.data[3] = 0.0  # has no direction at all
    problem = problem._replace(pixels=on_top)
    terms = LOSSES[loss](problem, distance)
    for value in (terms.sum, *torch.autograd.grad(terms.sum, problem.leaves)):
        assert value.isfinite().all()


@pytest.mark.parametrize("foreign", [7, 255, -1])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_foreign_targets_are_refused(make_problem: Any, loss: str, foreign: int) -> None:
    problem = make_problem("cosine")
    problem.targets[3] = foreign
    with pytest.raises(ValueError, match=f"target {foreign} is none of the 7 classes"):
        LOSSES[loss](problem, "cosine")


def test_extreme_logits_do_not_overflow(make_problem: Any, loss_oracle: Any) -> None:
    problem = make_problem("cosine", dtype=torch.float32)
    problem = problem._replace(temperature=torch.tensor(5_000.0, requires_grad=True))
    for terms in (streaming(problem, "cosine", 1), nearest(problem, "cosine", k=6)):
        torch.testing.assert_close(terms.sum, loss_oracle(problem, "cosine"), rtol=1e-4, atol=0.1)


def dense_by_definition(logits: Tensor, targets: Tensor) -> Tensor:
    """Over (C, N) and (N,), one pixel after another."""
    kept = [(logits[:, n], int(t)) for n, t in enumerate(targets) if t != -100]
    return torch.stack([row.exp().sum().log() - row[t] for row, t in kept]).sum()


def test_dense_equals_the_definition() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1284, 3, 2, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[[0, 1283], [256, -100], [5, 7]], [[-100, 1], [2, 3], [999, 4]]])
    terms = dense_cross_entropy(logits, targets)
    right = dense_by_definition(logits.transpose(0, 1).flatten(1), targets.flatten())
    assert terms.count == 10
    assert_same(terms.sum, right, [logits])

    parts = [dense_cross_entropy(logits[i : i + 1], targets[i : i + 1]) for i in (0, 1)]
    assert_same(parts[0].sum + parts[1].sum, terms.sum, [logits])
    assert parts[0].count + parts[1].count == terms.count


@pytest.mark.parametrize("shape", [(2, 300, 4, 4), (0, 300)])
def test_dense_without_labels_gives_zero(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, requires_grad=True)
    targets = torch.full((shape[0], *shape[2:]), -100)
    terms = dense_cross_entropy(logits, targets)
    (gradient,) = torch.autograd.grad(terms.mean(), [logits])
    assert terms.sum == 0 and terms.count == 0 and (gradient == 0).all()


def test_dense_computes_half_precision_in_single() -> None:
    logits = torch.randn(6, 300).bfloat16()
    terms = dense_cross_entropy(logits, torch.arange(6) + 290)
    assert terms.sum.dtype == torch.float32
