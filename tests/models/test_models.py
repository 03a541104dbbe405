"""Both networks and both heads: one output type, any image size, nothing lost in a state dict."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from workbench.config import Model
from workbench.errors import ConfigError, RunError
from workbench.models import (
    NETWORKS,
    ClassTable,
    DeepLabV3Plus,
    ModelOutput,
    SegmentationModel,
    SmallNetwork,
    build_model,
)

SMALL = Model(network="small", width=8, embedding_dim=6, distance="cosine")
DEEPLAB = Model(network="deeplabv3plus", backbone="resnet18", embedding_dim=6)
SETTINGS = {"small": SMALL, "deeplabv3plus": DEEPLAB}


@pytest.fixture
def small() -> SegmentationModel:
    torch.manual_seed(0)
    return build_model(SMALL, 300)


def test_every_network_is_tested_here() -> None:
    assert set(SETTINGS) == set(NETWORKS)


@pytest.mark.parametrize("class_table", [True, False])
@pytest.mark.parametrize("network", list(SETTINGS))
def test_the_output_is_always_the_same_tuple(network: str, class_table: bool) -> None:
    model = build_model(SETTINGS[network], 300, class_table=class_table).eval()
    for height, width in ((64, 64), (65, 47), (33, 70)):
        images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
        with torch.inference_mode():
            output = model(images)
        assert type(output) is ModelOutput and output.size == (height, width)
        channels = 6 if class_table else 300
        assert output.pixels.shape == (2, channels, -(-height // 4), -(-width // 4))
        assert output.pixels.isfinite().all()
        if class_table:
            assert output.classes is not None
            assert output.classes.weight.shape == (300, 6)
            assert output.classes.temperature.shape == ()
        else:
            assert output.classes is None and model.table is None


@pytest.mark.parametrize("class_table", [True, False])
@pytest.mark.parametrize("network", list(SETTINGS))
def test_a_state_dict_makes_the_same_model(network: str, class_table: bool) -> None:
    torch.manual_seed(0)
    model = build_model(SETTINGS[network], 1284, class_table=class_table)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model(images)  # moves the running statistics
    torch.manual_seed(1)
    other = build_model(SETTINGS[network], 1284, class_table=class_table)
    other.load_weights({name: value.clone() for name, value in model.state_dict().items()})
    with torch.inference_mode():
        one, two = model.eval()(images), other.eval()(images)
    assert torch.equal(one.pixels, two.pixels)
    if one.classes is not None and two.classes is not None:
        assert torch.equal(one.classes.weight, two.classes.weight)
        assert torch.equal(one.classes.temperature, two.classes.temperature)


def test_weights_in_half_precision_are_cast_back(small: SegmentationModel) -> None:
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in small.state_dict().items()
    }
    small.load_weights(half)
    assert {value.dtype for value in small.parameters()} == {torch.float32}


def test_weights_that_do_not_fit_are_one_line(small: SegmentationModel) -> None:
    other = build_model(dataclasses.replace(SMALL, width=16), 300)
    with pytest.raises(RunError, match="does not fit the model") as error:
        small.load_weights(other.state_dict())
    assert "\n" not in str(error.value)


def test_bytes_and_floats_are_the_same_image(small: SegmentationModel) -> None:
    images = torch.randint(0, 256, (2, 3, 33, 41), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(small.eval()(images).pixels, small(images.float()).pixels)


def test_the_model_normalises_by_its_own_mean_and_std() -> None:
    seen: list[torch.Tensor] = []

    class Spy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images

    mean, std = (0.1, 0.4, 0.6), (0.2, 0.3, 0.5)
    model = SegmentationModel(Spy(), None, distance="cosine", mean=mean, std=std)
    images = torch.randint(0, 256, (1, 3, 4, 5), dtype=torch.uint8)
    model(images)
    for channel in range(3):
        right = (images[0, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(seen[0][0, channel].double(), right, rtol=1e-5, atol=1e-6)
    assert {"mean", "std"} <= set(model.state_dict())  # so that a checkpoint carries them


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("backbone", ["mobilenetv2_100", "resnet18"])
def test_deeplab_over_backbones_and_strides(backbone: str, stride: int) -> None:
    network = DeepLabV3Plus(7, backbone=backbone, output_stride=stride, channels=16)
    images = torch.randn(1, 3, 65, 96)
    outputs = network.train()(images)  # a batch of one in training mode
    assert outputs.shape == (1, 7, 17, 24)
    deepest = network.backbone(images)[-1]
    assert deepest.shape[-2:] == (-(-65 // stride), 96 // stride)
    outputs.square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert not silent
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("pretrained", "momentum"), [(True, 0.01), (False, 0.1)])
def test_only_a_pretrained_backbones_statistics_drift_slowly(
    pretrained: bool, momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    create = timm.create_model  # nothing can be downloaded here: random weights stand in
    monkeypatch.setattr(
        timm, "create_model", lambda name, *, pretrained, **settings: create(name, **settings)
    )
    network = DeepLabV3Plus(7, backbone="resnet18", pretrained=pretrained, channels=16)
    momenta = {
        (name.startswith("backbone."), module.momentum)
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert momenta == {(True, momentum), (False, 0.1)}


def test_a_batch_of_one_trains_the_small_network() -> None:
    network = SmallNetwork(5, width=8).train()
    network(torch.randn(1, 3, 17, 19)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"network": "unet"}, "model.network: unknown network 'unet'.*deeplabv3plus, small"),
        ({"backbone": "resnet17"}, r"model.backbone: timm has no model 'resnet17'; similar: resne"),
        ({"backbone": "mit_b0"}, r"timm has no model 'mit_b0'; .*--model.network smp-segformer"),
        ({"backbone": "zzzzzz"}, "model.backbone: timm has no model 'zzzzzz'"),
        ({"distance": "manhattan"}, "model.distance: unknown distance 'manhattan'"),
        ({"pretrained": True}, "model.pretrained: the weights of resnet18 could not be downloaded"),
    ],
)
def test_what_cannot_be_built_is_one_line(changes: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        build_model(dataclasses.replace(DEEPLAB, **changes), 21)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("learned", [True, False])
def test_temperature_of_a_normalised_distance(distance: str, learned: bool) -> None:
    table = ClassTable(1284, 8, distance=distance, temperature=20.0, learn_temperature=learned)
    classes = table()
    torch.testing.assert_close(classes.temperature.item(), 20.0, rtol=1e-5, atol=0)
    assert classes.bias is None and classes.temperature.requires_grad == learned
    assert "log_temperature" in table.state_dict()


def test_the_linear_distance_has_a_bias_and_no_learned_temperature() -> None:
    table = ClassTable(1284, 8, distance="linear", temperature=1.0, learn_temperature=True)
    classes = table()
    assert classes.bias is not None and classes.bias.shape == (1284,)
    assert classes.temperature == 1.0 and not classes.temperature.requires_grad


def test_class_embeddings_start_at_about_unit_length() -> None:
    torch.manual_seed(0)
    table = ClassTable(1284, 64, distance="cosine", temperature=1.0, learn_temperature=False)
    lengths = table.weight.detach().norm(dim=1)
    assert 0.95 < lengths.mean() < 1.05
    assert table.weight.detach().mean(dim=0).norm() < 0.1
