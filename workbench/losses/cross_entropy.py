"""The three cross-entropies: exact in tiles, over the nearest classes, and dense.

All return ``LossTerms(sum, count)``: the sum over labelled pixels and their weight, so that
micro-batches and processes add up to the same loss as one large batch.

``streaming`` and ``nearest`` take pixel embeddings, or a low-resolution map of them, and a
table of C class embeddings. They compute the gradient in the forward pass, a block of pixels
at a time: what they keep is O((N + C) D), and working memory is bounded by a byte budget.

Examples:
    Of 1284 classes that nothing tells apart yet, the exact loss sees all, the paper's the true
    one and k others:

    >>> from workbench.distances import get_distance
    >>> classes = ClassEmbeddings(torch.ones(1284, 12), None, torch.tensor(20.0))
    >>> pixels, targets = torch.randn(4, 12), torch.tensor([0, 300, 1283, IGNORE_INDEX])
    >>> cosine = get_distance("cosine")
    >>> exact = streaming_cross_entropy(pixels, classes, targets, cosine)
    >>> int(exact.count), round(float(exact.mean().exp()))
    (3, 1284)
    >>> few = nearest_cross_entropy(pixels, classes, targets, cosine, k=7)
    >>> round(float(few.mean().exp()), 2)
    8.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings, Distance
from workbench.kernels import PRODUCT, LossGradients, contrast, stream
from workbench.losses.blocks import blocks
from workbench.neighbours import DEFAULT_BUDGET, top_k_products

_CPU_BLOCK: Final = 2 * 2**20
"""Bytes for a block of pixels on a CPU: what fits its cache; larger ones gain time slowly and
cost as much memory as they are large."""
_CPU_BLOCK_NEAREST: Final = 4 * 2**20
"""The same where a block costs two calls of kernels, the search and the loss."""

_GPU_BLOCK: Final = 256 * 2**20
"""The same on a GPU, which large blocks keep busy: two pictures of 512 x 512 at D = 12. In blocks
of 32 MiB, all pixels made a step of an H200 three times as long as a few of them did."""

Search = Callable[[Tensor, Tensor], Tensor]
"""(embedded pixels (n, D), one class each to leave out (n,)) -> nearest class ids (n, k)."""


class LossTerms(NamedTuple):
    """A loss before division.

    Attributes:
        sum: Loss summed over the labelled pixels, scalar.
        count: Number of labelled pixels (int64), or the sum of their weights; 0 if all were
            ignored.
    """

    sum: Tensor
    count: Tensor  # type: ignore[assignment]  # takes the place of tuple.count, which nobody needs

    def mean(self) -> Tensor:
        """Mean over labelled pixels; 0 (with zero gradients) where there are none."""
        return self.sum / torch.where(self.count > 0, self.count, 1)


def streaming_cross_entropy(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
    budget: int = DEFAULT_BUDGET,
) -> LossTerms:
    """Exact cross-entropy over all C classes that never holds more than a tile of logits.

    ``-log softmax_c(T * logit(<x, e_c>) + b_c)[target]``, equal to the dense formulation to
    rounding, with the weights and smoothing of ``torch.nn.functional.cross_entropy``. For logit
    adjustment (Menon et al., ICLR 2021), give the classes a bias of tau times the log prior.

    Args:
        pixels: Pixel embeddings (N, D), fp32, fp64 or lower (then computed in fp32); or a
            map (B, D, h, w), upsampled bilinearly to the targets a strip at a time.
        classes: The C classes; gradients flow to weight, bias and temperature.
        targets: Class ids int64, 0..C-1 or ``ignore_index``: (N,), or (B, H, W) for a map.
        distance: Normalisation and logit.
        class_weights: Weight of each class's pixels (C,); 1 if None.
        label_smoothing: Share of each target that goes to all classes alike, 0..1.
        ignore_index: Label of pixels that count nothing.
        budget: Bytes of working memory; on a GPU, blocks of pixels may take 256 MiB besides.

    Returns:
        Sum and count over the labelled pixels; with class weights, the sum of their weights.

    Raises:
        ValueError: A target is neither a class of the table nor ``ignore_index``.
    """
    count = _labelled(targets, len(classes.weight), ignore_index)
    weights = None if class_weights is None else class_weights.detach().to(_precision(pixels))
    smooth = _smoothing(classes.weight.to(_precision(pixels)), weights, label_smoothing)

    def block_loss(x: Tensor, own: ClassEmbeddings, ids: Tensor) -> LossGradients:
        hard = x.new_ones(len(ids)) if weights is None else weights[ids]
        return stream(
            x,
            own.weight,
            own.bias,
            ids,
            hard=hard * (1.0 - label_smoothing),
            smooth=smooth,
            temperature=own.temperature,
            kind=distance.kind,
            want_offset=classes.bias is not None and classes.bias.requires_grad,
            budget=budget,
        )

    size = _block_bytes(pixels, budget, _CPU_BLOCK)
    total = _accumulate(pixels, classes, targets, distance, block_loss, ignore_index, size)
    if weights is not None:
        count = weights[targets[targets != ignore_index]].sum()
    return LossTerms(total, count)


def nearest_cross_entropy(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    *,
    k: int,
    search: Search | None = None,
    ignore_index: int = IGNORE_INDEX,
    budget: int = DEFAULT_BUDGET,
) -> LossTerms:
    """The paper's loss: cross-entropy over the target and its k nearest other classes.

    Jain et al. 2021, section 3.3. Negatives are found without gradient. The target is excluded
    from that search, so it is never its own negative and no class is counted twice (the
    reference implementation replaces a hit by ``id - 1``, which can do both). With
    ``k = C - 1`` this is the exact loss.

    Args:
        pixels: Pixel embeddings (N, D), or a map (B, D, h, w) as for ``streaming``.
        classes: The C classes; gradients flow to weight, bias and temperature.
        targets: Class ids int64, 0..C-1 or ``ignore_index``: (N,), or (B, H, W) for a map.
        distance: Normalisation and logit.
        k: Number of negatives; at most C - 1 are used.
        search: Finds them; the exact search if None.
        ignore_index: Label of pixels that count nothing.
        budget: Bytes of working memory.

    Returns:
        Sum and count over the labelled pixels.

    Raises:
        ValueError: A target is neither a class of the table nor ``ignore_index``.
    """
    count = _labelled(targets, len(classes.weight), ignore_index)
    negatives = min(k, len(classes.weight) - 1)

    def block_loss(x: Tensor, own: ClassEmbeddings, ids: Tensor) -> LossGradients:
        if search is not None:
            found = search(x, ids)
        else:
            found = _nearest_others(x, own, ids, negatives, distance, budget)
        members = torch.cat((ids[:, None], found), dim=1)
        return contrast(
            x,
            own.weight,
            own.bias,
            members,
            hard=x.new_ones(len(ids)),
            temperature=own.temperature,
            kind=distance.kind,
            want_offset=classes.bias is not None and classes.bias.requires_grad,
        )

    size = _block_bytes(pixels, budget, _CPU_BLOCK_NEAREST)
    total = _accumulate(pixels, classes, targets, distance, block_loss, ignore_index, size)
    return LossTerms(total, count)


def _nearest_others(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    k: int,
    distance: Distance,
    budget: int,
) -> Tensor:
    """The k nearest classes of each pixel but its target, (n, k)."""
    if k == 0:
        return targets.new_empty(len(targets), 0)
    # Where logits are no products, a bias reorders classes; near is near all the same.
    shift = None
    if classes.bias is not None and distance.kind == PRODUCT:
        shift = classes.bias / classes.temperature
    found, _ = top_k_products(pixels, classes.weight, k, bias=shift, exclude=targets, budget=budget)
    return found


def dense_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
) -> LossTerms:
    """Softmax cross-entropy of a segmentation head with C outputs: the baseline.

    Args:
        logits: (B, C, H, W) or (N, C).
        targets: (B, H, W) or (N,) int64, 0..C-1 or ``ignore_index``.
        label_smoothing: Share of each target that goes to all classes alike, 0..1.
        ignore_index: Label of pixels that count nothing.

    Returns:
        Sum and count over the labelled pixels.

    Examples:
        >>> loss = dense_cross_entropy(torch.zeros(1, 21, 2, 2), torch.zeros(1, 2, 2).long())
        >>> int(loss.count), round(float(loss.mean().exp()))
        (4, 21)
    """
    total = functional.cross_entropy(
        logits.float() if logits.dtype != torch.float64 else logits,
        targets,
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return LossTerms(total, (targets != ignore_index).sum())


def _smoothing(weight: Tensor, weights: Tensor | None, share: float) -> Tensor | None:
    """What each class gets of every pixel's target (C,); None without smoothing."""
    if share == 0:
        return None
    every = torch.ones_like(weight[:, 0]) if weights is None else weights
    return every.detach() * (share / len(weight))


def _block_bytes(pixels: Tensor, budget: int, cpu: int) -> int:
    """What a block of pixels may take; half of the budget at least is for tiles of logits."""
    return min(budget // 2, cpu) if pixels.device.type == "cpu" else max(budget // 2, _GPU_BLOCK)


def _precision(pixels: Tensor) -> torch.dtype:
    return torch.float64 if pixels.dtype == torch.float64 else torch.float32


def _labelled(targets: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Number of pixels that count; a foreign id would otherwise pass as a wrong loss."""
    counted = targets != ignore_index
    foreign = counted & ((targets < 0) | (targets >= classes))
    if bool(foreign.any()):
        raise ValueError(f"target {int(targets[foreign][0])} is none of the {classes} classes")
    return counted.sum()


BlockLoss = Callable[[Tensor, ClassEmbeddings, Tensor], LossGradients]
"""(embedded pixels (n, D), embedded classes, targets (n,)) -> loss with gradients."""


def _accumulate(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    block_loss: BlockLoss,
    ignore_index: int,
    block_bytes: int,
) -> Tensor:
    """The sum of ``block_loss`` over all labelled pixels, with gradients."""
    precision = _precision(pixels)
    total: Tensor = _GradientInForward.apply(
        pixels,
        distance.embed(classes.weight.to(precision)),
        None if classes.bias is None else classes.bias.to(precision),
        classes.temperature.to(precision),
        targets,
        distance,
        block_loss,
        ignore_index,
        block_bytes,
    )
    return total


class _Context(Protocol):
    """What autograd hands to forward and backward, and what we put on it."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _GradientInForward(torch.autograd.Function):
    """Goes through the blocks once; backward only multiplies by the outer factor."""

    @staticmethod
    def forward(
        ctx: _Context,
        pixels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperature: Tensor,
        targets: Tensor,
        distance: Distance,
        block_loss: BlockLoss,
        ignore_index: int,
        block_bytes: int,
    ) -> Tensor:
        classes = ClassEmbeddings(weight, bias, temperature)
        by_pixels = torch.zeros_like(pixels, dtype=weight.dtype)
        by_weight = torch.zeros_like(weight)
        by_bias = weight.new_zeros(0 if bias is None else len(bias))
        total, by_temperature = weight.new_zeros(2).unbind()
        for block in blocks(
            pixels, targets, by_pixels, ignore_index=ignore_index, budget=block_bytes
        ):
            if len(block.targets) == 0:
                continue
            with torch.enable_grad():
                embedded = distance.embed(block.vectors)
            loss = block_loss(embedded.detach(), classes, block.targets)
            total += loss.total
            by_weight += loss.weight
            by_temperature += loss.temperature
            if loss.offset is not None:
                by_bias += loss.offset
            block.gradient.add_(torch.autograd.grad(embedded, block.source, loss.pixels)[0])
        ctx.save_for_backward(by_pixels, by_weight, by_bias, by_temperature)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, outer: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight, bias, temperature = ctx.saved_tensors
        by_bias = outer * bias if len(bias) else None
        head = (outer * pixels, outer * weight, by_bias, outer * temperature)
        return (*head, None, None, None, None, None)
