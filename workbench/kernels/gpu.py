"""Losses and search on CUDA: Triton kernels that never write a tile of scores to memory.

What limits them. For N pixels and C classes of D numbers, memory traffic is O(N D + C D) and
a table of 1,284 x 12 stays in the caches, so that a GPU waits for arithmetic on the N C pairs.
Each of two sweeps takes an exponential and, for the Euclidean distance, an inverse square root
a pair, 12 D operations on tensor cores and, counted in the code compiled for Hopper, 25 (D = 12)
to 45 (D = 64) instructions in all. On an H100 or H200 (132 processors at 1.755 GHz, each with
16 special functions and 128 instructions a clock) 2 million pixels times 1,284 classes of
D = 12 so take at least 2.9 ms for the special functions and 4.9 ms to issue.

Accuracy. Inputs are fp32 or bf16, sums fp32. Products are exact to 2**-20 of the vectors'
lengths, and so the loss is as good as in plain fp32. Gradients carry 16 bits of every
probability and vector: 1e-4 of their largest component. On the same GPU every run gives the
same bits.

State. Run on an H200 with Triton 3.6, in Triton's interpreter (3.7 to 3.9), and compiled, not
run, for sm_80 to sm_120. On the H200, 2 million pixels and 1,284 classes took 4 to 13 times what
the slowest resource asks for (D = 12 and 32); block sizes were chosen by instructions, not time.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from workbench.kernels import reference
from workbench.kernels.terms import LossGradients

WIDEST: Final = 64
"""Largest D; beyond, vectors and tiles do not fit the registers together."""
MOST_NEIGHBOURS: Final = 16
"""Largest k; beyond, the list of the best does not."""

_BLOCK: Final = 64  # vectors a program holds
_PROGRAMS: Final = 8  # a processor works off in turn, so that the last ones are a small part
_STATISTICS: Final = 5  # numbers per pixel that sweep_classes leaves
# fp_fusion: a multiplication and an addition are one instruction; Triton 3.10 asks for it.
_OPTIONS: Final[dict[str, Any]] = {"num_stages": 2, "enable_fp_fusion": True}


@functools.cache
def available() -> bool:
    """Whether Triton can run: on an NVIDIA GPU from sm_80 on, or interpreted.

    ``TRITON_INTERPRET=1`` runs the kernels on a CPU, slowly, for tests.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    if _interpreted():
        return True
    nvidia = torch.cuda.is_available() and torch.version.cuda is not None
    return nvidia and torch.cuda.get_device_capability() >= (8, 0)


def stream(
    pixels: Tensor,
    weight: Tensor,
    offset: Tensor | None,
    targets: Tensor,
    *,
    hard: Tensor,
    smooth: Tensor | None,
    temperature: Tensor,
    kind: int,
    want_offset: bool,
    budget: int,
) -> LossGradients:
    """See :func:`workbench.kernels.stream`; fp32 or bf16, gradients are fp32.

    Weights must not be negative. Memory is O(N D + C D): what a sum in parts takes on top is
    held within ``budget``. For D above ``WIDEST`` this is the plain torch path.
    """
    if pixels.shape[1] > WIDEST or len(pixels) == 0:
        return reference.stream(
            pixels,
            weight,
            offset,
            targets,
            hard=hard,
            smooth=smooth,
            temperature=temperature,
            kind=kind,
            want_offset=want_offset,
            budget=budget,
        )
    even = weight.new_zeros((), dtype=torch.float32) if smooth is None else smooth.float().sum()
    problem = _Problem(
        *_vectors(pixels, weight),
        _row(offset),
        targets.contiguous(),
        hard.float().contiguous(),
        _row(smooth),
        even,
        temperature.detach().float().contiguous(),
        kind,
    )
    with _on(pixels):
        found = problem.by_pixels(budget)
        by_weight, by_offset = problem.by_classes(found.levels, want_offset, budget)
    # Added up in fp64: a fp32 sum of millions would lose what the kernels kept.
    total = found.losses.sum(dtype=torch.float64)
    if offset is not None and smooth is not None:
        total -= len(pixels) * (smooth.double() @ offset.double())
    by_temperature = found.by_temperature.sum(dtype=torch.float64)
    return LossGradients(
        total.float(), found.gradient, by_weight, by_offset, by_temperature.float()
    )


def search(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    *,
    offset: Tensor | None,
    exclude: Tensor | None,
    budget: int,
) -> tuple[Tensor, Tensor]:
    """See :func:`workbench.kernels.search`; fp32 or bf16, scores are fp32.

    An offset of -inf comes back as a score of -1e30. For k above ``MOST_NEIGHBOURS`` or D
    above ``WIDEST`` this is the plain torch path.
    """
    count, classes = len(pixels), len(weight)
    if k > MOST_NEIGHBOURS or pixels.shape[1] > WIDEST or count == 0:
        return reference.search(pixels, weight, k, offset=offset, exclude=exclude, budget=budget)
    from workbench.kernels.gpu_search import search_classes

    x, e = _vectors(pixels, weight)
    most = budget // (count * k * 8)  # int32 and fp32
    splits, per_split = _split(_blocks(count), classes, _BLOCK, most, x.device)
    ids = torch.empty(count, splits * k, dtype=torch.int32, device=x.device)
    scores = torch.empty(count, splits * k, device=x.device)
    with _on(pixels):
        search_classes[(_blocks(count), splits)](
            x,
            e,
            _row(offset),
            None if exclude is None else exclude.contiguous(),
            ids,
            scores,
            count,
            classes,
            per_split,
            K=k,
            DIM=x.shape[1],
            HAS_OFFSET=offset is not None,
            HAS_EXCLUDE=exclude is not None,
            SPLIT=x.dtype == torch.float32,
            WIDTH=_width(x.shape[1]),
            SLOTS=max(2, _power_of_two(k)),
            ROWS=_BLOCK,
            COLUMNS=_BLOCK,
            **options(x.shape[1]),
        )
    best, place = scores.topk(k, dim=1)
    # Only where products are NaN are there fewer than k.
    return ids.gather(1, place).long().clamp_min_(0), best


class _Found(NamedTuple):
    """What the sweep over classes gives: per pixel."""

    gradient: Tensor
    levels: Tensor
    losses: Tensor
    by_temperature: Tensor


class _Problem(NamedTuple):
    """Arguments of the kernels, in their types and contiguous."""

    pixels: Tensor
    weight: Tensor
    offset: Tensor | None
    targets: Tensor
    hard: Tensor
    smooth: Tensor | None
    smooth_sum: Tensor
    temperature: Tensor
    kind: int

    def by_pixels(self, budget: int) -> _Found:
        """Losses, log-sum-exps and the gradient by the pixels."""
        from workbench.kernels.gpu_stream import finish_pixels, sweep_classes

        (count, dim), classes = self.pixels.shape, len(self.weight)
        step = _step(dim)
        parts = 1 if self.smooth is None else 2
        most = budget // (count * 4 * (dim * parts + _STATISTICS))
        splits, per_split = _split(_blocks(count), classes, step, most, self.pixels.device)
        gradients = self._empty(splits, count, dim)
        even = None if self.smooth is None else self._empty(splits, count, dim)
        statistics = self._empty(splits, _STATISTICS, count)
        sweep_classes[(_blocks(count), splits)](
            self.pixels,
            self.weight,
            self.offset,
            self.smooth,
            self.targets,
            self.temperature,
            gradients,
            even,
            statistics,
            count,
            classes,
            per_split,
            SPLIT=self._split_products(),
            ROWS=_BLOCK,
            COLUMNS=step,
            **self._constants(),
        )
        found = _Found(gradients[0], self._empty(count), self._empty(count), self._empty(count))
        finish_pixels[(_blocks(count),)](
            self.weight,
            self.offset,
            self.targets,
            self.hard,
            self.smooth_sum,
            self.temperature,
            gradients,
            even,
            statistics,
            *found[1:],
            count,
            splits,
            ROWS=_BLOCK,
            **self._constants(),
        )
        # A view would keep all parts alive until the backward pass.
        return found if splits == 1 else found._replace(gradient=gradients[0].clone())

    def by_classes(
        self, levels: Tensor, want_offset: bool, budget: int
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients by the classes and by their offsets."""
        from workbench.kernels.gpu_stream import sweep_pixels

        (count, dim), classes = self.pixels.shape, len(self.weight)
        step = _step(dim)
        most = budget // (classes * 4 * (dim + want_offset))
        splits, per_split = _split(_blocks(classes), count, step, most, self.pixels.device)
        by_weight = self._empty(splits, classes, dim)
        by_offset = self._empty(splits, classes) if want_offset else None
        sweep_pixels[(_blocks(classes), splits)](
            self.pixels,
            self.weight,
            self.offset,
            self.smooth,
            self.targets,
            self.hard,
            levels,
            self.temperature,
            by_weight,
            by_offset,
            count,
            classes,
            per_split,
            WANT_OFFSET=want_offset,
            SPLIT=self._split_products(),
            ROWS=step,
            COLUMNS=_BLOCK,
            **self._constants(),
        )
        if by_offset is None:
            return by_weight.sum(dim=0), None
        even = 0.0 if self.smooth is None else count * self.smooth
        return by_weight.sum(dim=0), by_offset.sum(dim=0) - even

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.pixels.device)

    def _split_products(self) -> bool:
        return self.pixels.dtype == torch.float32

    def _constants(self) -> dict[str, Any]:
        """What all three kernels are compiled for."""
        dim = self.pixels.shape[1]
        return {
            "DIM": dim,
            "KIND": self.kind,
            "HAS_OFFSET": self.offset is not None,
            "HAS_SMOOTH": self.smooth is not None,
            "WIDTH": _width(dim),
            **options(dim),
        }


def options(dim: int) -> dict[str, Any]:
    """How the kernels are compiled for vectors of D numbers.

    Four warps let the compiler use Hopper's asynchronous matrix instructions (wgmma). Triton
    3.6 gets those wrong where the second product is narrower than 64: on an H200 gradients were
    garbage, or memory outside the arrays was read. Two warps keep to the older instructions,
    which are right at every width, and faster where vectors are short.
    """
    return {**_OPTIONS, "num_warps": 4 if _width(dim) >= 64 else 2}


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _on(pixels: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(pixels.device) if pixels.is_cuda else contextlib.nullcontext()


def _vectors(pixels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in bf16, or both in fp32."""
    kind = torch.bfloat16 if pixels.dtype == weight.dtype == torch.bfloat16 else torch.float32
    return pixels.to(kind).contiguous(), weight.to(kind).contiguous()


def _row(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.float().contiguous()


def _power_of_two(count: int) -> int:
    """The smallest one that is not below ``count``."""
    return 1 << (count - 1).bit_length()


def _width(dim: int) -> int:
    """D as tiles have it: tensor cores take products of 16 at least."""
    return max(16, _power_of_two(dim))


def _step(dim: int) -> int:
    """Vectors that a program loads at a time, as many as do not spill registers."""
    return 64 if _width(dim) <= 32 else 32


def _blocks(count: int) -> int:
    return -(-count // _BLOCK)


def _split(blocks: int, items: int, step: int, most: int, device: torch.device) -> tuple[int, int]:
    """Shares out a loop where there are too few blocks to keep a GPU busy.

    Args:
        blocks: Programs there are anyway.
        items: Length of the loop of each.
        step: What the loop advances by.
        most: Splits that the results' memory allows.
        device: What runs it.

    Returns:
        (splits, none of them empty; items of each, a multiple of ``step``).
    """
    processors = (
        torch.cuda.get_device_properties(device).multi_processor_count
        if device.type == "cuda"
        else 1
    )
    steps = -(-items // step)
    wanted = -(-_PROGRAMS * processors // blocks)
    each = -(-steps // max(1, min(wanted, most, steps)))
    return -(-steps // each), each * step
