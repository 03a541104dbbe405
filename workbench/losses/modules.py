"""Thin modules over the loss functions, and the registry the configuration names them by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from workbench import config
from workbench.class_index import ClassIndex, load_faiss
from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings, get_distance
from workbench.errors import ConfigError
from workbench.kernels import PRODUCT
from workbench.losses.as_published import published_cross_entropy
from workbench.losses.cross_entropy import (
    LossTerms,
    Search,
    dense_cross_entropy,
    nearest_cross_entropy,
    streaming_cross_entropy,
)
from workbench.losses.pixel_sampling import select_pixels, upsample
from workbench.plugins import check_own_name

_MOST_LOGITS = 2**31
"""Torch cannot upsample to more numbers at once on a GPU, whatever its memory."""


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
        self.adjustment: Tensor | None = None

    def use_prior(self, pixels: npt.ArrayLike) -> None:
        """Adds ``logit_adjustment * log(share of the training pixels)`` to every logit.

        Menon et al., ICLR 2021, equation 10: the loss is told how frequent a class is, so that
        the embeddings need not say it and prediction, which has no such term, favours none.

        Args:
            pixels: Training pixels of each class (C,); classes without any count as one pixel.
        """
        if self.settings.logit_adjustment > 0:
            counts = torch.from_numpy(np.array(pixels, dtype=np.float64)).clamp_min(1)
            prior = (counts / counts.sum()).log()
            self.adjustment = (self.settings.logit_adjustment * prior).float()

    def adjusted(self, classes: ClassEmbeddings | None) -> ClassEmbeddings:
        """The class table with the adjustment in its bias."""
        table = _table(classes)
        if self.adjustment is None:
            return table
        extra = self.adjustment.to(table.weight)
        return table._replace(bias=extra if table.bias is None else table.bias + extra)

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

    def expected_count(self, mask: Tensor) -> Tensor:
        """The count that `forward` gives for a mask (B, H, W), before there are any pixels.

        Micro-batches are divided by the count of their whole step, and come one after another.
        """
        labelled = (mask != IGNORE_INDEX).sum()
        return labelled.clamp_max(self.settings.pixels) if self.settings.pixels > 0 else labelled

    def figures(self) -> dict[str, float]:
        """What else a training records after a step: nothing, for most losses."""
        return {}

    def select(
        self, pixels: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A sample of pixels, (n, D) and (n,); the whole map and mask if none is asked for.

        Args:
            pixels: (B, D, h, w).
            mask: (B, H, W) int64 class ids or IGNORE_INDEX.
            generator: Randomness of the sampling.
        """
        if self.settings.pixels == 0:
            return pixels, mask
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
            selected,
            self.adjusted(classes),
            targets,
            self.distance,
            label_smoothing=self.settings.label_smoothing,
            budget=self.budget,
        )


class Nearest(SegmentationLoss):
    """The paper's approximation over the k nearest classes.

    Attributes:
        index: What finds them with ``loss.search`` "index", None before the first labelled pixel.
        recall: Share of the exact k nearest it found when it was built last.
    """

    def __init__(self, settings: config.Loss, distance: str) -> None:
        """Keeps the settings.

        Args:
            settings: The loss section of a configuration.
            distance: A key of ``workbench.distances.DISTANCES``.

        Raises:
            ConfigError: An index is asked for and faiss is not installed.
        """
        super().__init__(settings, distance)
        if settings.search == "index":
            load_faiss()
        self.index: ClassIndex | None = None
        self.recall = math.nan
        self._batches = 0  # since the index was built

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See :func:`~workbench.losses.cross_entropy.nearest_cross_entropy`."""
        selected, targets = self.select(pixels, mask, generator)
        table = self.adjusted(classes)
        return nearest_cross_entropy(
            selected,
            table,
            targets,
            self.distance,
            k=self.settings.k,
            search=None if self.settings.search == "exact" else self._index_search(table),
            budget=self.budget,
        )

    def figures(self) -> dict[str, float]:
        """Once there is an index, "index_recall"."""
        return {} if math.isnan(self.recall) else {"index_recall": self.recall}

    def _index_search(self, table: ClassEmbeddings) -> Search:
        """The search of one batch; builds the index where it is due, tuned to these pixels."""
        weight = self.distance.embed(table.weight.detach())
        offset = None
        if table.bias is not None and self.distance.kind == PRODUCT:
            offset = (table.bias / table.temperature).detach()
        k = min(self.settings.k, len(weight) - 1)
        if self.index is not None and self._batches < self.settings.index_refresh:
            self._batches += 1
            self.index.update(weight, offset)
        else:
            self.index = None

        def search(pixels: Tensor, exclude: Tensor) -> Tensor:
            if self.index is None:
                self.index = ClassIndex(weight, offset)
                self.recall = self.index.tune(pixels, k)
                self._batches = 1
            return self.index.search(pixels, k, exclude, budget=self.budget)

        return search


class Published(SegmentationLoss):
    """The paper's loss as its authors' code computes it, for comparison with the repaired one."""

    def __init__(self, settings: config.Loss, distance: str) -> None:
        """Keeps the settings.

        Args:
            settings: The loss section of a configuration.
            distance: "euclidean", the only one this loss knows.

        Raises:
            ConfigError: Another distance, or a logit adjustment.
        """
        super().__init__(settings, distance)
        if distance != "euclidean" or settings.logit_adjustment > 0:
            raise ConfigError(
                "loss.name: published knows only --model.distance euclidean and "
                "--loss.logit_adjustment 0; set both, or take nearest"
            )

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See :func:`~workbench.losses.as_published.published_cross_entropy`."""
        chosen, targets = select_pixels(
            pixels,
            mask,
            number=self.settings.pixels,
            balance=self.settings.balance,
            generator=generator,
        )
        return published_cross_entropy(chosen, _table(classes), targets, k=self.settings.k)


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
            return self._of(*self.select(pixels, mask, generator))
        size = (mask.shape[-2], mask.shape[-1])
        fits = pixels.shape[0] * pixels.shape[1] * size[0] * size[1] < _MOST_LOGITS
        images = [slice(None)] if fits else [slice(i, i + 1) for i in range(len(pixels))]
        parts = [self._of(upsample(pixels[image], size), mask[image]) for image in images]
        return LossTerms(
            torch.stack([part.sum for part in parts]).sum(),
            torch.stack([part.count for part in parts]).sum(),
        )

    def _of(self, logits: Tensor, targets: Tensor) -> LossTerms:
        if self.adjustment is not None:
            shape = (1, -1, *(1,) * (logits.ndim - 2))
            logits = logits + self.adjustment.to(logits).reshape(shape)
        smoothing = self.settings.label_smoothing
        return dense_cross_entropy(logits, targets, label_smoothing=smoothing)


def _table(classes: ClassEmbeddings | None) -> ClassEmbeddings:
    if classes is None:
        raise ValueError("this loss needs a class table; the model was built without one")
    return classes


LOSSES: dict[str, type[SegmentationLoss]] = {
    "nearest": Nearest,
    "streaming": Streaming,
    "dense": Dense,
    "published": Published,
}

_OURS = frozenset(LOSSES)


def register_loss(name: str, loss: type[SegmentationLoss]) -> None:
    """Makes a loss of your own one of those that ``loss.name`` names, in this process.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``; registering a name again replaces it.
        loss: Called with the loss section of a configuration and the name of a distance.

    Raises:
        ConfigError: The name is one of ours, or cannot be a name.
    """
    check_own_name("register_loss", name, _OURS)
    LOSSES[name] = loss


def get_loss(name: str) -> type[SegmentationLoss]:
    """Looks a loss up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in LOSSES:
        raise ConfigError(
            f"loss.name: unknown loss {name!r}; choose one of {', '.join(LOSSES)}, or add yours "
            "with register_loss"
        )
    return LOSSES[name]


def build_loss(settings: config.Loss, distance: str) -> SegmentationLoss:
    """Makes the loss a configuration names.

    Args:
        settings: The loss section of a configuration.
        distance: A key of ``workbench.distances.DISTANCES``.

    Raises:
        ConfigError: Unknown loss or distance, or one that the loss does not know.

    Examples:
        >>> loss = build_loss(config.Loss(name="streaming"), "cosine")
        >>> classes = ClassEmbeddings(torch.ones(300, 12), None, torch.tensor(20.0))
        >>> terms = loss(torch.randn(1, 12, 4, 4), classes, torch.full((1, 16, 16), 299))
        >>> int(terms.count), round(float(terms.mean().exp()))
        (256, 300)
    """
    return get_loss(settings.name)(settings, distance)
