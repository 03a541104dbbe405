"""The same model at another scale of its pictures."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from workbench import config
from workbench.errors import ConfigError
from workbench.inference import at_scale, predict_labels
from workbench.models import SegmentationModel, build_model


@pytest.fixture
def model() -> SegmentationModel:
    torch.manual_seed(0)
    settings = config.Model(network="small", width=8, embedding_dim=4, distance="cosine")
    return build_model(settings, 5).eval()


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8, generator=generator)


def test_scale_one_changes_nothing(model: SegmentationModel, images: torch.Tensor) -> None:
    same = at_scale(model, 1.0)
    assert torch.equal(predict_labels(same, images), predict_labels(model, images))


def test_the_network_sees_small_pictures_and_answers_at_full_size(
    model: SegmentationModel, images: torch.Tensor
) -> None:
    output = at_scale(model, 0.5)(images)
    assert output.pixels.shape == (2, 4, 6, 8)  # a quarter of 24 x 32
    assert output.size == (48, 64)
    assert predict_labels(at_scale(model, 0.5), images).shape == (2, 48, 64)
    small = functional.interpolate(images.float(), (24, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(output.pixels, model(small).pixels, rtol=1e-4, atol=1e-4)


def test_weights_are_shared_and_the_mode_is_kept(model: SegmentationModel) -> None:
    scaled = at_scale(model, 2.0)
    assert not scaled.training and not model.training
    assert scaled.table is model.table
    assert {id(p) for p in scaled.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_must_be_positive(model: SegmentationModel, factor: float) -> None:
    with pytest.raises(ConfigError, match="the factor must be above 0"):
        at_scale(model, factor)
