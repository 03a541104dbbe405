"""From a model's output to class ids: nearest class embedding, in chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.distances import ClassEmbeddings, get_distance
from workbench.losses import upsample
from workbench.models import ModelOutput, SegmentationModel
from workbench.neighbours import DEFAULT_BUDGET, nearest_classes


@torch.inference_mode()
def predict_labels(
    model: SegmentationModel,
    images: Tensor,
    *,
    classes: ClassEmbeddings | None = None,
    budget: int = DEFAULT_BUDGET,
) -> Tensor:
    """Segments a batch.

    Args:
        model: In evaluation mode.
        images: (B, 3, H, W) uint8 RGB, or float in 0..255.
        classes: Take the place of the model's own.
        budget: Bytes for one tile of scores.

    Returns:
        (B, H, W) int64 class ids.
    """
    output = model(images)
    if classes is not None:
        output = output._replace(classes=classes)
    return labels_of(output, model.distance, budget=budget)


@torch.inference_mode()
def labels_of(output: ModelOutput, distance: str, *, budget: int = DEFAULT_BUDGET) -> Tensor:
    """Class ids of a model's output at full resolution.

    Embeddings are upsampled first and normalised afterwards: an interpolated unit vector
    is no longer one.

    Args:
        output: Of a model.
        distance: Key of ``workbench.distances.DISTANCES``.
        budget: Bytes for one tile of scores.

    Returns:
        (B, H, W) int64.
    """
    labels = []
    for features in output.pixels:
        full = at_full_size(features[None], output.size)[0]
        if output.classes is None:
            labels.append(full.argmax(dim=0))
            continue
        pixels = full.permute(1, 2, 0).flatten(0, 1)
        nearest, _ = nearest_classes(pixels, output.classes, get_distance(distance), budget=budget)
        labels.append(nearest.reshape(output.size))
    return torch.stack(labels)


def at_full_size(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Embeddings (B, D, h, w) of any precision as (B, D, H, W) fp32; normalise afterwards."""
    return upsample(pixels.float(), size)
