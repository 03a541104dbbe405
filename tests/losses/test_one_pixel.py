from __future__ import annotations

import pytest
import torch

from workbench.distances import ClassEmbeddings, get_distance
from workbench.losses.one_pixel import along_circle, at_pixel, plane_of


def classes_of(count: int, size: int, heat: float = 5.0) -> ClassEmbeddings:
    weight = torch.randn(count, size, generator=torch.Generator().manual_seed(1)).double()
    return ClassEmbeddings(weight, None, torch.tensor(heat, dtype=torch.float64))


def oracle(pixel: torch.Tensor, classes: ClassEmbeddings, target: int, k: int) -> torch.Tensor:
    """Written out: the paper's equations, one class after another."""
    x = pixel / pixel.norm()
    far = torch.stack([(x - e / e.norm()).norm() for e in classes.weight])
    others = sorted(
        (c for c in range(len(far)) if c != target), key=lambda c: float(far[c].detach())
    )
    terms = torch.stack([(-classes.temperature * far[c]).exp() for c in [target, *others[:k]]])
    return terms[0] / terms.sum()


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_one_pixel_is_what_the_equations_say(size: int, k: int) -> None:
    classes, distance = classes_of(9, size), get_distance("euclidean")
    pixel = torch.randn(size, generator=torch.Generator().manual_seed(2)).double()
    found = at_pixel(pixel, classes, 4, distance, k=k)
    leaf = pixel.clone().requires_grad_()
    expected = oracle(leaf, classes, 4, k)
    (gradient,) = torch.autograd.grad(-expected.log(), leaf)
    assert found.approximate == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(found.approximate_gradient, gradient)
    assert found.exact == pytest.approx(float(oracle(pixel, classes, 4, 8)), rel=1e-6)
    assert 4 not in found.neighbours and len(found.neighbours) == k


@pytest.mark.parametrize("size", [2, 6])
def test_the_circle_agrees_with_single_pixels(size: int) -> None:
    classes, distance = classes_of(9, size), get_distance("euclidean")
    circle = along_circle(classes, 0, distance, k=2, count=13)
    torch.testing.assert_close(circle.basis @ circle.basis.T, torch.eye(2).double())
    for at in range(13):
        turn = torch.stack([circle.angles[at].cos(), circle.angles[at].sin()])
        one = at_pixel(turn @ circle.basis, classes, 0, distance, k=2)
        assert float(circle.exact[at]) == pytest.approx(one.exact, rel=1e-6)
        assert float(circle.approximate[at]) == pytest.approx(one.approximate, rel=1e-6)
    assert int(circle.winner[6]) == 0  # the class itself lies at angle 0
    assert bool((circle.approximate >= circle.exact - 1e-12).all())


def test_a_plane_through_opposite_points() -> None:
    basis = plane_of(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]), 0)
    torch.testing.assert_close(basis @ basis.T, torch.eye(2))
