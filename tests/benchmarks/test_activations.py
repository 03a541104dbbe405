"""Activations that a training step keeps, against sums done by hand."""

from __future__ import annotations

import torch
from torch import nn

from workbench import config
from workbench.benchmarks.activations import kept_bytes
from workbench.models import SegmentationModel, build_model


def model_of(network: nn.Module) -> SegmentationModel:
    return SegmentationModel(network, None, distance="linear", mean=[0, 0, 0], std=[1, 1, 1])


def test_a_convolution_keeps_its_input() -> None:
    first = nn.Conv2d(3, 8, 3, padding=1)
    network = nn.Sequential(first, nn.Tanh(), nn.Conv2d(8, 2, 1))
    pixels = 2 * 16 * 24
    # The picture for the first convolution's weights; tanh's result, kept once for the two.
    assert kept_bytes(model_of(network), 16, 24, batch=2) == 4 * pixels * (3 + 8)


def test_it_grows_with_the_pixels_and_leaves_the_model_alone() -> None:
    model = build_model(config.Model(), 19).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    half, full = kept_bytes(model, 256, 512), kept_bytes(model, 512, 1024)
    assert 3.9 < full / half < 4.0 + 1e-9
    assert not model.training
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert next(model.parameters()).device.type == "cpu"
