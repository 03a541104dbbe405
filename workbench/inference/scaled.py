"""A model that looks at shrunken or enlarged pictures and answers at their full size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from workbench.errors import ConfigError
from workbench.models import SegmentationModel


class _Scaled(nn.Module):
    """A network fed with resized images."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network = network
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        size = (max(1, round(height * self.factor)), max(1, round(width * self.factor)))
        if size != (height, width):
            images = functional.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        output: Tensor = self.network(images)
        return output


def at_scale(model: SegmentationModel, factor: float) -> SegmentationModel:
    """The same model, fed with resized pictures; its answers keep the pictures' size.

    Its embeddings are enlarged to the full size, so that scores refer to the full mask
    whatever the factor.

    Args:
        model: Shares its weights with the result.
        factor: 0.5 halves height and width before the network.

    Returns:
        A model in the same mode, training or evaluation.

    Raises:
        ConfigError: The factor is not above 0.
    """
    if not factor > 0:
        raise ConfigError(f"the factor must be above 0, got {factor}")
    scaled = SegmentationModel(
        _Scaled(model.network, factor),
        model.table,
        distance=model.distance,
        mean=[0.0, 0.0, 0.0],
        std=[1.0, 1.0, 1.0],
    )
    scaled.mean, scaled.std = model.mean, model.std
    return scaled.train(model.training)
