"""The same model at other scales of its pictures, and mirrored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench import config
from workbench.errors import ConfigError
from workbench.inference import at_scales, parse_scales, predict_labels
from workbench.models import SegmentationModel, build_model

CLASSES = 300


def make(distance: str = "cosine", **settings: object) -> SegmentationModel:
    torch.manual_seed(0)
    chosen = config.Model(network="small", width=8, embedding_dim=4, distance=distance)
    return build_model(chosen, CLASSES, **settings).eval()  # type: ignore[arg-type]


@pytest.fixture
def model() -> SegmentationModel:
    return make()


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8, generator=generator)


def shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(images.float(), size, mode="bilinear", antialias=True)


def test_scale_one_changes_nothing(model: SegmentationModel, images: Tensor) -> None:
    same = at_scales(model, [1.0])
    assert torch.equal(predict_labels(same, images), predict_labels(model, images))


def test_the_network_sees_small_pictures_and_answers_at_full_size(
    model: SegmentationModel, images: Tensor
) -> None:
    half = at_scales(model, [0.5])
    output = half(images)
    assert output.pixels.shape == (2, 4, 6, 8)  # a quarter of 24 x 32
    assert output.size == (48, 64)
    assert predict_labels(half, images).shape == (2, 48, 64)
    alone = model(shrunk(images, (24, 32))).pixels
    torch.testing.assert_close(output.pixels, alone, rtol=1e-4, atol=1e-4)


def test_answers_are_unit_vectors_averaged_on_the_finest_grid(
    model: SegmentationModel, images: Tensor
) -> None:
    views = [
        functional.normalize(view, dim=1)
        for size in ((48, 64), (24, 32))
        for view in (
            model(shrunk(images, size)).pixels,
            model(shrunk(images, size).flip(-1)).pixels.flip(-1),
        )
    ]
    fine = [
        view if view.shape[-1] == 16 else functional.interpolate(view, (12, 16), mode="bilinear")
        for view in views
    ]
    output = at_scales(model, [0.5, 1.0], flip=True)(images).pixels
    torch.testing.assert_close(output, torch.stack(fine).mean(dim=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dense", [False, True])
def test_logits_are_averaged_as_they_are(images: Tensor, dense: bool) -> None:
    model = make("linear", class_table=not dense)
    output = at_scales(model, [1.0], flip=True)(images).pixels
    mirrored = model(images.flip(-1)).pixels.flip(-1)
    expected = (model(images).pixels + mirrored) / 2
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_a_mirrored_picture_gets_the_mirrored_answer(
    model: SegmentationModel, images: Tensor
) -> None:
    both = at_scales(model, [1.0], flip=True)
    labels = predict_labels(both, images)
    mirrored = predict_labels(both, images.flip(-1)).flip(-1)
    assert (labels == mirrored).float().mean() > 0.999
    alone = predict_labels(model, images.flip(-1)).flip(-1)
    assert not torch.equal(predict_labels(model, images), alone)  # the network is not symmetric


def test_weights_are_shared_and_the_mode_is_kept(model: SegmentationModel) -> None:
    scaled = at_scales(model, [2.0])
    assert not scaled.training and not model.training
    assert scaled.table is model.table
    assert {id(p) for p in scaled.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 9.0])
def test_a_factor_must_be_sound(model: SegmentationModel, factor: float) -> None:
    with pytest.raises(ConfigError, match="scales: a factor lies above 0 and up to 8"):
        at_scales(model, [factor])


@pytest.mark.parametrize("factors", [[], [1.0, 1.0]])
def test_factors_must_be_named_once(model: SegmentationModel, factors: list[float]) -> None:
    with pytest.raises(ConfigError, match="scales: name at least one factor, each once"):
        at_scales(model, factors)


def test_factors_as_typed() -> None:
    assert parse_scales("0.5,1, 1.75") == (0.5, 1.0, 1.75)
    with pytest.raises(ConfigError, match="--scales: numbers with commas"):
        parse_scales("0.5;1")
