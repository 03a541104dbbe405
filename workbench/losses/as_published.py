"""The paper's loss as its authors' code computes it: for comparison, not for use.

Two things differ from :func:`~workbench.losses.cross_entropy.nearest_cross_entropy`. A target
found among its own k neighbours is replaced by the class before it in the list, which may be a
neighbour already (counted twice then), and class 0 is replaced by itself; and the neighbours'
embeddings are gathered, (N, k + 1, D) numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings
from workbench.losses.cross_entropy import LossTerms


def published_neighbours(pixels: Tensor, weight: Tensor, targets: Tensor, k: int) -> Tensor:
    """The k nearest classes, the target among them replaced by ``id - 1``, (N, k).

    Args:
        pixels: (N, D) of unit length.
        weight: (C, D) of unit length, C >= k.
        targets: (N,) int64.
        k: How many.
    """
    with torch.no_grad():
        found = torch.cdist(pixels, weight).topk(k, dim=1, largest=False).indices
        return torch.where(found == targets[:, None], (found - 1).clamp_min(0), found)


def published_cross_entropy(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: Tensor,
    *,
    k: int,
    ignore_index: int = IGNORE_INDEX,
) -> LossTerms:
    """Cross-entropy over the target and its k neighbours, by Euclidean distance.

    Args:
        pixels: (N, D) pixel embeddings, any length.
        classes: The C classes; the bias, which this loss does not know, is not looked at.
        targets: (N,) int64, 0..C-1 or ``ignore_index``.
        k: Number of neighbours, at most C.
        ignore_index: Label of pixels that count nothing.

    Returns:
        Sum and count over the labelled pixels.
    """
    kept = targets != ignore_index
    own = targets[kept]
    x = functional.normalize(pixels[kept], dim=1)
    table = functional.normalize(classes.weight.to(x.dtype), dim=1)
    found = published_neighbours(x, table, own, min(k, len(table)))
    gathered = table[torch.cat((own[:, None], found), dim=1)]
    logits = -classes.temperature * (x[:, None, :] - gathered).norm(dim=2)
    total = functional.cross_entropy(logits, torch.zeros_like(own), reduction="sum")
    return LossTerms(total, kept.sum())
