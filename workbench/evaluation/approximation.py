"""How good the paper's approximation is: the k nearest classes in the place of all.

The approximate probability of the true class compares it with its k nearest others alone. What
lies farther away is left out of the denominator, so the approximation is never too small:

    p_exact = p_approximate * covered

where ``covered`` is the share of the exact softmax that the true class and those k others hold.
One minus it is also how much of the gradient on the other classes' logits is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, get_distance, logits

_CELLS: Final = 1 << 22  # logits at a time, 32 MB


@torch.no_grad()
def approximation(
    pixels: Tensor,
    classes: ClassEmbeddings,
    targets: npt.NDArray[np.int64],
    distance: str,
    *,
    ks: Sequence[int],
) -> pd.DataFrame:
    """Compares the approximate probability of the true class with the exact one.

    Args:
        pixels: (n, D) pixel embeddings, not normalised, n >= 1.
        classes: The C classes, as a model returns them.
        targets: (n,) the true class of each pixel.
        distance: Key of ``workbench.distances.DISTANCES``.
        ks: Numbers of neighbours to try, each at most C - 1.

    Returns:
        One row per k: k; ``hit_rate``, the share of pixels whose true class is among the k
        nearest; ``exact`` and ``approximate``, the mean probability of the true class;
        ``covered``, see above, on average; ``exact_loss`` and ``approximate_loss``, the mean
        of minus the logarithm.

    Raises:
        ValueError: No pixel, or a k beyond the other classes there are.
    """
    count = len(classes.weight)
    if len(pixels) == 0 or len(pixels) != len(targets):
        raise ValueError(f"{len(pixels)} pixels and {len(targets)} targets")
    if not all(1 <= k < count for k in ks):
        raise ValueError(f"k must lie between 1 and {count - 1}, got {list(ks)}")
    exact: list[Tensor] = []
    ranks: list[Tensor] = []
    approximate: list[list[Tensor]] = [[] for _ in ks]
    step = max(1, _CELLS // count)
    for first in range(0, len(pixels), step):
        own = torch.from_numpy(targets[first : first + step]).to(pixels.device)[:, None]
        block = logits(
            pixels[first : first + step].double(), _double(classes), get_distance(distance)
        )
        true = block.gather(1, own)
        exact.append((true - block.logsumexp(dim=1, keepdim=True)).squeeze(1))
        ranks.append((block > true).sum(dim=1))
        others = block.scatter(1, own, -torch.inf)
        nearest = others.topk(max(ks), dim=1).values
        for k, found in zip(ks, approximate, strict=True):
            members = torch.cat((true, nearest[:, :k]), dim=1)
            found.append((true - members.logsumexp(dim=1, keepdim=True)).squeeze(1))
    rows = [
        _row(k, torch.cat(exact), torch.cat(found), torch.cat(ranks))
        for k, found in zip(ks, approximate, strict=True)
    ]
    return pd.DataFrame(rows)


def _double(classes: ClassEmbeddings) -> ClassEmbeddings:
    bias = None if classes.bias is None else classes.bias.double()
    return ClassEmbeddings(classes.weight.double(), bias, classes.temperature.double())


def _row(k: int, exact: Tensor, approximate: Tensor, rank: Tensor) -> dict[str, float]:
    """Means over pixels; both arguments are logarithms of probabilities (n,)."""
    return {
        "k": k,
        "hit_rate": float((rank < k).double().mean()),
        "exact": float(exact.exp().mean()),
        "approximate": float(approximate.exp().mean()),
        "covered": float((exact - approximate).exp().mean()),
        "exact_loss": float(-exact.mean()),
        "approximate_loss": float(-approximate.mean()),
    }
