"""What a loss does to one pixel: the probability of its true class, exact and approximate.

The paper's loss (Jain et al. 2021, section 3.3) compares the true class with its k nearest
others; the exact one with all. Both are shown along a circle of pixel embeddings, where they
can be drawn whatever the number of dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, Distance, logits
from workbench.losses.cross_entropy import nearest_cross_entropy, streaming_cross_entropy


class Circle(NamedTuple):
    """Pixels on the unit circle of a plane through the origin.

    Attributes:
        basis: (2, D) orthonormal directions of the plane; the target lies on the first.
        angles: (n,) from the target, radians.
        winner: (n,) the most probable class.
        exact: (n,) probability of the target among all classes.
        approximate: (n,) among itself and the k nearest others.
    """

    basis: Tensor
    angles: Tensor
    winner: Tensor
    exact: Tensor
    approximate: Tensor


class OnePixel(NamedTuple):
    """One pixel and its target.

    Attributes:
        exact: Probability of the target among all classes.
        approximate: Among itself and the k nearest others.
        exact_gradient: (D,) of minus the logarithm of the first by the embedding.
        approximate_gradient: (D,) of the second.
        neighbours: (k,) the classes compared with, nearest first.
    """

    exact: float
    approximate: float
    exact_gradient: Tensor
    approximate_gradient: Tensor
    neighbours: Tensor


def plane_of(weight: Tensor, target: int) -> Tensor:
    """Two orthonormal directions (2, D): to a class, and from there towards the nearest other.

    Args:
        weight: (C, D) class embeddings, C >= 2, D >= 2.
        target: The class.
    """
    unit = torch.nn.functional.normalize(weight.double(), dim=1)
    first = unit[target]
    along = unit @ first
    along[target] = -torch.inf
    # In high dimensions classes may be opposite or the same: take any direction then.
    second = unit[int(along.argmax())] - along.max() * first
    if float(second.norm()) < 1e-6:
        spread = torch.eye(len(first), dtype=unit.dtype) - first[:, None] * first
        second = spread[int(spread.norm(dim=1).argmax())]
    return torch.stack([first, second / second.norm()]).to(weight.dtype)


@torch.no_grad()
def along_circle(
    classes: ClassEmbeddings, target: int, distance: Distance, *, k: int, count: int = 361
) -> Circle:
    """Goes once round the circle through a class and its nearest other class.

    Args:
        classes: The C classes (all of them are compared with, wherever they lie).
        target: The true class.
        distance: What turns products into logits.
        k: Neighbours of the approximation, clipped to C - 1.
        count: Pixels on the circle.
    """
    basis = plane_of(classes.weight, target)
    angles = torch.linspace(-torch.pi, torch.pi, count, dtype=basis.dtype)
    pixels = torch.stack([angles.cos(), angles.sin()], dim=1) @ basis
    scores = logits(pixels, classes, distance)
    own = scores[:, target]
    others = scores.clone()
    others[:, target] = -torch.inf
    nearest = others.topk(min(k, len(classes.weight) - 1), dim=1).values
    few = torch.cat([own[:, None], nearest], dim=1)
    return Circle(
        basis,
        angles,
        scores.argmax(dim=1),
        scores.softmax(dim=1)[:, target],
        few.softmax(dim=1)[:, 0],
    )


def at_pixel(
    pixel: Tensor, classes: ClassEmbeddings, target: int, distance: Distance, *, k: int
) -> OnePixel:
    """Both losses at one pixel, and what they pull it by.

    Args:
        pixel: (D,) embedding.
        classes: The C classes.
        target: The true class.
        distance: What turns products into logits.
        k: Neighbours of the approximation, clipped to C - 1.
    """
    k = min(k, len(classes.weight) - 1)
    ids = torch.tensor([target])
    found = []
    for exact in (True, False):
        leaf = pixel.detach().clone()[None].requires_grad_()
        terms = (
            streaming_cross_entropy(leaf, classes, ids, distance)
            if exact
            else nearest_cross_entropy(leaf, classes, ids, distance, k=k)
        )
        (gradient,) = torch.autograd.grad(terms.sum, leaf)
        found.append((float((-terms.sum.detach()).exp()), gradient[0]))
    with torch.no_grad():
        scores = logits(pixel[None], classes, distance)[0]
        scores[target] = -torch.inf
        neighbours = scores.topk(k).indices
    (exact_p, exact_g), (few_p, few_g) = found
    return OnePixel(exact_p, few_p, exact_g, few_g, neighbours)
