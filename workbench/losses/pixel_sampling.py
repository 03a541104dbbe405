"""Which pixels a step learns from, and their embeddings at full resolution.

A network's embeddings come at a quarter of the resolution. Instead of upsampling all of
them and then picking some, the embeddings of the picked pixels alone are interpolated.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from workbench.constants import IGNORE_INDEX

Balance = Literal["none", "inverse_sqrt"]


def sample_pixels(
    mask: Tensor,
    number: int,
    *,
    balance: Balance = "inverse_sqrt",
    generator: torch.Generator | None = None,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Draws labelled pixels without replacement.

    Args:
        mask: Class ids (B, H, W) int64, or ``ignore_index``.
        number: How many to draw; all labelled pixels if there are fewer.
        balance: "none" draws evenly; "inverse_sqrt" weights a pixel by one over the square
            root of its class's pixel count in this batch, so small objects are seen.
        generator: Source of randomness, on the mask's device.
        ignore_index: Label of pixels that are never drawn.

    Returns:
        Positions (n,) int64 in the flattened mask, n = min(number, labelled pixels).

    Examples:
        >>> mask = torch.full((1, 2, 3), IGNORE_INDEX)
        >>> mask[0, 1] = torch.tensor([7, 300, 7])
        >>> sample_pixels(mask, 10)
        tensor([3, 4, 5])
    """
    flat = mask.flatten()
    labelled = (flat != ignore_index).nonzero().squeeze(1)
    if len(labelled) <= number:
        return labelled
    # The smallest of exponential variables divided by their weights are a weighted sample
    # without replacement (Efraimidis & Spirakis 2006); multinomial stops at 2^24 pixels.
    keys = torch.empty(len(labelled), device=flat.device).exponential_(generator=generator)
    if balance == "inverse_sqrt":
        _, inverse, counts = torch.unique(flat[labelled], return_inverse=True, return_counts=True)
        keys *= counts.float().sqrt()[inverse]
    return labelled[keys.topk(number, largest=False, sorted=False).indices]


def interpolate_at(features: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear features at some pixels of the full-resolution image.

    The same numbers as ``interpolate(features, size, mode="bilinear")`` at these pixels,
    without making the (B, D, H, W) tensor.

    Args:
        features: (B, D, h, w).
        positions: (n,) int64 in the flattened (B, H, W) grid.
        size: (H, W), the full resolution.

    Returns:
        (n, D), gradients flow to ``features``.
    """
    batch, channels, height, width = features.shape
    image = positions // (size[0] * size[1])
    within = positions % (size[0] * size[1])
    y0, y1, fy = axis_weights(within // size[1], size[0], height, features.dtype)
    x0, x1, fx = axis_weights(within % size[1], size[1], width, features.dtype)
    rows = features.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    base = image * (height * width)
    result = torch.zeros((), dtype=features.dtype, device=features.device)
    for y, wy in ((y0, 1.0 - fy), (y1, fy)):
        for x, wx in ((x0, 1.0 - fx), (x1, fx)):
            corner = rows.index_select(0, base + y * width + x)
            result = result + corner * (wy * wx)[:, None]
    return result


def axis_weights(
    position: Tensor, full: int, low: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The two source cells of a pixel along one axis, and the weight of the second.

    The source coordinate ``(position + 0.5) * low / full - 0.5`` is a fraction of integers:
    exact at any size, without the float64 that some accelerators lack.

    Args:
        position: (n,) int64 along the axis, in full resolution.
        full: Length of the axis in full resolution.
        low: Its length in the map.
        dtype: Of the weights.

    Returns:
        First cells (n,) int64, second cells (n,) int64, weights (n,) of the second.
    """
    numerator = ((2 * position + 1) * low - full).clamp_min(0)
    first = numerator // (2 * full)
    second = (first + 1).clamp_max(low - 1)
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    fraction = (numerator - first * (2 * full)).to(precise) / (2 * full)
    return first, second, fraction.to(dtype)


def rows_at_full_size(
    features: Tensor, weights: tuple[Tensor, Tensor, Tensor], width: int
) -> Tensor:
    """Some rows of what ``upsample`` makes of a map, without the others.

    Args:
        features: (D, h, w).
        weights: Of the n rows, from ``axis_weights``.
        width: Of the full resolution.

    Returns:
        (D, n, width), gradients flow to ``features``.
    """
    first, second, share = weights
    tall = torch.lerp(
        features.index_select(1, first), features.index_select(1, second), share[:, None]
    )
    # Rows are right already: only columns are interpolated.
    return upsample(tall[None], (len(first), width))[0]


def select_pixels(
    features: Tensor,
    mask: Tensor,
    *,
    number: int,
    balance: Balance = "inverse_sqrt",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Full-resolution features and targets of all pixels or of a sample.

    Args:
        features: (B, D, h, w).
        mask: (B, H, W) int64 class ids or IGNORE_INDEX.
        number: Pixels to draw; 0 takes all, labelled or not.
        balance: See :func:`sample_pixels`.
        generator: See :func:`sample_pixels`.

    Returns:
        (features (n, D), targets (n,)).
    """
    height, width = mask.shape[-2:]
    if number > 0:
        positions = sample_pixels(mask, number, balance=balance, generator=generator)
        return interpolate_at(features, positions, (height, width)), mask.flatten()[positions]
    upsampled = upsample(features, (height, width))
    return upsampled.permute(0, 2, 3, 1).flatten(0, 2), mask.flatten()


def upsample(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling (B, D, h, w) to (B, D, H, W); normalise afterwards, not before."""
    return functional.interpolate(features, size, mode="bilinear", align_corners=False)
