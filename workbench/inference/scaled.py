"""A model that looks at a picture at several scales, and mirrored, and answers once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional

from workbench.distances import get_distance
from workbench.errors import ConfigError
from workbench.models import SegmentationModel

_LARGEST = 8.0  # a picture at eight times its size is 64 pictures of work


class _Views(nn.Module):
    """A network that sees several views of its images; the mean of its answers."""

    def __init__(
        self, network: nn.Module, factors: Sequence[float], *, flip: bool, unit: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.factors = tuple(factors)
        self.flip = flip
        self.unit = unit

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        total = None
        # The largest first: its answer has the finest grid, which the others are brought to.
        for factor in sorted(self.factors, reverse=True):
            size = (max(1, round(height * factor)), max(1, round(width * factor)))
            for output in self._answers(_resized(images, size)):
                if total is None:
                    total = output
                elif output.shape == total.shape:
                    total = total + output
                else:
                    total = total + functional.interpolate(
                        output, total.shape[-2:], mode="bilinear", align_corners=False
                    )
        assert total is not None
        return total / (len(self.factors) * (2 if self.flip else 1))

    def _answers(self, images: Tensor) -> Iterator[Tensor]:
        """Embeddings of a view and of its mirror image, this one turned back."""
        yield self._embedded(images)
        if self.flip:
            yield self._embedded(images.flip(-1)).flip(-1)

    def _embedded(self, images: Tensor) -> Tensor:
        # Only directions are compared then: a view with long vectors must not count for more.
        output: Tensor = self.network(images)
        return functional.normalize(output.float(), dim=1) if self.unit else output


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if size == images.shape[-2:]:
        return images
    return functional.interpolate(
        images, size, mode="bilinear", align_corners=False, antialias=True
    )


def at_scales(
    model: SegmentationModel, factors: Sequence[float], *, flip: bool = False
) -> SegmentationModel:
    """The same model, fed with resized pictures; its answers keep the pictures' size.

    Test-time augmentation in the space of embeddings: those of all views are brought to the
    finest grid among them and averaged, as unit vectors where the distance compares directions.
    Memory does not grow with the number of classes, as it would by averaging probabilities. A
    dense model's logits are averaged.

    Args:
        model: Shares its weights with the result.
        factors: Of height and width before the network, 0.5 halves both; up to 8.
        flip: Whether every view is looked at mirrored, too.

    Returns:
        A model in the same mode, training or evaluation.

    Raises:
        ConfigError: No factor, one named twice, or one that is not above 0 and up to 8.
    """
    for factor in factors:
        if not (math.isfinite(factor) and 0 < factor <= _LARGEST):
            raise ConfigError(f"scales: a factor lies above 0 and up to {_LARGEST:g}, not {factor}")
    if not factors or len(set(factors)) < len(factors):
        raise ConfigError(f"scales: name at least one factor, each once; got {list(factors)}")
    if tuple(factors) == (1.0,) and not flip:
        return model
    unit = model.table is not None and get_distance(model.distance).normalized
    several = len(factors) > 1 or flip
    scaled = SegmentationModel(
        _Views(model.network, factors, flip=flip, unit=unit and several),
        model.table,
        distance=model.distance,
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
    )
    scaled.mean, scaled.std = model.mean, model.std
    return scaled.train(model.training)
