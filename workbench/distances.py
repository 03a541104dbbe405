"""What "near" means: the scalar function that turns an inner product into a logit.

Every distance here is a function of one number, the inner product ``s = <x, e>`` of a
pixel embedding and a class embedding. For unit vectors ``||x - e||^2 = 2 - 2s``, so the
Euclidean distance of the paper (Jain et al., ICCV 2021, section 3.2), its square and the
cosine all order the classes alike and differ only in how sharply the probability falls.
Losses, search, inference and export share these objects; compiled kernels have the same
formulas, by ``kind``.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.errors import ConfigError
from workbench.kernels.reference import raw_logits
from workbench.kernels.terms import EUCLIDEAN, PRODUCT, SQUARED


class ClassEmbeddings(NamedTuple):
    """The classes as points, as a model hands them to a loss or a search.

    Attributes:
        weight: Class embeddings (C, D), as stored: a distance normalises them if it needs to.
        bias: Offset of each logit (C,), only for the linear distance.
        temperature: Scalar tensor T > 0 that multiplies every logit.
    """

    weight: Tensor
    bias: Tensor | None
    temperature: Tensor


class Distance:
    """A logit as a function of the inner product.

    Attributes:
        name: The key in ``DISTANCES``.
        normalized: Whether both sides are brought to unit length first.
        kind: The same for kernels.
    """

    name: ClassVar[str]
    normalized: ClassVar[bool] = True
    kind: ClassVar[int]

    def embed(self, vectors: Tensor) -> Tensor:
        """Brings vectors (..., D) to the form the inner product is taken in (fp32 or fp64)."""
        vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
        return functional.normalize(vectors, dim=-1) if self.normalized else vectors

    def logit(self, products: Tensor) -> Tensor:
        """Logit at temperature 1 for inner products of any shape; increases with them."""
        return raw_logits(products, self.kind)

    def distance(self, products: Tensor) -> Tensor:
        """Distance for reports and pictures: Euclidean for unit vectors, -logit otherwise."""
        return -raw_logits(products, EUCLIDEAN) if self.normalized else -products


class Euclidean(Distance):
    """The paper's logit ``-||x - e||`` of unit vectors (Jain et al. 2021, equation 3).

    Its slope is ``1 / ||x - e||``; where the points coincide the direction is undefined: 0.
    """

    name = "euclidean"
    kind = EUCLIDEAN


class SquaredEuclidean(Distance):
    """``-||x - e||^2`` of unit vectors: the cosine at twice the temperature, plus a constant."""

    name = "squared_euclidean"
    kind = SQUARED


class Cosine(Distance):
    """The cosine of the angle between pixel and class."""

    name = "cosine"
    kind = PRODUCT


class Linear(Distance):
    """An ordinary linear classifier with bias (the caller adds it), its inputs not normalised."""

    name = "linear"
    normalized = False
    kind = PRODUCT


DISTANCES: dict[str, Distance] = {
    distance.name: distance for distance in (Euclidean(), SquaredEuclidean(), Cosine(), Linear())
}


def get_distance(name: str) -> Distance:
    """Looks a distance up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in DISTANCES:
        known = ", ".join(DISTANCES)
        raise ConfigError(f"model.distance: unknown distance {name!r}; choose one of {known}")
    return DISTANCES[name]


def logits(
    pixels: Tensor,
    classes: ClassEmbeddings,
    distance: Distance,
) -> Tensor:
    """All logits at once: (N, D) and (C, D) to (N, C). For few pixels only: O(N x C) memory.

    Args:
        pixels: Pixel embeddings (N, D), not yet normalised.
        classes: The C classes.
        distance: What turns products into logits.

    Examples:
        Right on a class, and on the opposite side of the sphere:

        >>> table = ClassEmbeddings(torch.eye(3), None, torch.tensor(20.0))
        >>> pixels = torch.tensor([[5.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
        >>> logits(pixels, table, get_distance("cosine"))[:, 0]
        tensor([ 20., -20.])
        >>> logits(pixels, table, get_distance("euclidean"))[1, 0]
        tensor(-40.)
    """
    products = distance.embed(pixels) @ distance.embed(classes.weight).T
    values = classes.temperature * distance.logit(products)
    return values if classes.bias is None else values + classes.bias
