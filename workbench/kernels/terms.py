"""What kernels are given and give back."""

from __future__ import annotations

from typing import Final, NamedTuple

from torch import Tensor

EUCLIDEAN: Final = 0
"""Raw logit ``-sqrt(2 - 2s)`` of a product s of unit vectors."""
SQUARED: Final = 1
"""Raw logit ``2s - 2``."""
PRODUCT: Final = 2
"""Raw logit ``s``."""


class LossGradients(NamedTuple):
    """A loss with its derivatives.

    Attributes:
        total: Sum over the pixels, scalar.
        pixels: By the embedded pixels (N, D).
        weight: By the embedded classes (C, D).
        offset: By the offsets (C,), None if not asked for.
        temperature: By the temperature, scalar.
    """

    total: Tensor
    pixels: Tensor
    weight: Tensor
    offset: Tensor | None
    temperature: Tensor
