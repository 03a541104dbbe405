"""Looking into pixels: what lies under one, which classes are near, and how far the nearest is.

A picture's features are kept at the network's resolution; pixels are interpolated when asked
for, one or a strip at a time, so that no map of embeddings or of scores ever has the picture's
size. A dense model's features are its logits: its classes have probabilities and ranks, but no
distance.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, get_distance
from workbench.losses import interpolate_at
from workbench.losses.pixel_sampling import axis_weights, rows_at_full_size
from workbench.models import SegmentationModel
from workbench.neighbours import DEFAULT_BUDGET, nearest_classes

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie outside."""

_CLASSES_AT_ONCE = 65_536
_NETWORK = threading.Lock()


class PixelFeatures(NamedTuple):
    """What the network says about one picture.

    Attributes:
        pixels: (D, h, w) fp32 on the CPU, not normalised; for a dense model logits (C, h, w).
        size: (H, W) of the picture.
    """

    pixels: Tensor
    size: tuple[int, int]


class PixelMaps(NamedTuple):
    """The nearest class of every pixel, and how near it is.

    Attributes:
        labels: (H, W) int64 class ids, as prediction gives them.
        distances: (H, W) float32, large where all classes are foreign to a pixel: Euclidean
            between unit vectors, 0..2; for the linear distance minus the logit; all NaN for a
            dense model, see ``confidence_map``.
    """

    labels: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


def extract_features(model: SegmentationModel, image: npt.NDArray[np.uint8]) -> PixelFeatures:
    """Runs the network on one picture.

    Safe to call from several threads: they take turns, so that their working memory does not
    add up.

    Args:
        model: In evaluation mode.
        image: (H, W, 3) RGB.

    Raises:
        ValueError: The picture has another shape, or the model is being trained.
    """
    check_ready(model, image)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    batch = torch.tensor(planes, device=model.mean.device)[None]
    with _NETWORK, torch.no_grad():
        output = model(batch)
    return PixelFeatures(output.pixels[0].detach().float().cpu().contiguous(), output.size)


def check_ready(model: SegmentationModel, image: npt.NDArray[np.uint8]) -> None:
    """Makes sure that a picture can go through a network.

    Args:
        model: Must be in evaluation mode.
        image: Must be (H, W, 3), not empty.

    Raises:
        ValueError: It cannot.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"a picture has the shape (H, W, 3), not {image.shape}")
    if model.training:
        raise ValueError("the model must be in evaluation mode")


def embedding_at(features: PixelFeatures, x: int, y: int) -> Tensor:
    """The embedding (D,) of a pixel of the full-size picture, as full upsampling gives it.

    Raises:
        ValueError: The pixel lies outside.
    """
    height, width = features.size
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"pixel {x}, {y} lies outside of {width} x {height}")
    position = torch.tensor([y * width + x])
    return interpolate_at(features.pixels[None], position, features.size)[0]


def embeddings_in(features: PixelFeatures, where: npt.NDArray[np.bool_] | Box) -> Tensor:
    """The embeddings (n, D) of many pixels, row by row from the top left.

    Args:
        features: Of the picture.
        where: (H, W) mask, or a box, whose part outside of the picture is cut off.

    Raises:
        ValueError: The mask has another size than the picture.
    """
    height, width = features.size
    if isinstance(where, tuple):
        left, top, right, bottom = where
        rows = torch.arange(max(0, top), max(0, top, min(bottom, height)))
        columns = torch.arange(max(0, left), max(0, left, min(right, width)))
        positions = (rows[:, None] * width + columns).flatten()
    else:
        if where.shape != features.size:
            raise ValueError(f"the mask is {where.shape}, the picture {features.size}")
        positions = torch.from_numpy(np.flatnonzero(where))
    return interpolate_at(features.pixels[None], positions, features.size)


def nearest_at(
    features: PixelFeatures,
    classes: ClassEmbeddings | None,
    distance: str,
    *,
    x: int,
    y: int,
    k: int,
    temperature: float | None = None,
) -> pd.DataFrame:
    """The k classes nearest to a pixel.

    Args:
        features: Of the picture.
        classes: The classes, None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
        x: Column of the pixel.
        y: Its row.
        k: How many; all where there are fewer.
        temperature: Multiplies the logits; None takes the model's (1 for a dense model).

    Returns:
        Columns class_id, distance (Euclidean between unit vectors, 0..2; for the linear distance
        minus the logit; NaN for a dense model), logit, probability (of all classes together);
        the most probable first.
    """
    scores = scores_at(features, classes, distance, x=x, y=y, temperature=temperature)
    return nearest_of(scores, k)


def nearest_of(scores: pd.DataFrame, k: int) -> pd.DataFrame:
    """The k best rows of ``scores_at``, the most probable first."""
    order = _best_first(scores["logit"].to_numpy())
    return scores.iloc[order[: max(0, k)]].reset_index(drop=True)


def rank_of(scores: pd.DataFrame, class_id: int) -> int:
    """Which place a class takes among the rows of ``scores_at``, 1 = nearest.

    Raises:
        ValueError: There is no such class.
    """
    if not 0 <= class_id < len(scores):
        raise ValueError(f"class {class_id}: there are only the classes 0..{len(scores) - 1}")
    return int(np.flatnonzero(_best_first(scores["logit"].to_numpy()) == class_id)[0]) + 1


def scores_at(
    features: PixelFeatures,
    classes: ClassEmbeddings | None,
    distance: str,
    *,
    x: int,
    y: int,
    temperature: float | None = None,
) -> pd.DataFrame:
    """As ``nearest_at`` for all classes, row = class id."""
    vector = embedding_at(features, x, y).double()
    if classes is None:
        logits = vector * (1.0 if temperature is None else temperature)
        distances = torch.full_like(logits, torch.nan)
    else:
        products = _products(vector, classes.weight, distance)
        measure = get_distance(distance)
        scale = classes.temperature.double().cpu() if temperature is None else temperature
        logits = scale * measure.logit(products)
        distances = measure.distance(products)
        if classes.bias is not None:
            bias = classes.bias.double().cpu()
            logits = logits + bias
            distances = distances if measure.normalized else distances - bias
    logits = logits.detach()
    return pd.DataFrame(
        {
            "class_id": np.arange(len(logits)),
            "distance": distances.detach().numpy(),
            "logit": logits.numpy(),
            "probability": logits.softmax(dim=0).numpy(),
        }
    )


@torch.no_grad()
def pixel_maps(
    features: PixelFeatures,
    classes: ClassEmbeddings | None,
    distance: str,
    *,
    budget: int = DEFAULT_BUDGET,
) -> PixelMaps:
    """The nearest class of every pixel and its distance.

    Args:
        features: Of the picture.
        classes: The classes, None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
        budget: Bytes of working memory.
    """
    labels = np.empty(features.size, dtype=np.int64)
    distances = np.full(features.size, np.nan, dtype=np.float32)
    measure = get_distance(distance)
    table = None if classes is None else measure.embed(classes.weight)
    for rows, strip in strips(features, budget // 2):
        if classes is None or table is None:
            labels[rows] = strip.argmax(dim=0).numpy()
            continue
        pixels = strip.permute(1, 2, 0).flatten(0, 1)
        ids, logits = nearest_classes(pixels, classes, measure, budget=budget // 2)
        nearest = ids[:, 0]
        if measure.normalized:
            # The difference itself: 2 - 2 cos would lose all digits close to a class.
            found = (measure.embed(pixels) - table.index_select(0, nearest)).norm(dim=1)
        else:
            found = -logits[:, 0]
        shape = labels[rows].shape
        labels[rows] = nearest.reshape(shape).numpy()
        distances[rows] = found.reshape(shape).numpy()
    return PixelMaps(labels, distances)


@torch.no_grad()
def confidence_map(
    features: PixelFeatures, *, budget: int = DEFAULT_BUDGET
) -> npt.NDArray[np.float32]:
    """The probability of the most probable class at every pixel (H, W) of a dense model."""
    result = np.empty(features.size, dtype=np.float32)
    for rows, strip in strips(features, budget // 2):
        result[rows] = (strip.amax(dim=0) - strip.logsumexp(dim=0)).exp().numpy()
    return result


def strips(features: PixelFeatures, budget: int) -> Iterator[tuple[slice, Tensor]]:
    """The picture's features (D, n, W) at full size, some rows at a time.

    Args:
        features: Of the picture.
        budget: Bytes of working memory.
    """
    channels, low, _ = features.pixels.shape
    height, width = features.size
    # The strip, what it is upsampled from, and twice more where it is normalised.
    step = max(1, budget // (16 * channels * width))
    first, second, share = axis_weights(torch.arange(height), height, low, torch.float32)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        weights = (first[rows], second[rows], share[rows])
        yield rows, rows_at_full_size(features.pixels, weights, width)


@torch.no_grad()
def _products(vector: Tensor, weight: Tensor, distance: str) -> Tensor:
    """Inner products (C,) in fp64, the table a chunk at a time."""
    measure = get_distance(distance)
    pixel = measure.embed(vector)
    parts = [
        measure.embed(weight[first : first + _CLASSES_AT_ONCE].detach().cpu().double()) @ pixel
        for first in range(0, len(weight), _CLASSES_AT_ONCE)
    ]
    return torch.cat(parts)


def _best_first(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    return np.argsort(-logits, kind="stable")
