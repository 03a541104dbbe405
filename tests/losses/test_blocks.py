"""Blocks of pixels: whatever their size, together they are the upsampled map."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from workbench.losses.blocks import blocks

IGNORED = -100
WIDE = 18 * (9 * 4 * 5 + 64)  # bytes of a row of pixels


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize(
    ("budget", "count"),
    [(1, 3 * 15), (4 * WIDE, 3 * 4), (15 * WIDE, 3), (40 * WIDE, 2), (2**26, 1)],
    ids=["rows", "strips", "images", "two images", "all"],
)
def test_blocks_are_the_upsampled_map(budget: int, count: int, ignored: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 5, 4, 6, requires_grad=True)
    mask = torch.randint(0, 300, (3, 15, 18))
    if ignored:
        mask[:, ::2, 3:9] = IGNORED
    whole = functional.interpolate(features, (15, 18), mode="bilinear", align_corners=False)
    kept = mask != IGNORED
    rows = whole.permute(0, 2, 3, 1)[kept]
    factors = torch.randn_like(rows)
    (expected,) = torch.autograd.grad((rows * factors).sum(), features)

    gradient = torch.zeros_like(features)
    parts = list(blocks(features, mask, gradient, ignore_index=IGNORED, budget=budget))
    assert len(parts) == count
    torch.testing.assert_close(torch.cat([part.vectors for part in parts]), rows)
    assert torch.equal(torch.cat([part.targets for part in parts]), mask[kept])
    sizes = [len(part.targets) for part in parts]
    for part, factor in zip(parts, factors.split(sizes), strict=True):
        if len(part.targets):
            found = torch.autograd.grad((part.vectors * factor).sum(), part.source)[0]
            part.gradient.add_(found)
    torch.testing.assert_close(gradient, expected)
