"""Drawing pixels, and interpolating the drawn ones, against torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from workbench.config import Loss
from workbench.distances import ClassEmbeddings
from workbench.losses import (
    build_loss,
    interpolate_at,
    sample_pixels,
    select_pixels,
    upsample,
)
from workbench.losses.pixel_sampling import axis_weights, rows_at_full_size

SIZES = [
    ((5, 7), (19, 26)),
    ((4, 4), (13, 16)),
    ((3, 4), (3, 4)),
    ((1, 1), (5, 3)),
    ((2, 9), (7, 33)),
    ((8, 9), (5, 6)),
    ((33, 41), (129, 161)),
]


def mask_with(counts: dict[int, int], shape: tuple[int, int, int]) -> torch.Tensor:
    """A shuffled mask with so many pixels of each id; the rest is ignored."""
    flat = torch.full((shape[0] * shape[1] * shape[2],), -100)
    flat[: sum(counts.values())] = torch.repeat_interleave(
        torch.tensor(list(counts)), torch.tensor(list(counts.values()))
    )
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(9))
    return flat[order].reshape(shape)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("balance", ["none", "inverse_sqrt"])
@pytest.mark.parametrize("number", [1, 50, 199, 200, 500])
def test_draws_are_distinct_and_labelled(balance: str, number: int) -> None:
    mask = mask_with({1283: 150, 0: 40, 256: 10}, (2, 11, 13))
    drawn = sample_pixels(mask, number, balance=balance, generator=seeded(1))  # type: ignore[arg-type]
    assert drawn.dtype == torch.int64 and len(drawn) == min(number, 200)
    assert len(drawn.unique()) == len(drawn)
    assert (mask.flatten()[drawn] != -100).all()


def test_draws_follow_the_generator_alone() -> None:
    mask = mask_with({1283: 150, 0: 40}, (2, 11, 13))
    torch.manual_seed(1)
    one = sample_pixels(mask, 20, generator=seeded(4))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = sample_pixels(mask, 20, generator=seeded(4))
    assert torch.equal(one, two) and torch.equal(state, torch.get_rng_state())
    assert not torch.equal(one, sample_pixels(mask, 20, generator=seeded(5)))


@pytest.mark.parametrize("balance", ["none", "inverse_sqrt"])
def test_nothing_labelled_draws_nothing(balance: str) -> None:
    drawn = sample_pixels(torch.full((1, 4, 4), -100), 3, balance=balance)  # type: ignore[arg-type]
    assert drawn.shape == (0,) and drawn.dtype == torch.int64


def test_balance_follows_one_over_square_root() -> None:
    counts = {1283: 6400, 0: 400, 700: 100}
    mask = mask_with(counts, (1, 100, 100))
    generator = seeded(0)
    drawn = torch.cat([sample_pixels(mask, 12, generator=generator) for _ in range(600)])
    ids = mask.flatten()[drawn]
    roots = {id_: count**0.5 for id_, count in counts.items()}
    for id_, root in roots.items():
        share = float((ids == id_).float().mean())
        assert abs(share - root / sum(roots.values())) < 0.025, id_  # 4 sigma, and depletion

    even = torch.cat(
        [sample_pixels(mask, 12, balance="none", generator=generator) for _ in range(600)]
    )
    ids = mask.flatten()[even]
    for id_, count in counts.items():
        assert abs(float((ids == id_).float().mean()) - count / 6900) < 0.012, id_


def test_every_pixel_of_a_class_is_as_likely() -> None:
    mask = mask_with({300: 30, 1000: 30}, (1, 8, 8))
    generator = seeded(3)
    times = torch.zeros(64)
    for _ in range(2_000):
        times[sample_pixels(mask, 6, generator=generator)] += 1
    assert (times[mask.flatten() == -100] == 0).all()
    kept = times[mask.flatten() != -100]
    assert kept.min() > 0.7 * 200 and kept.max() < 1.3 * 200  # mean 200, sigma 13


@pytest.mark.parametrize(("low", "full"), SIZES)
def test_interpolation_at_pixels_equals_torch(low: tuple[int, int], full: tuple[int, int]) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, *low, dtype=torch.float64, requires_grad=True)
    positions = torch.randint(0, 2 * full[0] * full[1], (60,))  # some of them twice
    ours = interpolate_at(features, positions, full)
    everything = functional.interpolate(features, full, mode="bilinear", align_corners=False)
    theirs = everything.permute(0, 2, 3, 1).reshape(-1, 3)[positions]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    outer = torch.randn_like(ours)
    (mine,) = torch.autograd.grad(ours, [features], outer)
    (right,) = torch.autograd.grad(theirs, [features], outer)
    torch.testing.assert_close(mine, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("low", "full"), SIZES)
def test_some_rows_are_those_of_all(low: tuple[int, int], full: tuple[int, int]) -> None:
    features = torch.randn(3, *low, dtype=torch.float64, requires_grad=True)
    lines = torch.arange(full[0])[full[0] // 3 :]
    weights = axis_weights(lines, full[0], low[0], torch.float64)
    ours = rows_at_full_size(features, weights, full[1])
    theirs = functional.interpolate(features[None], full, mode="bilinear")[0][:, lines]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    outer = torch.randn_like(ours)
    (mine,) = torch.autograd.grad(ours, [features], outer)
    (right,) = torch.autograd.grad(theirs, [features], outer)
    torch.testing.assert_close(mine, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpolation_keeps_the_precision(dtype: torch.dtype) -> None:
    features = torch.randn(1, 4, 32, 32).to(dtype)
    positions = torch.arange(0, 127 * 125, 37)
    ours = interpolate_at(features, positions, (127, 125))
    right = upsample(features.double(), (127, 125)).permute(0, 2, 3, 1).reshape(-1, 4)[positions]
    assert ours.dtype == dtype
    close = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(ours.double(), right, rtol=0, atol=close)


def test_interpolation_at_no_pixel() -> None:
    features = torch.randn(1, 4, 3, 3, requires_grad=True)
    ours = interpolate_at(features, torch.empty(0, dtype=torch.int64), (12, 12))
    assert ours.shape == (0, 4)
    (gradient,) = torch.autograd.grad(ours.sum(), [features])
    assert (gradient == 0).all()


def test_selecting_all_and_drawing_all_agree() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    mask = mask_with({1283: 300, 0: 100}, (2, 15, 22))
    every, targets = select_pixels(features, mask, number=0)
    assert every.shape == (2 * 15 * 22, 5) and torch.equal(targets, mask.flatten())
    drawn, labels = select_pixels(features, mask, number=10_000)
    kept = targets != -100
    torch.testing.assert_close(drawn, every[kept])
    assert torch.equal(labels, targets[kept])


@pytest.mark.parametrize("pixels", [0, 10_000])
@pytest.mark.parametrize("name", ["streaming", "nearest"])
def test_embeddings_are_normalised_after_upsampling(name: str, pixels: int) -> None:
    """The trap: unit vectors that are interpolated afterwards are shorter than one."""
    torch.manual_seed(0)
    features = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    mask = torch.randint(0, 300, (1, 16, 16))
    weight = torch.randn(300, 3, dtype=torch.float64)
    classes = ClassEmbeddings(weight, None, torch.tensor(20.0, dtype=torch.float64))
    loss = build_loss(Loss(name=name, k=299, pixels=pixels), "euclidean")

    def full_loss(embeddings: torch.Tensor) -> torch.Tensor:
        points = embeddings.permute(0, 2, 3, 1).reshape(-1, 3)
        logits = -20.0 * torch.cdist(points, functional.normalize(weight, dim=1))
        return functional.cross_entropy(logits, mask.flatten(), reduction="sum")

    def big(values: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(values, (16, 16), mode="bilinear", align_corners=False)

    ours = loss(features, classes, mask, seeded(0)).sum
    torch.testing.assert_close(ours, full_loss(functional.normalize(big(features), dim=1)))
    trapped = full_loss(big(functional.normalize(features, dim=1)))
    assert abs(float(trapped - ours)) > 1.0
