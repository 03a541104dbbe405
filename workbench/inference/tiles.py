"""Pictures of any size: overlapping tiles whose embeddings are blended, in flat memory.

What a network says near the edge of its input is worse than elsewhere, because it sees nothing
beyond. So tiles overlap, an answer near a tile's edge does not count at all, and further in its
weight grows until it is the only one. Embeddings are blended, not labels or probabilities: D
numbers, whatever the number of classes, and the nearest class is looked for once.

Tiles go row by row. When a row of them is done, the part that no later tile covers is given
out, so that memory depends on the picture's width and not on its height.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from workbench.errors import ConfigError
from workbench.inference.inspect import PixelFeatures, check_ready
from workbench.models import SegmentationModel

ALIGN: Final = 32
"""Tiles begin and end at multiples of this many pixels, as the deepest features of most networks
do; all tiles then have the same grid."""
_FINE: Final = 4
"""Pixels a side of a cell, where a network's own grid does not divide a tile."""


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut.

    Attributes:
        tile: Side of a tile in pixels, a multiple of 32.
        overlap: How many pixels neighbouring tiles share at least, up to half of a tile.
        whole: Pictures of up to so many pixels go through the network in one piece; None is
            two tiles. 0 cuts whatever is longer or wider than a tile.
    """

    tile: int = 1024
    overlap: int = 256
    whole: int | None = None

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be.

        Raises:
            ConfigError: As the attributes say.
        """
        if self.tile < 2 * ALIGN or self.tile % ALIGN:
            raise ConfigError(f"tile: a multiple of {ALIGN} from {2 * ALIGN} on, not {self.tile}")
        if not ALIGN <= self.overlap <= self.tile // 2:
            raise ConfigError(
                f"overlap: from {ALIGN} to half of the tile, {self.tile // 2}, not {self.overlap}"
            )

    def in_one_piece(self, height: int, width: int) -> bool:
        """Whether a picture is not cut."""
        limit = 2 * self.tile**2 if self.whole is None else self.whole
        return max(height, width) <= self.tile or height * width <= limit


class FeatureBand(NamedTuple):
    """Some rows of a picture's features, from edge to edge.

    Attributes:
        cells: (D, n, w) fp32, not normalised; for a dense model logits (C, n, w).
        top: Which row of all comes first here.
        rows: How many rows the whole picture has.
        size: (H, W) in pixels that all rows together cover; a cut picture is padded at its right
            and lower edge.
    """

    cells: Tensor
    top: int
    rows: int
    size: tuple[int, int]


def starts(length: int, tiling: Tiling) -> list[int]:
    """Where tiles begin along an axis, evenly spread.

    Args:
        length: Of the axis in pixels, padded to a multiple of 32.
        tiling: How to cut.

    Returns:
        Multiples of 32, the first 0; neighbours overlap by ``tiling.overlap`` at least.
    """
    if length <= tiling.tile:
        return [0]
    # A step is rounded to the grid, so it may become longer than it is planned.
    step = max(ALIGN, (tiling.tile - tiling.overlap) // ALIGN * ALIGN)
    last = (length - tiling.tile) // ALIGN
    number = math.ceil(last / (step // ALIGN))
    return [ALIGN * (place * last // number) for place in range(number + 1)]


@torch.no_grad()
def feature_bands(
    model: SegmentationModel, picture: npt.NDArray[np.uint8], tiling: Tiling
) -> Iterator[FeatureBand]:
    """A picture's features from top to bottom.

    Args:
        model: In evaluation mode.
        picture: (H, W, 3) RGB.
        tiling: How to cut it.

    Yields:
        Bands that follow each other without gap; one band where the picture goes in one piece.

    Raises:
        ValueError: The picture has another shape, or the model is being trained.
    """
    check_ready(model, picture)
    height, width = picture.shape[:2]
    if tiling.in_one_piece(height, width):
        cells = _features(model, picture)
        yield FeatureBand(cells, 0, cells.shape[1], (height, width))
        return
    size = _padded(height), _padded(width)
    tops = starts(size[0], tiling)
    tall = min(tiling.tile, size[0])
    # Weighted sums, and the sums of the weights, of rows that the next tiles add to.
    below, below_weight = None, torch.zeros(0, device=model.mean.device)
    for place, top in enumerate(tops):
        strip, cell = _strip(model, picture, top, tall, size[1], tiling)
        weight = _window(top, tall, size[0], cell, tiling, strip.device)
        strip *= weight[:, None]
        if below is not None:
            strip[:, : below.shape[1]] += below
            weight[: below.shape[1]] += below_weight
        last = place + 1 == len(tops)
        done = (tall if last else tops[place + 1] - top) // cell
        below, below_weight = strip[:, done:].clone(), weight[done:]
        band = strip[:, :done].div_(weight[:done, None])
        del strip  # the caller lets go of the band before the next one is made
        yield FeatureBand(band, top // cell, size[0] // cell, size)
        del band


def picture_features(
    model: SegmentationModel, picture: npt.NDArray[np.uint8], tiling: Tiling
) -> PixelFeatures:
    """All features of a picture at once, D numbers for every cell.

    Args:
        model: In evaluation mode.
        picture: (H, W, 3) RGB.
        tiling: How to cut it.

    Returns:
        On the CPU; ``size`` is that of the padded picture where it was cut.
    """
    bands = list(feature_bands(model, picture, tiling))
    return PixelFeatures(torch.cat([band.cells.cpu() for band in bands], dim=1), bands[0].size)


def _strip(
    model: SegmentationModel,
    picture: npt.NDArray[np.uint8],
    top: int,
    tall: int,
    width: int,
    tiling: Tiling,
) -> tuple[Tensor, int]:
    """The blended features of a row of tiles, (D, n, w), and the pixels a side of a cell."""
    wide = min(tiling.tile, width)
    strip, weights, cell = None, torch.zeros(0), 0
    for left in starts(width, tiling):
        cells, cell = _on_grid(_features(model, _cut(picture, top, left, tall, wide)), tall, wide)
        if strip is None:
            strip = cells.new_zeros(len(cells), tall // cell, width // cell)
            weights = cells.new_zeros(width // cell)
        weight = _window(left, wide, width, cell, tiling, cells.device)
        columns = slice(left // cell, (left + wide) // cell)
        strip[..., columns] += cells * weight
        weights[columns] += weight
    assert strip is not None
    return strip.div_(weights), cell


def _cut(
    picture: npt.NDArray[np.uint8], top: int, left: int, tall: int, wide: int
) -> npt.NDArray[np.uint8]:
    """A tile; where it reaches over the picture's edge, the last row and column are repeated."""
    part = picture[top : top + tall, left : left + wide]
    lacking = ((0, tall - part.shape[0]), (0, wide - part.shape[1]), (0, 0))
    return np.pad(part, lacking, mode="edge") if any(map(any, lacking)) else part


def _features(model: SegmentationModel, picture: npt.NDArray[np.uint8]) -> Tensor:
    """What the network says about a picture, (D, h, w) fp32."""
    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
    pixels: Tensor = model(planes[None].to(model.mean.device)).pixels[0].float()
    return pixels


def _on_grid(features: Tensor, tall: int, wide: int) -> tuple[Tensor, int]:
    """Features whose cells have the same whole number of pixels both ways, and that number."""
    height, width = features.shape[-2:]
    cell = max(1, round(tall / height))
    if height * cell == tall and width * cell == wide and ALIGN % cell == 0:
        return features, cell
    size = (tall // _FINE, wide // _FINE)
    return functional.interpolate(features[None], size, mode="bilinear", align_corners=False)[
        0
    ], _FINE


def _window(
    start: int, length: int, whole: int, cell: int, tiling: Tiling, device: torch.device
) -> Tensor:
    """Weights (n,) of a tile's cells along an axis.

    0 next to an edge inside the picture, 1 at the other end of the overlap; at the edge of
    the picture itself nobody knows better, and the weight stays 1.
    """
    centres = (torch.arange(length // cell, device=device) + 0.5) * cell
    weight = torch.ones_like(centres)
    quarter = tiling.overlap / 4
    if start > 0:
        weight = torch.minimum(weight, ((centres - quarter) / (2 * quarter)).clamp(0, 1))
    if start + length < whole:
        weight = torch.minimum(weight, ((length - centres - quarter) / (2 * quarter)).clamp(0, 1))
    return weight


def _padded(length: int) -> int:
    return math.ceil(length / ALIGN) * ALIGN
