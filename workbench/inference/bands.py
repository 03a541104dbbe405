"""From a picture to class ids, a few rows at a time: what predicting files is built on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, get_distance
from workbench.errors import ConfigError
from workbench.inference.inspect import PixelFeatures
from workbench.inference.tiles import FeatureBand, Tiling, feature_bands
from workbench.losses.pixel_sampling import axis_weights, rows_at_full_size
from workbench.models import SegmentationModel
from workbench.neighbours import DEFAULT_BUDGET, log_partition, nearest_classes

_DEFAULT: Final = Tiling()


class Band(NamedTuple):
    """Some rows of a segmented picture.

    Attributes:
        top: Which row of the picture comes first here.
        labels: (n, W) int64 class ids.
        ids: (n, W, k) int64, the k most probable classes, the first of them the label; None
            where k is 0.
        probabilities: (n, W, k) float32, of all classes together; None where k is 0.
    """

    top: int
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64] | None
    probabilities: npt.NDArray[np.float32] | None


@torch.no_grad()
def segment_bands(
    model: SegmentationModel,
    picture: npt.NDArray[np.uint8],
    *,
    classes: ClassEmbeddings | None = None,
    k: int = 0,
    tiling: Tiling = _DEFAULT,
    budget: int = DEFAULT_BUDGET,
) -> Iterator[Band]:
    """Segments a picture of any size.

    Args:
        model: In evaluation mode.
        picture: (H, W, 3) RGB.
        classes: Take the place of the model's own.
        k: How many classes of each pixel are wanted with their probabilities; 0 for labels
            only, which is faster.
        tiling: How large pictures are cut.
        budget: Bytes of working memory beside the features.

    Yields:
        Bands from top to bottom, without gap.

    Raises:
        ConfigError: There are fewer than k classes.
        ValueError: The picture has another shape, or the model is being trained.
    """
    height, width = picture.shape[:2]
    yield from _bands(
        feature_bands(model, picture, tiling),
        (height, width),
        classes if classes is not None else None if model.table is None else model.table(),
        model.distance,
        k,
        budget,
    )


@torch.no_grad()
def segment_features(
    features: PixelFeatures,
    size: tuple[int, int],
    classes: ClassEmbeddings | None,
    distance: str,
    *,
    k: int = 0,
    budget: int = DEFAULT_BUDGET,
) -> Iterator[Band]:
    """As ``segment_bands``, where the features are there already.

    Args:
        features: Of the picture, as ``tiles.picture_features`` gives them.
        size: (H, W) of the picture.
        classes: The classes; None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
        k: As for ``segment_bands``.
        budget: Bytes of working memory.
    """
    rows = features.pixels.shape[1]
    whole = FeatureBand(features.pixels, 0, rows, features.size)
    yield from _bands(iter([whole]), size, classes, distance, k, budget)


def _bands(
    parts: Iterator[FeatureBand],
    size: tuple[int, int],
    classes: ClassEmbeddings | None,
    distance: str,
    k: int,
    budget: int,
) -> Iterator[Band]:
    ready = 0  # rows of pixels given out
    last: Tensor | None = None  # row of cells so far: the next pixels need it, too
    for part in parts:
        if classes is None and k > len(part.cells):
            raise ConfigError(f"top-k: there are {len(part.cells)} classes, {k} are asked for")
        pieces = [(part.cells, part.top)]
        if last is not None:  # pixels between two bands; a copy of all cells would cost as much
            pieces.insert(0, (torch.cat((last, part.cells[:, :1]), dim=1), part.top - 1))
        for cells, above in pieces:
            first, second, share = axis_weights(
                torch.arange(ready, size[0], device=cells.device),
                part.size[0],
                part.rows,
                cells.dtype,
            )
            number = int((second < above + cells.shape[1]).sum())  # they rise from row to row
            # The strip, what it is made of, and twice more where it is normalised.
            step = max(1, budget // (32 * len(cells) * part.size[1]))
            for top in range(0, number, step):
                rows = slice(top, min(top + step, number))
                weights = (first[rows] - above, second[rows] - above, share[rows])
                strip = rows_at_full_size(cells, weights, part.size[1])[..., : size[1]]
                yield _band(ready + top, strip, classes, distance, k, budget // 2)
            ready += number
        last = part.cells[:, -1:].clone()
        del pieces, cells, part  # before the next band is made


def _band(
    top: int, strip: Tensor, classes: ClassEmbeddings | None, distance: str, k: int, budget: int
) -> Band:
    """The classes of a strip (D, n, W) at full size."""
    shape = (strip.shape[1], strip.shape[2])
    if classes is None and k == 0:
        return Band(top, strip.argmax(dim=0).cpu().numpy(), None, None)
    pixels = strip.permute(1, 2, 0).flatten(0, 1)
    if classes is None:
        logits, ids = pixels.topk(k, dim=1)
        total = pixels.logsumexp(dim=1)
    else:
        measure = get_distance(distance)
        if k > len(classes.weight):
            raise ConfigError(f"top-k: there are {len(classes.weight)} classes, {k} are asked for")
        ids, logits = nearest_classes(pixels, classes, measure, max(1, k), budget=budget)
        if k == 0:
            return Band(top, ids[:, 0].reshape(shape).cpu().numpy(), None, None)
        total = log_partition(pixels, classes, measure, budget=budget)
    probabilities = (logits - total[:, None]).exp().clamp_max(1.0)
    return Band(
        top,
        ids[:, 0].reshape(shape).cpu().numpy(),
        ids.reshape(*shape, k).cpu().numpy(),
        probabilities.float().reshape(*shape, k).cpu().numpy(),
    )
