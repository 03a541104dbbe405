"""Rows of the class table from pixels: the mean direction of each class over a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.datasets.base import SegmentationDataset
from workbench.errors import DataError
from workbench.losses import upsample
from workbench.models import SegmentationModel
from workbench.progress import progress


@torch.inference_mode()
def class_means(
    model: SegmentationModel, dataset: SegmentationDataset, class_ids: Sequence[int]
) -> Tensor:
    """The direction of the mean unit embedding of each class's pixels.

    A nearest class mean (Kang et al., "Decoupling representation and classifier for long-tailed
    recognition", ICLR 2020) for distances that compare directions. Pictures without any of the
    classes are not run through the network.

    Args:
        model: In evaluation mode, with a class table.
        dataset: Without a random transform.
        class_ids: n classes, each in the split.

    Returns:
        (n, D) rows of unit length, in the order of ``class_ids``.

    Raises:
        DataError: A class has no pixel in the split.
    """
    device = next(model.parameters()).device
    wanted = np.asarray(class_ids, dtype=np.int64)
    sums: Tensor | None = None
    for index in progress(range(len(dataset)), description="class means", unit="img"):
        here = np.flatnonzero(np.isin(wanted, dataset.classes_in(index)))
        if len(here) == 0:
            continue
        sample = dataset[index]
        output = model(sample["image"][None].to(device))
        pixels = functional.normalize(upsample(output.pixels.float(), output.size)[0], dim=0)
        if sums is None:
            sums = torch.zeros(len(wanted), len(pixels), device=device)
        mask = sample["mask"].to(device)
        for place in here.tolist():
            sums[place] += pixels[:, mask == int(wanted[place])].sum(dim=1)
    if sums is None or bool((sums == 0).all(dim=1).any()):
        missing = wanted if sums is None else wanted[(sums == 0).all(dim=1).cpu().numpy()]
        raise DataError(f"class {missing[0]} has no pixel in the split {dataset.split!r}")
    return functional.normalize(sums, dim=1)
