"""What a loss and its gradients are: float64, from the definition, all logits of a few pixels.

Written without the library's distances, searches and losses, so that it can contradict them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.benchmarks.harness import WRONG

Definition = Literal["exact", "nearest", "reference", "given"]
"""Which classes the softmax runs over: all of them; the target and its k nearest others; as
in the reference code, see :func:`members`; or the target and neighbours somebody found."""

TOLERANCES: Mapping[str, tuple[float, float]] = {
    "fp32": (1e-5, 1e-4),
    "bf16": (1e-2, 5e-2),
}
"""dtype of the inputs -> largest error of the loss, relative to it, and of a gradient,
relative to its largest element. bf16 has 8 bits; a peer may round its logits to them."""

_TIED = 1e-5  # logits closer than this times T have no order in fp32
_CHUNK_CELLS = 2**21


class Case(NamedTuple):
    """Pixels, classes and what is computed from them.

    Attributes:
        pixels: (N, D).
        weight: (C, D).
        bias: (C,) or None.
        temperature: Multiplies all logits but not the bias.
        targets: (N,) int64.
        distance: Key of ``workbench.distances.DISTANCES``.
        definition: What the softmax runs over.
        k: Neighbours of "nearest" and "reference".
        neighbours: Those that are "given" (N, k).
    """

    pixels: Tensor
    weight: Tensor
    bias: Tensor | None
    temperature: float
    targets: Tensor
    distance: str
    definition: Definition = "exact"
    k: int = 0
    neighbours: Tensor | None = None

    def at(self, some: Tensor | slice) -> Case:
        """The same for some pixels only."""
        neighbours = None if self.neighbours is None else self.neighbours[some]
        return self._replace(
            pixels=self.pixels[some], targets=self.targets[some], neighbours=neighbours
        )

    def parts(self) -> Iterator[Case]:
        """As many pixels at a time as keep a matrix of logits small."""
        rows = max(1, _CHUNK_CELLS // len(self.weight))
        for top in range(0, len(self.pixels), rows):
            yield self.at(slice(top, top + rows))


class Answer(NamedTuple):
    """A mean loss and its gradients, in any precision.

    Attributes:
        loss: Scalar.
        pixels: Gradient by the pixels (N, D).
        table: By the classes (C, D), with a column for the bias where there is one; None
            where it is not known.
    """

    loss: float
    pixels: Tensor
    table: Tensor | None


def true_answer(case: Case) -> Answer:
    """The mean loss and its gradients in float64."""
    weight = case.weight.detach().double().requires_grad_()
    bias = None if case.bias is None else case.bias.detach().double().requires_grad_()
    total, gradients = 0.0, []
    for part in case.parts():
        pixels, targets = part.pixels.detach().double().requires_grad_(), part.targets
        logits = true_logits(pixels, weight, bias, case.temperature, case.distance)
        if case.definition != "exact":
            logits = logits.gather(1, members(logits.detach(), part))
            targets = torch.zeros_like(targets)
        loss = functional.cross_entropy(logits, targets, reduction="sum") / len(case.pixels)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
        gradients.append(gradient(pixels))
    return Answer(total, torch.cat(gradients), table_gradient(weight, bias))


def gradient(leaf: Tensor) -> Tensor:
    """What backward left at a tensor; zeros where nothing came."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def table_gradient(weight: Tensor, bias: Tensor | None) -> Tensor:
    """The gradients of a class table as an :class:`Answer` has them."""
    columns = [gradient(weight)] + ([] if bias is None else [gradient(bias)[:, None]])
    return torch.cat(columns, dim=1)


def spread(count: int, some: int, device: torch.device | str) -> Tensor:
    """Positions (some,) int64 from 0 to count - 1, as even as they get."""
    return torch.linspace(0, count - 1, some, dtype=torch.float64, device=device).long()


def true_logits(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, distance: str
) -> Tensor:
    """All logits (N, C) of pixels (N, D) and classes (C, D), in their precision."""
    if distance != "linear":
        pixels = pixels / pixels.norm(dim=1, keepdim=True)
        weight = weight / weight.norm(dim=1, keepdim=True)
    scores = pixels @ weight.T
    if distance == "squared_euclidean":
        scores = 2.0 * scores - 2.0
    elif distance == "euclidean":
        scores = -(2.0 - 2.0 * scores).clamp_min(1e-14).sqrt()
    scores = temperature * scores
    return scores if bias is None else scores + bias


def members(logits: Tensor, case: Case) -> Tensor:
    """The classes (n, k + 1) a restricted softmax runs over, the target first.

    "nearest" are the k with the largest logits among the others. "reference" is what the
    published code does: the k with the largest logits among all; where one of them is the
    target, it is replaced by the class before it, ``id - 1``, which can be there twice, and
    for class 0 is the target itself.
    """
    own = case.targets[:, None]
    if case.neighbours is not None:
        found = case.neighbours
    elif case.definition == "nearest":
        found = logits.scatter(1, own, -torch.inf).topk(case.k, dim=1).indices
    else:
        found = logits.topk(case.k, dim=1).indices
        found = torch.where(found == own, (found - 1).clamp_min(0), found)
    return torch.cat((own, found), dim=1)


def settled(case: Case) -> Tensor:
    """Positions of the pixels whose k nearest classes rounding cannot change."""
    restricted = case.definition in ("nearest", "reference")
    if not restricted or case.k >= len(case.weight) - 1:
        return torch.arange(len(case.pixels), device=case.pixels.device)
    weight = case.weight.detach().double()
    bias = None if case.bias is None else case.bias.detach().double()
    clear = []
    for part in case.parts():
        pixels = part.pixels.detach().double()
        logits = true_logits(pixels, weight, bias, case.temperature, case.distance)
        if case.definition == "nearest":
            logits.scatter_(1, part.targets[:, None], -torch.inf)
        best = logits.topk(case.k + 1, dim=1).values
        clear.append(best[:, -2] - best[:, -1] > _TIED * case.temperature)
    return torch.cat(clear).nonzero().squeeze(1)


class Errors(NamedTuple):
    """How far an answer is from the true one.

    Attributes:
        loss: Of the loss, relative to it.
        gradient: The largest of a gradient's elements, relative to its largest element.
    """

    loss: float
    gradient: float

    def columns(self) -> dict[str, float]:
        """As a row has them."""
        return {
            "loss_error": float(f"{self.loss:.2g}"),
            "grad_error": float(f"{self.gradient:.2g}"),
        }


def compare(found: Answer, right: Answer) -> Errors:
    """The errors of an answer; a table's gradient counts where both have one."""
    worst = _furthest(found.pixels, right.pixels)
    if found.table is not None and right.table is not None:
        worst = max(worst, _furthest(found.table, right.table))
    return Errors(abs(found.loss - right.loss) / max(abs(right.loss), 1e-12), worst)


def _furthest(found: Tensor, right: Tensor) -> float:
    scale = right.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    return float((found.double() - right).abs().max() / scale)


def verdict(errors: Errors, dtype: str) -> str:
    """A row's note: empty where the errors are tolerable."""
    loss, gradient = TOLERANCES[dtype]
    # The other way round, NaN would pass.
    if errors.loss <= loss and errors.gradient <= gradient:
        return ""
    return (
        f"{WRONG}the loss is off by {errors.loss:.1e} ({loss:.0e} is tolerated), "
        f"a gradient by {errors.gradient:.1e} ({gradient:.0e})"
    )
