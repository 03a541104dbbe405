"""Models: images in, pixel embeddings and class embeddings out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from workbench import config
from workbench.errors import ConfigError
from workbench.models.deeplab import DeepLabV3Plus
from workbench.models.embedding import ClassTable, ModelOutput, SegmentationModel
from workbench.models.small import SmallNetwork
from workbench.models.smp import PREFIX, SmpNetwork, build_smp, smp_names
from workbench.models.weights import start_from_weights, with_own_statistics
from workbench.plugins import check_own_name

__all__ = [
    "NETWORKS",
    "ClassTable",
    "DeepLabV3Plus",
    "ModelOutput",
    "SegmentationModel",
    "SmallNetwork",
    "SmpNetwork",
    "build_model",
    "build_network",
    "build_outline",
    "has_backbone",
    "network_names",
    "register_network",
    "with_own_statistics",
]

Builder = Callable[[config.Model, int], nn.Module]
"""From the model section of a configuration and the numbers per pixel to a network."""


def _deeplab(settings: config.Model, out_channels: int) -> nn.Module:
    return DeepLabV3Plus(
        out_channels,
        backbone=settings.backbone,
        pretrained=settings.pretrained,
        output_stride=settings.output_stride,
    )


def _small(settings: config.Model, out_channels: int) -> nn.Module:
    return SmallNetwork(out_channels, width=settings.width)


NETWORKS: dict[str, Builder] = {
    "deeplabv3plus": _deeplab,
    "small": _small,
}
"""Our networks, and those that were registered; segmentation-models-pytorch keeps its own list."""

_OURS = frozenset({*NETWORKS, f"{PREFIX}..."})


def register_network(name: str, builder: Builder) -> None:
    """Gives a network a name for ``model.network``, until the process ends.

    Args:
        name: Letters, digits, ``_``, ``.`` and ``-``; registering a name again replaces it.
        builder: Called with the model section of a configuration and the numbers per pixel D
            (C for the dense baseline); returns any module from (B, 3, H, W) float images to
            (B, D, h, w). A child named ``backbone`` gets its own learning rate.

    Raises:
        ConfigError: The name is another network's, or cannot be a name.
    """
    check_own_name("register_network", name, _OURS)
    NETWORKS[name] = builder


def network_names() -> list[str]:
    """All that ``model.network`` may be here; loads segmentation-models-pytorch, if it is there."""
    return [*NETWORKS, *smp_names()]


def has_backbone(network: str) -> bool:
    """Whether ``model.backbone`` says what a network is built over; unknown for registered ones."""
    return network == "deeplabv3plus" or network.startswith(PREFIX)


def build_network(settings: config.Model, out_channels: int) -> nn.Module:
    """Makes the network that a configuration names, with random weights.

    Args:
        settings: The model section of a configuration.
        out_channels: D for embeddings, C for the dense baseline.

    Raises:
        ConfigError: Unknown network or backbone, or the two do not fit each other.
    """
    if settings.network.startswith(PREFIX):
        return build_smp(settings, out_channels)
    if settings.network not in NETWORKS:
        raise ConfigError(
            f"model.network: unknown network {settings.network!r}; choose one of "
            f"{', '.join(network_names())}, or add yours with register_network"
        )
    return NETWORKS[settings.network](settings, out_channels)


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

    Examples:
        >>> model = build_model(config.Model(network="small", embedding_dim=12), 1284)
        >>> output = model(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))
        >>> output.pixels.shape, output.classes.weight.shape, output.size
        (torch.Size([2, 12, 16, 24]), torch.Size([1284, 12]), (64, 96))
    """
    settings = with_own_statistics(settings)
    out_channels = settings.embedding_dim if class_table else classes
    table = ClassTable(
        classes,
        settings.embedding_dim,
        distance=settings.distance,
        temperature=settings.temperature,
        learn_temperature=settings.learn_temperature,
    )
    if settings.weights:  # they take the place of the hub's
        network = build_network(dataclasses.replace(settings, pretrained=False), out_channels)
        start_from_weights(network, settings)
    else:
        network = build_network(settings, out_channels)
    return SegmentationModel(
        network,
        table if class_table else None,
        distance=settings.distance,
        mean=settings.mean,
        std=settings.std,
    )


def build_outline(
    settings: config.Model, classes: int, *, class_table: bool = True
) -> SegmentationModel | None:
    """A model that knows names and shapes of its weights and takes no memory for them.

    Args:
        settings: As for :func:`build_model`; weights to start from are left out.
        classes: C.
        class_table: As for :func:`build_model`.

    Returns:
        The model on torch's device "meta"; None where it cannot be built there, or at all.
    """
    # Loaded before: tensors that packages make as they load must be real ones.
    if settings.network.startswith(PREFIX):
        smp_names()
    elif has_backbone(settings.network):
        import timm  # noqa: F401
    try:
        with torch.device("meta"):
            return build_model(settings.without_start(), classes, class_table=class_table)
    except (ConfigError, RuntimeError, TypeError):  # as MiT, which computes while it is built
        return None
