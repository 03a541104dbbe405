"""Exact nearest classes in chunks: memory is set by a byte budget, not by C.

All distances of :mod:`workbench.distances` grow with the inner product, so the nearest
class is the one with the largest product (plus bias, for the linear distance). The same
search serves the paper's loss, prediction, evaluation and the class table itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, Distance
from workbench.kernels import search
from workbench.kernels.reference import tile_shape

DEFAULT_BUDGET = 64 * 2**20
"""Bytes of working memory for one tile of scores."""


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
    classes = len(weight)
    available = classes - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"k must lie between 1 and {available} for {classes} classes, got {k}")
    return search(pixels, weight, k, offset=bias, exclude=exclude, budget=budget)


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

    Examples:
        >>> from workbench.distances import get_distance
        >>> table = ClassEmbeddings(torch.eye(300), None, torch.tensor(20.0))
        >>> ids, _ = nearest_classes(torch.eye(300)[[7, 299]], table, get_distance("cosine"))
        >>> ids
        tensor([[  7],
                [299]])
    """
    weight = distance.embed(classes.weight)
    # Logits are T * product + bias: divided by T they order the classes alike. Only the linear
    # distance has a bias, and its logit is the product itself.
    bias = None if classes.bias is None else classes.bias / classes.temperature
    indices, scores = top_k_products(distance.embed(pixels), weight, k, bias=bias, budget=budget)
    return indices, classes.temperature * distance.logit(scores)


@torch.no_grad()
def log_partition(
    pixels: Tensor,
    classes: ClassEmbeddings,
    distance: Distance,
    *,
    budget: int = DEFAULT_BUDGET,
) -> Tensor:
    """The logarithm of the sum of all classes' exponentiated logits, for every pixel.

    A class's log-probability is its logit minus this. The classes come in chunks, with a
    running maximum (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018).

    Args:
        pixels: Pixel embeddings (N, D), not yet normalised.
        classes: The C classes.
        distance: What "near" means.
        budget: Bytes for one tile of logits.

    Returns:
        (N,), in the precision of the embedded pixels.
    """
    points, weight = distance.embed(pixels), distance.embed(classes.weight)
    result = points.new_empty(len(points))
    rows, columns = tile_shape(len(points), len(weight), budget // 2, points.element_size())
    scores = points.new_empty(rows * columns)  # one tile, filled again and again
    for top in range(0, len(points), rows):
        block = points[top : top + rows]
        total = torch.full_like(result[top : top + rows], -torch.inf)
        for left in range(0, len(weight), columns):
            chunk = weight[left : left + columns]
            tile = scores[: len(block) * len(chunk)].view(len(block), len(chunk))
            torch.mm(block, chunk.T, out=tile)
            logits = distance.logit(tile).mul_(classes.temperature)
            if classes.bias is not None:
                logits += classes.bias[left : left + columns]
            highest = logits.amax(dim=1)
            here = logits.sub_(highest[:, None]).exp_().sum(dim=1).log_() + highest
            total = torch.logaddexp(total, here)
        result[top : top + rows] = total
    return result


@torch.no_grad()
def nearest_other_class(weight: Tensor, *, budget: int = DEFAULT_BUDGET) -> tuple[Tensor, Tensor]:
    """For every class the nearest other class and the Euclidean distance between unit vectors.

    Args:
        weight: Class embeddings (C, D), any length; C >= 2.
        budget: Bytes for one tile of scores.

    Returns:
        (class ids (C,) int64, distances (C,) in [0, 2]).

    Raises:
        ValueError: There is one class only.
    """
    points = torch.nn.functional.normalize(weight.float(), dim=1)
    own = torch.arange(len(points), device=points.device)
    indices, _ = top_k_products(points, points, 1, exclude=own, budget=budget)
    other = indices[:, 0]
    return other, (points - points[other]).norm(dim=1)
