"""The three cross-entropies: exact in chunks, over the nearest classes, and dense.

All return ``LossTerms(sum, count)``: the sum over labelled pixels and their number, so that
micro-batches and processes add up to the same loss as one large batch.

``streaming`` and ``nearest`` work on a list of N pixel embeddings and a table of C class
embeddings and compute the gradient in the forward pass: what they keep is O((N + C) D),
and the tile of scores is bounded by a byte budget, whatever C.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings, Distance
from workbench.neighbours import DEFAULT_BUDGET, tile_shape, top_k_products

_TILES_ALIVE = 6  # products, logits, slopes, probabilities and the temporaries of log-sum-exp
_FEWEST_ROWS = 32  # below this a one-pass tile is too flat for an efficient product


class LossTerms(NamedTuple):
    """A loss before division.

    Attributes:
        sum: Loss summed over the labelled pixels, scalar.
        count: Number of labelled pixels, scalar int64; 0 if all were ignored.
    """

    sum: Tensor
    count: Tensor  # type: ignore[assignment]  # takes the place of tuple.count, which nobody needs

    def mean(self) -> Tensor:
        """Mean over labelled pixels; 0 (with zero gradients) where there are none."""
        return self.sum / self.count.clamp_min(1)


def streaming_cross_entropy(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    *,
    ignore_index: int = IGNORE_INDEX,
    budget: int = DEFAULT_BUDGET,
) -> LossTerms:
    """Exact cross-entropy over all C classes that never holds more than a tile of logits.

    ``-log softmax_c(T * logit(<x, e_c>) + b_c)[target]``. Equal to the dense formulation to
    rounding; forward and gradient in one pass where a tile of all C classes is tall enough,
    in two passes (online log-sum-exp, then gradients) beyond.

    Args:
        pixels: Pixel embeddings (N, D), fp32, fp64 or lower (then computed in fp32).
        classes: The C classes; gradients flow to weight, bias and temperature.
        targets: Class ids (N,) int64, 0..C-1 or ``ignore_index``.
        distance: Normalisation and logit.
        ignore_index: Label of pixels that count nothing.
        budget: Bytes of working memory.

    Returns:
        Sum and count over the labelled pixels.

    Raises:
        ValueError: A target is neither a class of the table nor ``ignore_index``.
    """
    labelled = _labelled(targets, len(classes.weight), ignore_index)
    count = torch.tensor(len(labelled), device=targets.device)
    total: Tensor = _Streaming.apply(
        distance.embed(pixels[labelled]),
        distance.embed(classes.weight),
        classes.bias,
        classes.temperature,
        targets[labelled],
        distance,
        budget,
    )
    return LossTerms(total, count)


def nearest_cross_entropy(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    *,
    k: int,
    ignore_index: int = IGNORE_INDEX,
    budget: int = DEFAULT_BUDGET,
) -> LossTerms:
    """The paper's loss: cross-entropy over the target and its k nearest other classes.

    Jain et al. 2021, section 3.3: the sum in the softmax is restricted to the k nearest
    classes, found without gradient. The target is excluded from that search, so it is never
    its own negative and no class is counted twice (the reference implementation replaces a
    hit by ``id - 1``, which can do both). With ``k = C - 1`` this is the exact loss.

    Args:
        pixels: Pixel embeddings (N, D).
        classes: The C classes; gradients flow to weight, bias and temperature.
        targets: Class ids (N,) int64, 0..C-1 or ``ignore_index``.
        distance: Normalisation and logit.
        k: Number of negatives; at most C - 1 are used.
        ignore_index: Label of pixels that count nothing.
        budget: Bytes of working memory of the search.

    Returns:
        Sum and count over the labelled pixels.

    Raises:
        ValueError: A target is neither a class of the table nor ``ignore_index``.
    """
    labelled = _labelled(targets, len(classes.weight), ignore_index)
    count = torch.tensor(len(labelled), device=targets.device)
    total: Tensor = _Nearest.apply(
        distance.embed(pixels[labelled]),
        distance.embed(classes.weight),
        classes.bias,
        classes.temperature,
        targets[labelled],
        distance,
        min(k, len(classes.weight) - 1),
        budget,
    )
    return LossTerms(total, count)


def dense_cross_entropy(
    logits: Tensor, targets: Tensor, *, ignore_index: int = IGNORE_INDEX
) -> LossTerms:
    """Softmax cross-entropy of a segmentation head with C outputs: the baseline.

    Args:
        logits: (B, C, H, W) or (N, C).
        targets: (B, H, W) or (N,) int64, 0..C-1 or ``ignore_index``.
        ignore_index: Label of pixels that count nothing.

    Returns:
        Sum and count over the labelled pixels.
    """
    total = functional.cross_entropy(
        logits.float() if logits.dtype != torch.float64 else logits,
        targets,
        ignore_index=ignore_index,
        reduction="sum",
    )
    return LossTerms(total, (targets != ignore_index).sum())


def _labelled(targets: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Positions of the pixels that count; a foreign id would otherwise pass as a wrong loss."""
    counted = targets != ignore_index
    if bool((counted & ((targets < 0) | (targets >= classes))).any()):
        foreign = targets[counted & ((targets < 0) | (targets >= classes))][0]
        raise ValueError(f"target {int(foreign)} is none of the {classes} classes")
    return counted.nonzero().squeeze(1)


class _Gradients(NamedTuple):
    """Where a loss collects its value and gradients; accumulated in place."""

    total: Tensor
    pixels: Tensor
    weight: Tensor
    bias: Tensor | None
    temperature: Tensor

    @classmethod
    def zeros(cls, pixels: Tensor, weight: Tensor, bias: Tensor | None) -> _Gradients:
        scalar = pixels.new_zeros(())
        return cls(
            scalar,
            torch.zeros_like(pixels),
            torch.zeros_like(weight),
            None if bias is None else torch.zeros_like(bias),
            scalar.clone(),
        )


class _Context(Protocol):
    """What autograd hands to forward and backward, and what we put on it."""

    saved_tensors: tuple[Tensor, ...]
    temperature_shape: torch.Size
    rest: tuple[None, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _GradientInForward(torch.autograd.Function):
    """Shared backward: the gradients are ready, only the outer factor is missing."""

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, outer: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight, temperature, *bias = ctx.saved_tensors
        head = (outer * pixels, outer * weight, outer * bias[0] if bias else None)
        return (*head, (outer * temperature).reshape(ctx.temperature_shape), *ctx.rest)

    @staticmethod
    def keep(ctx: _Context, grads: _Gradients, temperature: Tensor, others: int) -> Tensor:
        bias = () if grads.bias is None else (grads.bias,)
        ctx.save_for_backward(grads.pixels, grads.weight, grads.temperature, *bias)
        ctx.temperature_shape = temperature.shape
        ctx.rest = (None,) * others
        return grads.total


class _Streaming(_GradientInForward):
    @staticmethod
    def forward(
        ctx: _Context,
        pixels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperature: Tensor,
        targets: Tensor,
        distance: Distance,
        budget: int,
    ) -> Tensor:
        grads = _Gradients.zeros(pixels, weight, bias)
        per_tile = budget // _TILES_ALIVE
        rows = max(1, per_tile // (pixels.element_size() * len(weight)))
        columns = len(weight)
        if rows < min(_FEWEST_ROWS, len(pixels)):
            rows, columns = tile_shape(len(pixels), len(weight), per_tile, pixels.element_size())
        for top in range(0, len(pixels), rows):
            block = slice(top, top + rows)
            _streaming_block(
                pixels[block],
                ClassEmbeddings(weight, bias, temperature),
                targets[block],
                distance,
                columns,
                grads._replace(pixels=grads.pixels[block]),
            )
        return _GradientInForward.keep(ctx, grads, temperature, others=3)


class _Tile(NamedTuple):
    """Scores of a block of pixels against a chunk of classes."""

    chunk: slice
    raw: Tensor  # logit at temperature 1, without bias
    slope: Tensor  # its derivative by the product
    logits: Tensor
    rows: Tensor  # pixels whose target lies in this chunk ...
    hits: Tensor  # ... and the column it has there


def _tiles(
    pixels: Tensor, classes: ClassEmbeddings, targets: Tensor, distance: Distance, columns: int
) -> Iterator[_Tile]:
    for left in range(0, len(classes.weight), columns):
        chunk = slice(left, min(left + columns, len(classes.weight)))
        products = pixels @ classes.weight[chunk].T
        raw = distance.logit(products)
        logits = classes.temperature * raw
        if classes.bias is not None:
            logits += classes.bias[chunk]
        rows = ((targets >= chunk.start) & (targets < chunk.stop)).nonzero().squeeze(1)
        hits = targets[rows] - chunk.start
        yield _Tile(chunk, raw, distance.slope(products), logits, rows, hits)


def _streaming_block(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    distance: Distance,
    columns: int,
    grads: _Gradients,
) -> None:
    """Adds one block of pixels to the value and the gradients."""
    one_pass = columns >= len(classes.weight)
    tiles = list(_tiles(pixels, classes, targets, distance, columns)) if one_pass else None
    log_sum = pixels.new_full((len(pixels),), -torch.inf)
    own = pixels.new_zeros((len(pixels),))
    for tile in tiles or _tiles(pixels, classes, targets, distance, columns):
        log_sum = torch.logaddexp(log_sum, tile.logits.logsumexp(dim=1))
        own[tile.rows] = tile.logits[tile.rows, tile.hits]
    grads.total.add_((log_sum - own).sum())
    for tile in tiles or _tiles(pixels, classes, targets, distance, columns):
        slope = tile.logits.sub_(log_sum[:, None]).exp_()  # probabilities, in place
        slope[tile.rows, tile.hits] -= 1.0  # d loss / d logit
        if grads.bias is not None:
            grads.bias[tile.chunk] += slope.sum(dim=0)
        grads.temperature.add_(torch.dot(slope.flatten(), tile.raw.flatten()))
        slope *= tile.slope
        slope *= classes.temperature  # d loss / d product
        grads.pixels.addmm_(slope, classes.weight[tile.chunk])
        grads.weight[tile.chunk].addmm_(slope.T, pixels)


class _Nearest(_GradientInForward):
    @staticmethod
    def forward(
        ctx: _Context,
        pixels: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperature: Tensor,
        targets: Tensor,
        distance: Distance,
        k: int,
        budget: int,
    ) -> Tensor:
        grads = _Gradients.zeros(pixels, weight, bias)
        members = targets[:, None]
        products = (pixels * weight[targets]).sum(dim=1, keepdim=True)
        if k > 0:
            shift = None if bias is None else bias / temperature
            indices, scores = top_k_products(
                pixels, weight, k, bias=shift, exclude=targets, budget=budget
            )
            members = torch.cat((members, indices), dim=1)
            scores = scores if shift is None else scores - shift[indices]
            products = torch.cat((products, scores), dim=1)
        raw = distance.logit(products)
        logits = temperature * raw if bias is None else temperature * raw + bias[members]
        log_sum = logits.logsumexp(dim=1)
        grads.total.add_((log_sum - logits[:, 0]).sum())
        slope = (logits - log_sum[:, None]).exp_()
        slope[:, 0] -= 1.0  # d loss / d logit
        if grads.bias is not None:
            grads.bias.index_add_(0, members.flatten(), slope.flatten())
        grads.temperature.add_((slope * raw).sum())
        slope *= temperature * distance.slope(products)
        # One neighbour at a time: the (N, k + 1, D) tensor of gathered embeddings, the
        # reference implementation's largest, is never made.
        for column in range(members.shape[1]):
            member, factor = members[:, column], slope[:, column, None]
            grads.pixels.addcmul_(factor, weight[member])
            grads.weight.index_add_(0, member, factor * pixels)
        return _GradientInForward.keep(ctx, grads, temperature, others=4)
