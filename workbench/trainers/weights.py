"""What is done to a network's weights beside the optimiser's steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from workbench import processes

_TRAINED = "trained."
"""Before the names of the weights that steps change, where the model's are their average."""


class WeightAverage:
    """An exponential moving average of a model's weights and statistics.

    Polyak and Juditsky 1992, with a decay of at most (1 + step) / (10 + step): what the weights
    were in the first steps is forgotten soon.

    Attributes:
        values: The average, by the names of the model's state.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begins with the model as it is."""
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves towards the model.

        Args:
            model: After a step.
            step: Steps taken, 1 after the first.
        """
        share = 1.0 - min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            average = self.values[name]
            if average.is_floating_point():
                average.lerp_(value, share)
            else:  # counters of batches
                average.copy_(value)

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Puts back an average that was kept."""
        for name, average in self.values.items():
            average.copy_(values[name])

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Gives the model the averaged weights for a while, then its own again."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for name, value in model.state_dict().items():
            kept = value.clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)


def freeze_batch_norm(model: nn.Module) -> None:
    """Has all batch normalisation use the statistics it has and leave them as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


@contextmanager
def as_evaluated(model: nn.Module, average: WeightAverage | None) -> Iterator[None]:
    """Gives the model for a while what a checkpoint has now, alike in all processes."""
    _share_statistics(model, average)
    own = nullcontext() if average is None else average.in_place_of(model)
    # Pictures come in many sizes; for each, a compiled network would be compiled anew.
    with own, torch.compiler.set_stance("force_eager"):
        yield


def _share_statistics(model: nn.Module, average: WeightAverage | None) -> None:
    """Gives all processes the statistics of process 0: each has those of its own images.

    Steps change weights alike everywhere. Of statistics those of process 0 count, in every
    step (torch's DistributedDataParallel sees to that) and in checkpoints.
    """
    names = [name for name, _ in model.named_buffers()]
    processes.broadcast(buffer for _, buffer in model.named_buffers())
    if average is not None:
        processes.broadcast(average.values[name] for name in names if name in average.values)


def join(optimizer: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's state with the weights it changes: what only training needs."""
    return {**optimizer, **{f"{_TRAINED}{name}": value for name, value in trained.items()}}


def split(kept: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What :func:`join` put together; no weights where it was not called."""
    optimizer = {name: value for name, value in kept.items() if not name.startswith(_TRAINED)}
    trained = {
        name.removeprefix(_TRAINED): value for name, value in kept.items() if name not in optimizer
    }
    return optimizer, trained
