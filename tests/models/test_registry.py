"""Networks of one's own: names for the configuration, and what a network must return."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from workbench import config
from workbench.errors import ConfigError
from workbench.models import (
    NETWORKS,
    SegmentationModel,
    build_model,
    has_backbone,
    network_names,
    register_network,
)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    before = dict(NETWORKS)
    yield
    NETWORKS.clear()
    NETWORKS.update(before)


def convolution(settings: config.Model, out_channels: int) -> nn.Module:
    return nn.Conv2d(3, out_channels, settings.output_stride, settings.output_stride)


def test_a_registered_network_is_built_by_its_name() -> None:
    register_network("mine-2.0", convolution)
    assert "mine-2.0" in network_names()
    settings = config.Model(network="mine-2.0", output_stride=8, embedding_dim=5)
    images = torch.randint(0, 256, (2, 3, 40, 24), dtype=torch.uint8)
    output = build_model(settings, 300)(images)
    assert output.pixels.shape == (2, 5, 5, 3) and output.size == (40, 24)
    assert output.classes is not None and output.classes.weight.shape == (300, 5)
    assert build_model(settings, 300, class_table=False)(images).pixels.shape == (2, 300, 5, 3)


def test_registering_again_replaces() -> None:
    """As a cell of a notebook does that is run twice."""
    register_network("mine", convolution)
    register_network("mine", lambda settings, out_channels: nn.Conv2d(3, out_channels, 1))
    assert build_model(config.Model(network="mine"), 9).network.kernel_size == (1, 1)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["small", "deeplabv3plus", "smp-unet", "smp-", "", "a b", "x\ny"])
def test_names_that_are_taken_or_none(name: str) -> None:
    before = dict(NETWORKS)
    with pytest.raises(ConfigError, match="cannot be the name of a network of your own") as error:
        register_network(name, convolution)
    assert before == NETWORKS and "\n" not in str(error.value)


def test_an_unknown_name_says_how_to_add_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown network 'mine'.*small.*register_network"):
        build_model(config.Model(network="mine"), 300)


def test_which_networks_have_a_backbone() -> None:
    assert [has_backbone(name) for name in ("small", "deeplabv3plus", "smp-fpn", "mine")] == [
        *(False, True, True, False)
    ]


class Returns(nn.Module):
    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, images: Tensor) -> object:
        return self.what


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"out": torch.zeros(1, 12, 2, 2)}, r"one tensor \(B, D, h, w\) with D = 12, got a dict"),
        ((torch.zeros(1, 12, 2, 2),), r"got a tuple"),
        (torch.zeros(1, 12, 4), r"got a tensor \(1, 12, 4\)"),
        (torch.zeros(1, 300, 2, 2), r"with D = 12, got a tensor \(1, 300, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(what: object, said: str) -> None:
    register_network("odd", lambda settings, out_channels: Returns(what))
    model: SegmentationModel = build_model(config.Model(network="odd", embedding_dim=12), 300)
    with pytest.raises(ConfigError, match=said) as error:
        model(torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)
