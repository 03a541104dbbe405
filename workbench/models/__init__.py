"""Models: images in, pixel embeddings and class embeddings out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn

from workbench import config
from workbench.errors import ConfigError
from workbench.models.deeplab import DeepLabV3Plus
from workbench.models.embedding import ClassTable, ModelOutput, SegmentationModel
from workbench.models.small import SmallNetwork
from workbench.models.weights import start_from_weights, with_own_statistics

__all__ = [
    "NETWORKS",
    "ClassTable",
    "DeepLabV3Plus",
    "ModelOutput",
    "SegmentationModel",
    "SmallNetwork",
    "build_model",
    "with_own_statistics",
]


def _deeplab(settings: config.Model, out_channels: int) -> nn.Module:
    return DeepLabV3Plus(
        out_channels,
        backbone=settings.backbone,
        pretrained=settings.pretrained,
        output_stride=settings.output_stride,
    )


def _small(settings: config.Model, out_channels: int) -> nn.Module:
    return SmallNetwork(out_channels, width=settings.width)


NETWORKS: dict[str, Callable[[config.Model, int], nn.Module]] = {
    "deeplabv3plus": _deeplab,
    "small": _small,
}


def build_model(
    settings: config.Model, classes: int, *, class_table: bool = True
) -> SegmentationModel:
    """Makes the model a configuration describes, with random weights or those to start from.

    Args:
        settings: The model section of a configuration.
        classes: C.
        class_table: True for pixel and class embeddings, False for the dense baseline.

    Raises:
        ConfigError: Unknown network, backbone or distance, or weights that do not fit.
    """
    settings = with_own_statistics(settings)
    if settings.network not in NETWORKS:
        raise ConfigError(
            f"model.network: unknown network {settings.network!r}; "
            f"choose one of {', '.join(NETWORKS)}"
        )
    out_channels = settings.embedding_dim if class_table else classes
    table = ClassTable(
        classes,
        settings.embedding_dim,
        distance=settings.distance,
        temperature=settings.temperature,
        learn_temperature=settings.learn_temperature,
    )
    build = NETWORKS[settings.network]
    if settings.weights:  # they take the place of the hub's
        network = build(dataclasses.replace(settings, pretrained=False), out_channels)
        start_from_weights(network, settings)
    else:
        network = build(settings, out_channels)
    return SegmentationModel(
        network,
        table if class_table else None,
        distance=settings.distance,
        mean=settings.mean,
        std=settings.std,
    )
