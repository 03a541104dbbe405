"""Pictures of any size for networks that take only multiples of something."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def pad(images: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Repeats the last row and column until both sides are multiples, and no shorter than least.

    Args:
        images: (B, 3, H, W), any dtype.
        multiple: Of which both sides become.
        least: Fewest pixels a side.

    Returns:
        (B, 3, H', W'), the images themselves where nothing is missing.
    """
    height, width = images.shape[-2:]
    right, below = (_padded(side, multiple, least) - side for side in (width, height))
    if not torch.compiler.is_exporting() and not right and not below:
        return images
    return functional.pad(images, (0, right, 0, below), mode="replicate")


def _padded(side: int, multiple: int, least: int) -> int:
    # Without a negative number: ONNX rounds those the other way.
    full = (side + multiple - 1) // multiple * multiple
    if least <= multiple:  # what need not be compared is not: an exported graph's sizes are open
        return full
    larger: Any = torch.sym_max  # of sizes that are known or not; int() would fix them
    fitting: int = larger(least, full)
    return fitting


def without_padding(outputs: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The part of a padded picture's output that covers the picture, edge to edge.

    Losses and predictions take the cells of an output to divide the picture evenly. Where a
    picture ends inside a cell, cutting cells off would leave a few pixels too many, and all
    cells would lie beside their pixels, the further the more: they are resampled.

    Args:
        outputs: (B, D, h, w), cells of equal size that cover the padded picture.
        padded: Its (H, W).
        size: (H, W) of the picture, at its top left.

    Returns:
        (B, D, h', w'), as many cells as the picture touches.
    """
    for dim, full, side in zip((-2, -1), padded, size, strict=True):
        low = outputs.shape[dim]
        touched, stretch = _cells(side, low, full)
        if torch.compiler.is_exporting() or stretch > 1:
            outputs = _resampled(outputs, dim, touched, stretch)
        else:
            outputs = outputs.narrow(dim, 0, touched)
    return outputs


def _cells(side: int, low: int, full: int) -> tuple[int, float]:
    """Cells that a side touches, and by what they are too large to divide it evenly."""
    if torch.compiler.is_exporting():  # of open sizes torch understands only simple fractions
        cell = full // low
        touched = (side + cell - 1) // cell
        return touched, touched * cell / side
    touched = -(-side * low // full)
    return touched, touched * full / (low * side)


def _resampled(outputs: Tensor, dim: int, cells: int, stretch: float) -> Tensor:
    """Linear interpolation to cells that are smaller by a factor.

    By hand: ``functional.interpolate`` copies, whatever its factor, where the number of cells
    stays the same.
    """
    last = outputs.shape[dim] - 1
    centres = (torch.arange(cells, device=outputs.device) + 0.5) / stretch - 0.5
    centres = centres.clamp(0, last)
    low = centres.long()
    shape = [1] * outputs.ndim
    shape[dim] = cells
    share = (centres - low).to(outputs.dtype).reshape(shape)
    return torch.lerp(
        outputs.index_select(dim, low),
        outputs.index_select(dim, (low + 1).clamp(max=last)),
        share,
    )
