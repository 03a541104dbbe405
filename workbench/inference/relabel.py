"""Label maps that follow edits of the classes quickly enough to be watched.

The inner product of a class and a bilinearly interpolated pixel is the interpolated product,
and a pixel's length does not change which class is nearest. So for a few classes, such as the one
that was added, products are taken at the network's resolution and only their planes are
interpolated, which is nearly free. For more classes than a pixel has dimensions it is the pixels
that are interpolated, and searched as anywhere else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.constants import IGNORE_INDEX
from workbench.distances import get_distance
from workbench.inference.class_sets import ClassSet
from workbench.inference.inspect import PixelFeatures, strips
from workbench.inference.vocabulary_edits import Lookup, remap
from workbench.losses.pixel_sampling import axis_weights, rows_at_full_size
from workbench.neighbours import DEFAULT_BUDGET, top_k_products

_BUDGET: Final = 16 * 2**20
"""Bytes of one tile of scores: small enough to stay near the processor."""


class Labelled(NamedTuple):
    """The nearest class of every pixel, and what made it the nearest.

    Attributes:
        labels: (H, W) int64 class ids.
        scores: (H, W) float32: inner product of the pixel, at its own length, and the class as
            the distance compares it, plus its bias over the temperature. Comparable between
            classes of one pixel only.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


@torch.no_grad()
def label(features: PixelFeatures, classes: ClassSet) -> Labelled:
    """The nearest class of every pixel; the same as in ``inspect.pixel_maps`` but for ties.

    Args:
        features: Of the picture.
        classes: With embeddings of its length.
    """
    weight = get_distance(classes.distance).embed(classes.weight)
    bias = None if classes.bias is None else classes.bias / classes.temperature
    if len(weight) > len(features.pixels):
        return _searched(features, weight, bias)
    return _interpolated(features, weight, bias)


def _searched(features: PixelFeatures, weight: Tensor, bias: Tensor | None) -> Labelled:
    """Pixels at full size, each compared with all classes."""
    labels = torch.empty(features.size, dtype=torch.int64)
    scores = torch.empty(features.size)
    half = DEFAULT_BUDGET // 2
    for rows, strip in strips(features, half):
        pixels = strip.permute(1, 2, 0).flatten(0, 1)
        nearest, best = top_k_products(pixels, weight, 1, bias=bias, budget=half)
        labels[rows] = nearest.reshape(labels[rows].shape)
        scores[rows] = best.reshape(scores[rows].shape)
    return Labelled(labels.numpy(), scores.numpy())


def _interpolated(features: PixelFeatures, weight: Tensor, bias: Tensor | None) -> Labelled:
    """Products at the network's resolution, a plane a class, each brought to full size."""
    height, width = features.size
    low = features.pixels.shape[1:]
    # Half of the tile is for the products, half for a strip of them at full size.
    many = max(1, min(len(weight), _BUDGET // (8 * max(low[0] * low[1], width))))
    tall = max(1, _BUDGET // (8 * many * width))
    labels = torch.zeros(height, width, dtype=torch.int64)
    scores = torch.full((height, width), -torch.inf)
    for first in range(0, len(weight), many):
        products = weight[first : first + many] @ features.pixels.flatten(1)
        products = products.reshape(-1, *low)
        if bias is not None:
            products = products + bias[first : first + many, None, None]
        for top in range(0, height, tall):
            rows = slice(top, min(top + tall, height))
            weights = axis_weights(torch.arange(height)[rows], height, low[0], torch.float32)
            best, which = rows_at_full_size(products, weights, width).max(dim=0)
            nearer = best > scores[rows]
            scores[rows] = torch.where(nearer, best, scores[rows])
            labels[rows] = torch.where(nearer, which + first, labels[rows])
    return Labelled(labels.numpy(), scores.numpy())


def relabel(
    features: PixelFeatures, before: Labelled, old: ClassSet, new: ClassSet, lookup: Lookup
) -> npt.NDArray[np.int64]:
    """The nearest class of every pixel among the new classes, as ``label`` gives it.

    A pixel whose nearest old class is still there can only be taken by a row that is new, so
    the other rows need no look. Only where a class of the picture is gone are all searched.

    Args:
        features: Of the picture.
        before: What ``label`` made of it with the old classes.
        old: The old classes.
        new: The new classes, of the same distance.
        lookup: New id of each old class, negative = none.

    Returns:
        (H, W) int64 ids of the new classes.
    """
    kept = _unchanged(old, new, lookup)
    labels = remap(before.labels, np.where(kept, lookup, IGNORE_INDEX))
    if (labels < 0).any():
        return label(features, new).labels
    fresh = np.setdiff1d(np.arange(len(new)), lookup[kept])
    if len(fresh) == 0:
        return labels
    rows = torch.from_numpy(fresh)
    few = ClassSet(
        weight=new.weight[rows],
        bias=None if new.bias is None else new.bias[rows],
        temperature=new.temperature,
        distance=new.distance,
        vocabulary=new.vocabulary,
    )
    taken = label(features, few)
    return np.where(taken.scores > before.scores, fresh[taken.labels], labels)


def _unchanged(old: ClassSet, new: ClassSet, lookup: Lookup) -> npt.NDArray[np.bool_]:
    """(old C,): which classes have the very same row, and bias, under their new id."""
    there = torch.from_numpy(np.maximum(lookup, 0))
    same = (old.weight == new.weight[there]).all(dim=1)
    if old.bias is not None and new.bias is not None:
        same &= old.bias / old.temperature == new.bias[there] / new.temperature
    return np.asarray(same.numpy() & (lookup >= 0))
