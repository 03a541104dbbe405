"""Why a method learns what it learns: what the loss sees, and how the classes lie."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import SegmentationDataset
from workbench.distances import ClassEmbeddings
from workbench.evaluation.approximation import approximation
from workbench.evaluation.table_health import crowding, effective_rank
from workbench.losses import SegmentationLoss
from workbench.losses.pixel_sampling import interpolate_at, sample_pixels
from workbench.models import SegmentationModel

KS: Final = (1, 7, 32, 128)
_PIXELS: Final = 64  # of each picture


@torch.no_grad()
def collect_pixels(
    model: SegmentationModel, dataset: SegmentationDataset, indices: list[int], *, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Outputs of a model at some pixels of each picture, small classes favoured.

    Args:
        model: In evaluation mode.
        dataset: Without a random transform.
        indices: Pictures.
        seed: Of the choice of pixels.

    Returns:
        Pixel embeddings, or logits of a dense model, (n, D) and class ids (n,).
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    vectors, targets = [], []
    for index in indices:
        sample = dataset[index]
        mask = sample["mask"][None]
        places = sample_pixels(mask, _PIXELS, generator=generator)
        output = model(sample["image"][None].to(device))
        found = interpolate_at(output.pixels.float(), places.to(device), output.size)
        vectors.append(found.cpu())
        targets.append(mask.flatten()[places])
    return torch.cat(vectors), torch.cat(targets)


def diagnose(
    model: SegmentationModel,
    loss: SegmentationLoss,
    groups: list[str],
    pixels: Tensor,
    targets: Tensor,
) -> dict[str, Any]:
    """Figures about a trained model.

    Args:
        model: On the CPU or a GPU.
        loss: What it was trained with.
        groups: Group of each class (C,).
        pixels: Its outputs at some pixels (n, D), see :func:`collect_pixels`.
        targets: Their classes (n,).

    Returns:
        "hit_rate" {k: share of pixels whose class is among the k best}; with a class table
        also "covered" {k: share of the exact softmax the class and its k best others hold},
        "crowding", "effective_rank", "temperature" and "gradients" {group: ...}.
    """
    kept = targets != IGNORE_INDEX
    pixels, targets = pixels[kept].cpu(), targets[kept].cpu()
    if model.table is None:
        own = pixels.gather(1, targets[:, None])
        rank = (pixels > own).sum(dim=1)
        return {"hit_rate": {str(k): float((rank < k).double().mean()) for k in KS}}
    classes = ClassEmbeddings(*(None if t is None else t.detach().cpu() for t in model.table()))  # type: ignore[arg-type]
    ks = [k for k in KS if k < len(classes.weight)]
    rows = approximation(pixels, classes, targets.numpy(), model.distance, ks=ks)
    return {
        "hit_rate": {str(int(row["k"])): float(row["hit_rate"]) for _, row in rows.iterrows()},
        "covered": {str(int(row["k"])): float(row["covered"]) for _, row in rows.iterrows()},
        "crowding": crowding(classes.weight),
        "effective_rank": effective_rank(classes.weight),
        "temperature": float(classes.temperature),
        "gradients": gradients_by_group(loss, classes, groups, pixels, targets),
    }


def gradients_by_group(
    loss: SegmentationLoss,
    classes: ClassEmbeddings,
    groups: list[str],
    pixels: Tensor,
    targets: Tensor,
) -> dict[str, dict[str, float]]:
    """How strongly a loss pulls on the classes of each group.

    Args:
        loss: With a class table; its pixel drawing is not used.
        classes: The C classes.
        groups: Group of each class (C,).
        pixels: (n, D).
        targets: (n,).

    Returns:
        {group: {"untouched": share of its classes without any gradient, "mean": mean length
        of a class's gradient relative to the mean over all classes}}.
    """
    weight = classes.weight.clone().requires_grad_()
    features = pixels.T.reshape(1, pixels.shape[1], 1, len(pixels))
    whole = type(loss)(dataclasses.replace(loss.settings, pixels=0), loss.distance.name)
    whole.adjustment = loss.adjustment
    whole(features, classes._replace(weight=weight), targets.reshape(1, 1, -1)).mean().backward()
    lengths = np.zeros(len(weight)) if weight.grad is None else weight.grad.norm(dim=1).numpy()
    names = np.asarray(groups)
    mean = float(lengths.mean()) or 1.0
    return {
        str(name): {
            "untouched": float((lengths[names == name] == 0).mean()),
            "mean": float(lengths[names == name].mean()) / mean,
        }
        for name in dict.fromkeys(groups)
    }
