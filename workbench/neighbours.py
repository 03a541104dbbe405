"""Exact nearest classes in chunks: memory is set by a byte budget, not by C.

All distances of :mod:`workbench.distances` grow with the inner product, so the nearest
class is the one with the largest product (plus bias, for the linear distance). The same
search serves the paper's loss, prediction, evaluation and the class table itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, Distance

DEFAULT_BUDGET = 64 * 2**20
"""Bytes of working memory for one tile of scores."""

_WIDEST_TILE = 4096  # classes a tile spans at most before it gets taller


def tile_shape(pixels: int, classes: int, budget: int, itemsize: int = 4) -> tuple[int, int]:
    """Rows and columns of a score tile that fits the budget.

    Args:
        pixels: Number of rows N to go through.
        classes: Number of columns C to go through.
        budget: Bytes the tile may take.
        itemsize: Bytes of one score.

    Returns:
        (rows, columns), each at least 1, ``rows * columns * itemsize <= budget`` as far as
        one score fits at all.
    """
    cells = max(1, budget // itemsize)
    columns = max(1, min(classes, _WIDEST_TILE, cells))
    rows = max(1, min(pixels, cells // columns))
    return rows, columns


@torch.no_grad()
def top_k_products(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    *,
    bias: Tensor | None = None,
    exclude: Tensor | None = None,
    budget: int = DEFAULT_BUDGET,
) -> tuple[Tensor, Tensor]:
    """The k classes with the largest score ``<x, e_c> + b_c`` for every pixel.

    Args:
        pixels: (N, D), in the form the distance takes products in.
        weight: (C, D), likewise.
        k: How many, at most C (C - 1 with ``exclude``).
        bias: (C,) added to the products.
        exclude: (N,) int64, one class per pixel that must not be among its neighbours.
        budget: Bytes for one tile of scores.

    Returns:
        (indices (N, k) int64, scores (N, k)), best first.

    Raises:
        ValueError: Fewer than k classes are left to choose from.
    """
    count, classes = len(pixels), len(weight)
    available = classes - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"k must lie between 1 and {available} for {classes} classes, got {k}")
    rows, columns = tile_shape(count, classes, budget, pixels.element_size())
    indices = torch.empty((count, k), dtype=torch.int64, device=pixels.device)
    scores = pixels.new_empty((count, k))
    for top in range(0, count, rows):
        block = slice(top, min(top + rows, count))
        skip = None if exclude is None else exclude[block]
        indices[block], scores[block] = _top_k_block(pixels[block], weight, k, bias, skip, columns)
    return indices, scores


def _top_k_block(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    bias: Tensor | None,
    exclude: Tensor | None,
    columns: int,
) -> tuple[Tensor, Tensor]:
    """Top-k of one block of rows: a running best over chunks of classes."""
    best_indices = best_scores = None
    for left in range(0, len(weight), columns):
        chunk = weight[left : left + columns]
        tile = pixels @ chunk.T
        if bias is not None:
            tile += bias[left : left + columns]
        if exclude is not None:
            inside = (exclude >= left) & (exclude < left + len(chunk))
            row = inside.nonzero().squeeze(1)
            tile[row, exclude[row] - left] = -torch.inf
        if k == 1:
            score, index = tile.max(dim=1, keepdim=True)
        else:
            score, index = tile.topk(min(k, len(chunk)), dim=1)
        index += left
        if best_scores is None or best_indices is None:
            best_scores, best_indices = score, index
        else:
            joined = torch.cat((best_scores, score), dim=1)
            best_scores, order = joined.topk(min(k, joined.shape[1]), dim=1)
            best_indices = torch.cat((best_indices, index), dim=1).gather(1, order)
    assert best_indices is not None and best_scores is not None  # a table has >= 1 class
    return best_indices, best_scores


@torch.no_grad()
def nearest_classes(
    pixels: Tensor,
    classes: ClassEmbeddings,
    distance: Distance,
    k: int = 1,
    *,
    budget: int = DEFAULT_BUDGET,
) -> tuple[Tensor, Tensor]:
    """The k nearest classes of every pixel and their logits.

    Args:
        pixels: Pixel embeddings (N, D), not yet normalised.
        classes: The C classes.
        distance: What "near" means.
        k: How many, at most C.
        budget: Bytes for one tile of scores.

    Returns:
        (class ids (N, k) int64, logits (N, k)), nearest first.
    """
    weight = distance.embed(classes.weight)
    # Logits are T * product + bias: divided by T they order the classes alike. Only the linear
    # distance has a bias, and its logit is the product itself.
    bias = None if classes.bias is None else classes.bias / classes.temperature
    indices, scores = top_k_products(distance.embed(pixels), weight, k, bias=bias, budget=budget)
    return indices, classes.temperature * distance.logit(scores)


@torch.no_grad()
def nearest_other_class(weight: Tensor, *, budget: int = DEFAULT_BUDGET) -> tuple[Tensor, Tensor]:
    """For every class the nearest other class and the Euclidean distance between unit vectors.

    Args:
        weight: Class embeddings (C, D), any length; C >= 2.
        budget: Bytes for one tile of scores.

    Returns:
        (class ids (C,) int64, distances (C,) in [0, 2]).
    """
    points = torch.nn.functional.normalize(weight.float(), dim=1)
    own = torch.arange(len(points), device=points.device)
    indices, _ = top_k_products(points, points, 1, exclude=own, budget=budget)
    other = indices[:, 0]
    return other, (points - points[other]).norm(dim=1)
