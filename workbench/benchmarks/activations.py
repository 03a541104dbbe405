"""What a network keeps for the way back, counted without computing anything."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from workbench.models import SegmentationModel


def kept_bytes(model: SegmentationModel, height: int, width: int, *, batch: int = 1) -> int:
    """Memory of the activations that one training step of the network keeps.

    The forward pass runs on torch's "meta" device, which knows shapes but has no numbers: any
    resolution takes milliseconds. Every tensor that autograd keeps is counted once, weights
    and statistics left out. The gradients of the way back, the loss and what the convolutions
    need for themselves come on top.

    Args:
        model: Left as it is.
        height: Of the pictures, in pixels.
        width: Likewise.
        batch: Pictures in a step.

    Returns:
        Bytes, fp32.
    """
    empty = copy.deepcopy(model).to("meta").train()
    known = {_storage(value) for value in (*empty.parameters(), *empty.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        key = _storage(tensor)
        if key not in known:
            kept.setdefault(key, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = empty.network(torch.empty(batch, 3, height, width, device="meta"))
        total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        del output
    return total


def _storage(tensor: Tensor) -> int:
    """Tells tensors apart that share memory or do not; "meta" tensors have no address."""
    return int(tensor.untyped_storage()._cdata)
