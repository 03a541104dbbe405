"""A step in parts: micro-batches one after another, processes beside each other.

What a step learns from is fixed for the whole step first, so that its parts add up to the
same loss and gradient as one large batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.trainers.sampling import part_of


def micro_batches(images: Tensor, masks: Tensor, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cuts a batch (B, ...) into parts, none empty; fewer where B is smaller."""
    parts = min(parts, len(images))
    for part in range(parts):
        own = part_of(len(images), part, parts)
        yield images[own.start : own.stop], masks[own.start : own.stop]


def draw_pixels(
    masks: Tensor, settings: config.Loss, generator: torch.Generator, accelerator: Accelerator
) -> Tensor:
    """Draws a step's pixels over the masks of all processes.

    They are those that :func:`~workbench.losses.sample_pixels` draws from the one batch of all
    masks, those of process 0 first, with the same generator.

    Args:
        masks: This process's (B, H, W) int64, class ids or IGNORE_INDEX.
        settings: How many to draw in all (0 takes every labelled pixel), and their balance.
        generator: Source of randomness on the masks' device, in the same state everywhere.
        accelerator: The processes.

    Returns:
        The masks with IGNORE_INDEX wherever a pixel was not drawn.
    """
    number = settings.pixels
    if number == 0:
        return masks
    flat = masks.flatten()
    labelled = (flat != IGNORE_INDEX).nonzero().squeeze(1)
    ids = flat[labelled]
    sizes, largest = _everywhere(accelerator, len(ids), int(ids.max()) if len(ids) else 0)
    if sum(sizes) <= number:
        return masks
    # Every process draws the numbers of all pixels and keeps those of its own.
    keys = torch.empty(sum(sizes), device=flat.device).exponential_(generator=generator)
    before = sum(sizes[: accelerator.process_index])
    keys = keys[before : before + len(ids)]
    if settings.balance == "inverse_sqrt":
        counts = accelerator.reduce(
            torch.bincount(ids, minlength=max(largest) + 1), reduction="sum"
        )
        keys *= counts.float().sqrt()[ids]
    smallest = keys.new_full((number,), torch.inf)
    most = min(number, len(keys))
    smallest[:most] = keys.topk(most, largest=False, sorted=False).values
    limit = accelerator.gather(smallest).kthvalue(number).values
    drawn = torch.full_like(flat, IGNORE_INDEX)
    chosen = labelled[keys <= limit]
    drawn[chosen] = flat[chosen]
    return drawn.view_as(masks)


def _everywhere(accelerator: Accelerator, *numbers: int) -> list[list[int]]:
    """Each number as all processes have it, in their order."""
    own = torch.tensor([numbers], device=accelerator.device)
    return [list(column) for column in zip(*accelerator.gather(own).tolist(), strict=True)]
