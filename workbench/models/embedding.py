"""Pixel embeddings and class embeddings: what every model returns.

A segmentation model here is a network that maps images to D numbers per pixel plus a table
of C class embeddings. The dense baseline is the same network with C numbers per pixel and
no table. Both return a :class:`ModelOutput`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.distances import ClassEmbeddings, get_distance
from workbench.errors import ConfigError, RunError


class ModelOutput(NamedTuple):
    """What a model's ``forward`` returns, always.

    Attributes:
        pixels: Pixel embeddings (B, D, h, w) at the network's resolution, not normalised; for
            the dense baseline logits (B, C, h, w).
        classes: The class table, None for the dense baseline.
        size: (H, W) of the images; upsample ``pixels`` to it before normalising.
    """

    pixels: Tensor
    classes: ClassEmbeddings | None
    size: tuple[int, int]


class ClassTable(nn.Module):
    """C learned class embeddings with the temperature, and the bias of the linear distance.

    Attributes:
        weight: (C, D) parameter.
        bias: (C,) parameter for the linear distance, else None.
        log_temperature: Scalar; a parameter if it is learned, else a buffer. Kept as a
            logarithm so that it stays positive and steps are relative.
    """

    log_temperature: Tensor

    def __init__(
        self,
        classes: int,
        dim: int,
        *,
        distance: str,
        temperature: float,
        learn_temperature: bool,
    ) -> None:
        """Draws the embeddings at random: unit length on average, all directions alike."""
        super().__init__()
        linear = not get_distance(distance).normalized
        self.weight = nn.Parameter(torch.randn(classes, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes)) if linear else None
        log_temperature = torch.tensor(float(temperature)).log()
        if learn_temperature and not linear:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature)

    def forward(self) -> ClassEmbeddings:
        """The table as losses and searches take it."""
        return ClassEmbeddings(self.weight, self.bias, self.log_temperature.exp())


class SegmentationModel(nn.Module):
    """A network plus a class table.

    Images go in as they come from disk, uint8 RGB; normalising is part of the model, so that
    training, prediction and export cannot disagree about it.

    Attributes:
        network: (B, 3, H, W) float to (B, D, h, w).
        table: The class embeddings, None for the dense baseline.
        distance: Key of ``workbench.distances.DISTANCES``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        table: ClassTable | None,
        *,
        distance: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """Puts the parts together.

        Args:
            network: Any module from (B, 3, H, W) float images to (B, D, h, w); a child named
                ``backbone``, if it has one, gets its own learning rate.
            table: The class embeddings, None for a network with C outputs.
            distance: How pixels and classes are compared.
            mean: Mean of RGB in 0..1.
            std: Standard deviation of RGB in 0..1.
        """
        super().__init__()
        self.network = network
        self.table = table
        self.distance = distance
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1) * 255.0)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1) * 255.0)

    def forward(self, images: Tensor) -> ModelOutput:
        """Embeds a batch.

        Args:
            images: (B, 3, H, W) uint8, or float in 0..255.

        Raises:
            ConfigError: The network returns something else than one (B, D, h, w) tensor.
        """
        size = (images.shape[-2], images.shape[-1])
        normalized = (images.to(self.mean.dtype) - self.mean) / self.std
        pixels = self.network(normalized)
        _check_pixels(pixels, None if self.table is None else self.table.weight.shape[1])
        return ModelOutput(pixels, None if self.table is None else self.table(), size)

    def load_weights(self, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
        """Loads a checkpoint's tensors, cast to this model's precision.

        Args:
            state: Names as in ``state_dict()``, shapes alike; any floating dtype.
            assign: Take the tensors themselves, as they are: for a model on "meta".

        Raises:
            RunError: Names or shapes do not fit.
        """
        try:
            self.load_state_dict(dict(state), assign=assign)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise RunError(
                f"what was saved does not fit the model that the configuration describes: {detail}"
            ) from error


def _check_pixels(pixels: object, dim: int | None) -> None:
    """Names what does not fit in what somebody's own network returns."""
    wanted = "(B, D, h, w)" if dim is None else f"(B, D, h, w) with D = {dim}"
    if not isinstance(pixels, Tensor):
        got = f"a {type(pixels).__name__}"
    elif pixels.ndim != 4 or dim not in (None, pixels.shape[1]):
        got = f"a tensor {tuple(pixels.shape)}"
    else:
        return
    raise ConfigError(f"model.network: the network must return one tensor {wanted}, got {got}")
