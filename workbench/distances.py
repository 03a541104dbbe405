"""What "near" means: the scalar function that turns an inner product into a logit.

Every distance here is a function of one number, the inner product ``s = <x, e>`` of a
pixel embedding and a class embedding. For unit vectors ``||x - e||^2 = 2 - 2s``, so the
Euclidean distance of the paper (Jain et al., ICCV 2021, section 3.2), its square and the
cosine all order the classes alike and differ only in how sharply the probability falls.
Losses, search, inference and export share these objects; a kernel needs ``logit`` and
``slope`` and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.errors import ConfigError

_SMALLEST_SQUARE = {torch.float64: 1e-14}  # below it a squared distance is rounding noise
_SMALLEST_SQUARE_DEFAULT = 1e-6


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


class Distance(ABC):
    """A logit as a function of the inner product.

    Attributes:
        name: The key in ``DISTANCES``.
        normalized: Whether both sides are brought to unit length first.
    """

    name: ClassVar[str]
    normalized: ClassVar[bool] = True

    def embed(self, vectors: Tensor) -> Tensor:
        """Brings vectors (..., D) to the form the inner product is taken in (fp32 or fp64)."""
        vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
        return functional.normalize(vectors, dim=-1) if self.normalized else vectors

    @abstractmethod
    def logit(self, products: Tensor) -> Tensor:
        """Logit at temperature 1 for inner products of any shape; increases with them."""

    @abstractmethod
    def slope(self, products: Tensor) -> Tensor:
        """Derivative of :meth:`logit` by the inner product, same shape."""

    def distance(self, products: Tensor) -> Tensor:
        """Distance for reports and pictures: Euclidean for unit vectors, -logit otherwise."""
        return _euclidean(products) if self.normalized else -products


def _euclidean(products: Tensor) -> Tensor:
    floor = _SMALLEST_SQUARE.get(products.dtype, _SMALLEST_SQUARE_DEFAULT)
    return (2.0 - 2.0 * products).clamp_min(floor).sqrt()


class Euclidean(Distance):
    """The paper's logit ``-||x - e||`` of unit vectors (Jain et al. 2021, equation 3)."""

    name = "euclidean"

    def logit(self, products: Tensor) -> Tensor:
        """Negative Euclidean distance, in [-2, 0]."""
        return -_euclidean(products)

    def slope(self, products: Tensor) -> Tensor:
        """``1 / ||x - e||``; where the points coincide the direction is undefined: 0."""
        distance = _euclidean(products)
        floor = _SMALLEST_SQUARE.get(products.dtype, _SMALLEST_SQUARE_DEFAULT)
        return torch.where(2.0 - 2.0 * products > floor, distance.reciprocal(), 0.0)


class SquaredEuclidean(Distance):
    """``-||x - e||^2`` of unit vectors: the cosine at twice the temperature, plus a constant."""

    name = "squared_euclidean"

    def logit(self, products: Tensor) -> Tensor:
        """Negative squared distance, in [-4, 0]."""
        return 2.0 * products - 2.0

    def slope(self, products: Tensor) -> Tensor:
        """Constant 2."""
        return torch.full_like(products, 2.0)


class Cosine(Distance):
    """The cosine of the angle between pixel and class."""

    name = "cosine"

    def logit(self, products: Tensor) -> Tensor:
        """The product itself, in [-1, 1]."""
        return products

    def slope(self, products: Tensor) -> Tensor:
        """Constant 1."""
        return torch.ones_like(products)


class Linear(Distance):
    """An ordinary linear classifier with bias, its inputs not normalised."""

    name = "linear"
    normalized = False

    def logit(self, products: Tensor) -> Tensor:
        """The product itself; the caller adds the bias."""
        return products

    def slope(self, products: Tensor) -> Tensor:
        """Constant 1."""
        return torch.ones_like(products)


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
    """
    products = distance.embed(pixels) @ distance.embed(classes.weight).T
    values = classes.temperature * distance.logit(products)
    return values if classes.bias is None else values + classes.bias
