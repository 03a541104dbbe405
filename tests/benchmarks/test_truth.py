from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional

from workbench.benchmarks import truth
from workbench.benchmarks.truth import Answer, Case, compare, settled, true_answer, verdict


def case(distance: str, classes: int = 9, **more: Any) -> Case:
    generator = torch.Generator().manual_seed(3)
    linear = distance == "linear"
    return Case(
        torch.randn((30, 4), generator=generator),
        torch.randn((classes, 4), generator=generator),
        torch.randn(classes, generator=generator) if linear else None,
        1.0 if linear else 20.0,
        torch.randint(0, classes, (30,), generator=generator),
        distance,
        **more,
    )


@pytest.mark.parametrize("chunk", [1, 10**9])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine", "linear"])
def test_the_truth_is_pytorchs(distance: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "_CHUNK_CELLS", chunk)
    problem = case(distance)
    x = problem.pixels.double().requires_grad_()
    e = problem.weight.double().requires_grad_()
    unit, table = functional.normalize(x), functional.normalize(e)
    logits = {
        "euclidean": lambda: -20 * torch.cdist(unit, table),
        "squared_euclidean": lambda: -20 * torch.cdist(unit, table) ** 2,
        "cosine": lambda: 20 * functional.cosine_similarity(unit[:, None], table[None], dim=2),
        "linear": lambda: functional.linear(x, e, problem.bias and None),
    }
    if distance == "linear":
        assert problem.bias is not None
        b = problem.bias.double().requires_grad_()
        loss = functional.cross_entropy(functional.linear(x, e, b), problem.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        assert e.grad is not None and b.grad is not None
        right = torch.cat((e.grad, b.grad[:, None]), dim=1)
    else:
        loss = functional.cross_entropy(logits[distance](), problem.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        assert e.grad is not None
        right = e.grad
    found = true_answer(problem)
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    assert x.grad is not None and found.table is not None
    torch.testing.assert_close(found.pixels, x.grad)
    torch.testing.assert_close(found.table, right)


def test_a_restricted_softmax_runs_over_what_it_says() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    problem = case("cosine", classes=5, k=2)._replace(
        pixels=torch.zeros(2, 4), targets=torch.tensor([1, 0])
    )

    def of(definition: Any, neighbours: torch.Tensor | None = None) -> list[list[int]]:
        asked = problem._replace(definition=definition, neighbours=neighbours)
        return truth.members(logits, asked).tolist()

    assert of("nearest") == [[1, 0, 2], [0, 1, 2]]
    # Class 1 becomes class 0, which is there already; class 0 becomes its own negative.
    assert of("reference") == [[1, 0, 0], [0, 0, 1]]
    assert of("given", torch.tensor([[4, 3], [2, 2]])) == [[1, 4, 3], [0, 2, 2]]


def test_pixels_with_a_tie_at_the_kth_place_are_left_out() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    pixels = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # as near to 0.6, 0.8 as to 0.8, 0.6
    problem = Case(pixels, weight, None, 20.0, torch.tensor([0, 1]), "cosine", "nearest", 1)
    assert settled(problem).tolist() == [1]
    assert settled(problem._replace(k=2)).tolist() == [0, 1]
    assert settled(problem._replace(definition="exact")).tolist() == [0, 1]


def test_errors_are_relative_and_not_a_number_is_wrong() -> None:
    right = Answer(2.0, torch.tensor([[4.0, 0.5]]), torch.tensor([[1.0]]))
    same = compare(right, right)
    assert same == (0.0, 0.0) and verdict(same, "fp32") == ""
    off = compare(Answer(2.02, torch.tensor([[4.0, 0.7]]), torch.tensor([[1.0]])), right)
    assert off.loss == pytest.approx(0.01) and off.gradient == pytest.approx(0.05)
    assert verdict(off, "fp32").startswith("wrong: ")
    table = compare(Answer(2.0, right.pixels, torch.tensor([[1.5]])), right)
    assert table.gradient == pytest.approx(0.5)
    assert verdict(compare(Answer(2.0, right.pixels, None), right), "fp32") == ""
    nothing = compare(Answer(float("nan"), right.pixels, None), right)
    assert verdict(nothing, "bf16").startswith("wrong: ")
    holes = compare(Answer(2.0, torch.tensor([[4.0, torch.nan]]), None), right)
    assert verdict(holes, "bf16").startswith("wrong: ")


def test_the_tolerances_are_those_of_the_number_formats() -> None:
    assert dict(truth.TOLERANCES).keys() == {"fp32", "bf16"}
    assert all(tolerance[0] < tolerance[1] < 0.1 for tolerance in truth.TOLERANCES.values())
    assert not dataclasses.is_dataclass(truth.Errors)  # a tuple: goes through JSON as columns
    assert truth.Errors(1.234e-7, 0.5).columns() == {"loss_error": 1.2e-7, "grad_error": 0.5}
