"""The loss of a model over a whole split, as training would see it."""

from __future__ import annotations

import math

import torch

from workbench.datasets.base import SegmentationDataset
from workbench.losses import SegmentationLoss
from workbench.models import SegmentationModel
from workbench.progress import progress


@torch.no_grad()
def mean_loss(
    model: SegmentationModel, loss: SegmentationLoss, dataset: SegmentationDataset
) -> float:
    """Loss per labelled pixel over a split, one image at a time.

    Args:
        model: In evaluation mode.
        loss: Any; with ``loss.pixels`` 0 it takes every pixel and nothing is random.
        dataset: Without a random transform.

    Returns:
        Sum of the loss over the sum of its counts, NaN where no pixel has a label.
    """
    device = next(model.parameters()).device
    total, count = 0.0, 0.0
    for index in progress(range(len(dataset)), description="loss", unit="img"):
        sample = dataset[index]
        output = model(sample["image"][None].to(device))
        mask = sample["mask"][None].to(device)
        terms = loss(output.pixels.float(), output.classes, mask, None)
        total += float(terms.sum)
        count += float(terms.count)
    return total / count if count else math.nan
