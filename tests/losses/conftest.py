from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.distances import ClassEmbeddings


class Problem(NamedTuple):
    """Random embeddings with targets; all tensors are leaves."""

    pixels: Tensor
    weight: Tensor
    bias: Tensor | None
    temperature: Tensor
    targets: Tensor

    @property
    def classes(self) -> ClassEmbeddings:
        return ClassEmbeddings(self.weight, self.bias, self.temperature)

    @property
    def leaves(self) -> list[Tensor]:
        found = [self.pixels, self.weight, self.bias, self.temperature]
        return [leaf for leaf in found if leaf is not None]


MakeProblem = Callable[..., Problem]
Oracle = Callable[[Problem, str], Tensor]


@pytest.fixture
def make_problem() -> MakeProblem:
    """Pixels of uneven length; every third one ignored, the first two of class 0 and C - 1."""

    def make(
        distance: str,
        *,
        pixels: int = 23,
        classes: int = 7,
        dim: int = 4,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        ignored: bool = True,
    ) -> Problem:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        targets = torch.randint(0, classes, (pixels,), generator=generator)
        if pixels >= 2:
            targets[0], targets[1] = 0, classes - 1
        if ignored:
            targets[2::3] = -100
        return Problem(
            (2.5 * normal(pixels, dim)).requires_grad_(),
            (0.7 * normal(classes, dim)).requires_grad_(),
            normal(classes).requires_grad_() if distance == "linear" else None,
            torch.tensor(3.5, dtype=dtype).requires_grad_(),
            targets,
        )

    return make


def all_logits(problem: Problem, distance: str) -> Tensor:
    """Every logit, written from the definitions, (N, C)."""
    if distance == "linear":
        return problem.temperature * functional.linear(problem.pixels, problem.weight) + (
            0.0 if problem.bias is None else problem.bias
        )
    x, e = functional.normalize(problem.pixels, dim=1), functional.normalize(problem.weight, dim=1)
    if distance == "euclidean":
        exact = "donot_use_mm_for_euclid_dist"
        return -problem.temperature * torch.cdist(x, e, compute_mode=exact)
    if distance == "squared_euclidean":
        return -problem.temperature * (x[:, None] - e[None]).square().sum(dim=2)
    assert distance == "cosine"
    angles = functional.cosine_similarity(problem.pixels[:, None], problem.weight[None], dim=2)
    return problem.temperature * angles


@pytest.fixture
def logits_oracle() -> Oracle:
    """Logits of a problem under a distance, independent of the library."""
    return all_logits


@pytest.fixture
def loss_oracle() -> Oracle:
    """Summed cross-entropy over all classes, independent of the library."""

    def loss(problem: Problem, distance: str) -> Tensor:
        logits = all_logits(problem, distance)
        return functional.cross_entropy(logits, problem.targets, reduction="sum")

    return loss
