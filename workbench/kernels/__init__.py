"""The inner loops of losses and search, one implementation per kind of device.

``reference`` is plain torch and runs everywhere, also in float64; ``cpu`` is compiled for
float32 on a CPU; ``gpu`` for CUDA. All take embedded vectors (normalised where the distance
asks for it) and give loss and gradients in one call.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from workbench.kernels import reference
from workbench.kernels.terms import EUCLIDEAN, PRODUCT, SQUARED, LossGradients

__all__ = [
    "EUCLIDEAN",
    "PRODUCT",
    "SQUARED",
    "LossGradients",
    "contrast",
    "prepare",
    "search",
    "stream",
]


def prepare(device: torch.device) -> None:
    """Loads what a device's kernels need, compiling it on a new machine.

    To be called before the first step: what is loaded between the activations of a step
    keeps the memory about it from being given back.
    """
    if device.type == "cpu":
        from workbench.kernels import cpu

        cpu.available()


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
    """Cross-entropy over all C classes with its gradients, a tile of logits at a time.

    ``logit_c = temperature * raw(<x, e_c>) + offset_c``, and with weights h of the target and
    s_c of every class ``loss = (h + sum s) logsumexp(logit) - h logit_target - sum_c s_c logit_c``.

    Args:
        pixels: Embedded pixels (N, D).
        weight: Embedded classes (C, D), of the same type.
        offset: Added to the logits (C,), or None.
        targets: (N,) int64, 0..C-1.
        hard: Weight h of each target's log-probability (N,).
        smooth: Weight s of every class's log-probability (C,), for label smoothing; None is 0.
        temperature: Scalar tensor above 0.
        kind: EUCLIDEAN, SQUARED or PRODUCT: how a product becomes a raw logit.
        want_offset: Whether the offset's gradient is asked for.
        budget: Bytes of working memory.

    Returns:
        The sum over pixels and its gradients.
    """
    # Compiled kernels have the offset's gradient only where every slope is 1.
    backend = reference if want_offset and kind != PRODUCT else _backend(pixels)
    return backend.stream(
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


def contrast(
    pixels: Tensor,
    weight: Tensor,
    offset: Tensor | None,
    members: Tensor,
    *,
    hard: Tensor,
    temperature: Tensor,
    kind: int,
    want_offset: bool,
) -> LossGradients:
    """Cross-entropy of each pixel among its own few classes, the first being its target.

    Args:
        pixels: Embedded pixels (N, D).
        weight: Embedded classes (C, D), of the same type.
        offset: Added to the logits (C,), or None.
        members: (N, K) int64, distinct in a row.
        hard: Weights of the pixels (N,).
        temperature: Scalar tensor above 0.
        kind: EUCLIDEAN, SQUARED or PRODUCT.
        want_offset: Whether the offset's gradient is asked for.

    Returns:
        The sum over pixels and its gradients.
    """
    if _compiled(pixels):
        from workbench.kernels import cpu

        run = cpu.contrast
    else:
        run = reference.contrast
    return run(
        pixels,
        weight,
        offset,
        members,
        hard=hard,
        temperature=temperature,
        kind=kind,
        want_offset=want_offset,
    )


@torch.no_grad()
def search(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    *,
    offset: Tensor | None = None,
    exclude: Tensor | None = None,
    budget: int,
) -> tuple[Tensor, Tensor]:
    """The k classes with the largest ``<x, e_c> + offset_c`` for every pixel.

    Args:
        pixels: (N, D).
        weight: (C, D).
        k: How many, at most C (C - 1 with ``exclude``).
        offset: (C,) or None.
        exclude: One class per pixel that is left out, (N,) int64, or None.
        budget: Bytes of working memory.

    Returns:
        (ids (N, k) int64, scores (N, k)), largest first; equal scores in no fixed order.
    """
    backend = _backend(pixels)
    return backend.search(pixels, weight, k, offset=offset, exclude=exclude, budget=budget)


class _Backend(Protocol):
    """A module with the kernels of one kind of device."""

    def stream(
        self,
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
    ) -> LossGradients: ...

    def search(
        self,
        pixels: Tensor,
        weight: Tensor,
        k: int,
        *,
        offset: Tensor | None,
        exclude: Tensor | None,
        budget: int,
    ) -> tuple[Tensor, Tensor]: ...


def _backend(pixels: Tensor) -> _Backend:
    if _compiled(pixels):
        from workbench.kernels import cpu

        return cpu
    if pixels.is_cuda and pixels.dtype == torch.float32:
        from workbench.kernels import gpu

        if gpu.available():
            return gpu
    return reference


def _compiled(pixels: Tensor) -> bool:
    """Whether the compiled CPU kernels take these vectors, and are there."""
    if pixels.device.type != "cpu" or pixels.dtype != torch.float32:
        return False
    from workbench.kernels import cpu

    return cpu.available()
