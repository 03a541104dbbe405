"""Thin modules over the loss functions, and the registry the configuration names them by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench import config
from workbench.distances import ClassEmbeddings, get_distance
from workbench.errors import ConfigError
from workbench.losses.cross_entropy import (
    LossTerms,
    dense_cross_entropy,
    nearest_cross_entropy,
    streaming_cross_entropy,
)
from workbench.losses.pixel_sampling import select_pixels, upsample


class SegmentationLoss(nn.Module, ABC):
    """From a network's output and the mask to (sum, count).

    Attributes:
        uses_class_table: Whether the loss needs class embeddings (else: C logits per pixel).
    """

    uses_class_table: ClassVar[bool] = True

    def __init__(self, settings: config.Loss, distance: str) -> None:
        """Keeps the settings.

        Args:
            settings: The loss section of a configuration.
            distance: A key of ``workbench.distances.DISTANCES``.
        """
        super().__init__()
        self.settings = settings
        self.distance = get_distance(distance)
        self.budget = int(settings.budget_mb * 2**20)

    @abstractmethod
    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """Loss of a batch.

        Args:
            pixels: (B, D, h, w) pixel embeddings, or (B, C, h, w) logits for the dense loss.
            classes: The class table, None for the dense loss.
            mask: (B, H, W) int64 class ids or IGNORE_INDEX.
            generator: Randomness of the pixel sampling.
        """

    def select(
        self, pixels: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The pixels the settings ask for: (n, D) and (n,)."""
        return select_pixels(
            pixels,
            mask,
            number=self.settings.pixels,
            balance=self.settings.balance,
            generator=generator,
        )


class Streaming(SegmentationLoss):
    """Exact cross-entropy over all classes in chunks."""

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See :func:`~workbench.losses.cross_entropy.streaming_cross_entropy`."""
        selected, targets = self.select(pixels, mask, generator)
        return streaming_cross_entropy(
            selected, _table(classes), targets, self.distance, budget=self.budget
        )


class Nearest(SegmentationLoss):
    """The paper's approximation over the k nearest classes."""

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See :func:`~workbench.losses.cross_entropy.nearest_cross_entropy`."""
        selected, targets = self.select(pixels, mask, generator)
        return nearest_cross_entropy(
            selected,
            _table(classes),
            targets,
            self.distance,
            k=self.settings.k,
            budget=self.budget,
        )


class Dense(SegmentationLoss):
    """The baseline: C logits per pixel, upsampled, softmax."""

    uses_class_table = False

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See the base class; makes the (B, C, H, W) tensor unless pixels are sampled."""
        if self.settings.pixels > 0:
            return dense_cross_entropy(*self.select(pixels, mask, generator))
        return dense_cross_entropy(upsample(pixels, (mask.shape[-2], mask.shape[-1])), mask)


def _table(classes: ClassEmbeddings | None) -> ClassEmbeddings:
    if classes is None:
        raise ValueError("this loss needs a class table; the model was built without one")
    return classes


LOSSES: dict[str, type[SegmentationLoss]] = {
    "nearest": Nearest,
    "streaming": Streaming,
    "dense": Dense,
}


def get_loss(name: str) -> type[SegmentationLoss]:
    """Looks a loss up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in LOSSES:
        raise ConfigError(f"loss.name: unknown loss {name!r}; choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def build_loss(settings: config.Loss, distance: str) -> SegmentationLoss:
    """Makes the loss a configuration names."""
    return get_loss(settings.name)(settings, distance)
