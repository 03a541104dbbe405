"""Pixels a block at a time: rows of a list, or images or strips of a map upsampled on the fly.

A loss makes its gradients while it goes through the blocks, so that neither a full-resolution
map of embeddings nor a copy of all labelled pixels is ever there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.losses.pixel_sampling import axis_weights, rows_at_full_size, upsample


class Block(NamedTuple):
    """Labelled pixels, as the end of a small graph of their own.

    Attributes:
        source: Leaf that the vectors come from: rows of the list or of the map.
        vectors: (n, D), fp32 or fp64.
        targets: (n,) int64.
        gradient: Where the gradient by ``source`` is to be added.
    """

    source: Tensor
    vectors: Tensor
    targets: Tensor
    gradient: Tensor


def blocks(
    pixels: Tensor, targets: Tensor, gradient: Tensor, *, ignore_index: int, budget: int
) -> Iterator[Block]:
    """Goes through the labelled pixels.

    Args:
        pixels: (N, D), or a map (B, D, h, w) to be upsampled bilinearly.
        targets: (N,) int64, or (B, H, W) for a map.
        gradient: Of the shape of ``pixels``, in the precision to compute in (fp32, fp64).
        ignore_index: Target of pixels that are left out.
        budget: Bytes for the copies a block needs.
    """
    # Looked at once: where every pixel counts, no block needs to look for those that do.
    ignored = None if bool((targets != ignore_index).all()) else ignore_index
    wide = 8 if gradient.dtype == torch.float64 else 4
    if pixels.ndim == 2:
        # The vectors, unit vectors, what normalising keeps, and the gradients by both.
        rows = max(1, budget // (6 * wide * pixels.shape[1] + 64))
        return _rows(pixels, targets, gradient, ignored, rows)
    # Besides, the strip before its labelled pixels are picked, and its gradient.
    height, width = targets.shape[1:]
    rows = max(1, budget // (width * (9 * wide * pixels.shape[1] + 64)))
    if rows >= height:
        return _images(pixels, targets, gradient, ignored, rows // height)
    return _strips(pixels, targets, gradient, ignored, rows)


def _pick(vectors: Tensor, targets: Tensor, ignored: int | None) -> tuple[Tensor, Tensor]:
    """The labelled ones; no copy where all are."""
    if ignored is None:
        return vectors, targets
    kept = (targets != ignored).nonzero().squeeze(1)
    if len(kept) == len(targets):
        return vectors, targets
    return vectors.index_select(0, kept), targets[kept]


def _rows(
    pixels: Tensor, targets: Tensor, gradient: Tensor, ignored: int | None, rows: int
) -> Iterator[Block]:
    for top in range(0, len(pixels), rows):
        block = slice(top, top + rows)
        source = pixels[block].detach().requires_grad_()
        with torch.enable_grad():
            part = _pick(source.to(gradient.dtype), targets[block], ignored)
        yield Block(source, *part, gradient[block])


def _images(
    features: Tensor, mask: Tensor, gradient: Tensor, ignored: int | None, images: int
) -> Iterator[Block]:
    size = (mask.shape[1], mask.shape[2])
    for first in range(0, len(features), images):
        block = slice(first, first + images)
        source = features[block].detach().requires_grad_()
        with torch.enable_grad():
            full = upsample(source.to(gradient.dtype), size).permute(0, 2, 3, 1)
            part = _pick(full.flatten(0, 2), mask[block].flatten(), ignored)
        yield Block(source, *part, gradient[block])


def _strips(
    features: Tensor, mask: Tensor, gradient: Tensor, ignored: int | None, rows: int
) -> Iterator[Block]:
    height, width = mask.shape[1:]
    lines = torch.arange(height, device=mask.device)
    first, second, share = axis_weights(lines, height, features.shape[2], gradient.dtype)
    # Read once: each look at a GPU's numbers waits for all its work.
    lowest, highest = first.tolist(), second.tolist()
    for image in range(len(features)):
        for top in range(0, height, rows):
            strip = slice(top, min(top + rows, height))
            above, below = lowest[strip][0], highest[strip][-1] + 1
            source = features[image, :, above:below].detach().requires_grad_()
            with torch.enable_grad():
                weights = (first[strip] - above, second[strip] - above, share[strip])
                full = rows_at_full_size(source.to(gradient.dtype), weights, width)
                part = _pick(full.flatten(1).T, mask[image, strip].flatten(), ignored)
            yield Block(source, *part, gradient[image, :, above:below])
