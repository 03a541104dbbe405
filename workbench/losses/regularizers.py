"""What keeps the class embeddings apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.neighbours import DEFAULT_BUDGET, nearest_other_class


def separation_penalty(
    weight: Tensor, *, margin: float = 0.2, budget: int = DEFAULT_BUDGET
) -> Tensor:
    """``mean_c max(0, margin - min_{c' != c} ||e_c - e_c'||)`` over unit class embeddings.

    The penalty of Jain et al. 2021 (section 3.4). The nearest other class is searched without
    gradient in chunks; the gradient flows through the distance of those C pairs alone, so
    memory is O(C D) and no C x C matrix is made.

    Args:
        weight: Class embeddings (C, D), any length.
        margin: Distance beyond which a pair costs nothing.
        budget: Bytes of working memory of the search.

    Returns:
        Scalar >= 0; exactly 0 for a single class.

    Examples:
        >>> separation_penalty(torch.eye(300))  # far apart
        tensor(0.)
        >>> round(float(separation_penalty(torch.ones(300, 12))), 3)  # all in one place
        0.2
    """
    if len(weight) < 2:
        return weight.sum() * 0.0
    other, _ = nearest_other_class(weight.detach(), budget=budget)
    points = functional.normalize(weight if weight.dtype == torch.float64 else weight.float())
    # Coinciding points have no direction to part in; the epsilon keeps the gradient finite.
    apart = ((points - points[other]).square().sum(dim=1) + 1e-12).sqrt()
    return functional.relu(margin - apart).mean()
