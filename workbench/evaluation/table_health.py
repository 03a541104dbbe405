"""How a class table uses its space: are classes crowded, and into how few dimensions?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.neighbours import nearest_other_class


def effective_rank(weight: Tensor) -> float:
    """How many dimensions the directions of the classes spread over.

    The exponential of the entropy of the singular values, taken as shares (Roy & Vetterli,
    "The effective rank", EUSIPCO 2007), of the unit class embeddings about their mean.

    Args:
        weight: (C, D), any length, C >= 2.

    Returns:
        From 1 to min(C, D); 0 if all directions are the same.
    """
    points = functional.normalize(weight.double(), dim=1)
    values = torch.linalg.svdvals(points - points.mean(dim=0))
    if float(values.max()) < 1e-9:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def crowding(weight: Tensor, *, margin: float = 0.2) -> dict[str, float]:
    """Distances of the classes from their nearest other class, between unit vectors.

    Args:
        weight: (C, D), any length, C >= 2.
        margin: What the paper's penalty keeps them apart.

    Returns:
        "smallest", "p05" (a twentieth of the classes is closer) and "median" of the
        distances, and "within_margin", the share of the classes closer than the margin.
    """
    _, distances = nearest_other_class(weight)
    values = distances.double()
    return {
        "smallest": float(values.min()),
        "p05": float(values.quantile(0.05)),
        "median": float(values.median()),
        "within_margin": float((values < margin).double().mean()),
    }
