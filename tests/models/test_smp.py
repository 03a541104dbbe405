"""segmentation-models-pytorch's architectures: outputs lie where the picture is; clear errors."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from workbench.config import Model
from workbench.errors import ConfigError
from workbench.losses import upsample
from workbench.models import SmpNetwork, build_model, build_network, network_names

FPN = Model(network="smp-fpn", backbone="test_resnet", embedding_dim=6)


class Means(nn.Module):
    """Stands in for a model: each cell is the mean of its pixels, which says where it lies."""

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.decoder = nn.AvgPool2d(cell) if cell > 1 else nn.Identity()
        self.segmentation_head = nn.Identity()


def ramps(height: int, width: int) -> Tensor:
    """Every pixel's place: y and x of its centre, and a constant."""
    y = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width) + 0.5
    x = torch.arange(width, dtype=torch.float64).expand(height, width) + 0.5
    return torch.stack((y, x, torch.full_like(x, 7.0)))[None]


@pytest.mark.parametrize("size", [(97, 65), (96, 64), (65, 127), (70, 353)])
@pytest.mark.parametrize("cell", [1, 2, 4, 8, 16])
def test_outputs_lie_where_the_picture_is(cell: int, size: tuple[int, int]) -> None:
    """Upsampled as losses and predictions do it, each pixel of the output names its own place."""
    pictures = ramps(*size)
    outputs = SmpNetwork(Means(cell), 3, multiple=32)(pictures)
    assert outputs.shape == (1, 3, *(-(-side // cell) for side in size))
    full = upsample(outputs, size)
    # Cells that reach past the picture, and the half cell at its edge, repeat what is beside them.
    inside = (..., *(slice(2 * cell, side - 2 * cell) for side in size))
    torch.testing.assert_close(full[inside], pictures[inside], rtol=0, atol=1e-4)  # pixels
    torch.testing.assert_close(full[:, 2], pictures[:, 2], rtol=0, atol=1e-9)  # up to its edges


@pytest.mark.parametrize(("size", "padded"), [((20, 7), (64, 64)), ((64, 65), (64, 96))])
def test_pictures_are_padded_to_what_an_architecture_takes(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    seen = []

    class Spy(Means):
        def __init__(self) -> None:
            super().__init__(4)
            self.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))

    SmpNetwork(Spy(), 3, multiple=32, least_cells=2)(ramps(*size))
    assert seen == [(1, 3, *padded)]


def squares(height: int, width: int) -> Tensor:
    truth = torch.zeros(2, 1, height, width)
    truth[0, :, 41:75, 13:47] = 1
    truth[1, :, 59:83, 29:60] = 1
    return truth


def test_what_was_learned_at_one_size_is_found_at_another() -> None:
    """From 96 to 97 rows, cells of an output that is only cut would lie up to 7 pixels off."""
    torch.manual_seed(0)
    network = build_network(dataclasses.replace(FPN, network="smp-pspnet"), 1).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    truth = squares(96, 64)
    for _ in range(60):
        optimizer.zero_grad()
        logits = upsample(network((truth * 2 - 1).expand(-1, 3, -1, -1)), (96, 64))
        functional.binary_cross_entropy_with_logits(logits, truth).backward()
        optimizer.step()
    truth = squares(97, 65)
    with torch.no_grad():
        found = upsample(network((truth * 2 - 1).expand(-1, 3, -1, -1)), (97, 65)) > 0
    overlap = (found & (truth > 0)).sum() / (found | (truth > 0)).sum()
    assert overlap > 0.85


def test_half_precision_and_channels_last() -> None:
    network = build_network(FPN, 6).eval().to(memory_format=torch.channels_last)
    pictures = torch.randn(2, 3, 47, 65)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(pictures)
    with torch.no_grad():
        full = network(pictures)
    assert half.shape == full.shape == (2, 6, 12, 17)
    assert (half.float() - full).norm() < 0.05 * full.norm()


def test_timm_names_need_no_prefix_and_smp_names_are_its_own() -> None:
    one = build_network(dataclasses.replace(FPN, backbone="test_resnet"), 6)
    two = build_network(dataclasses.replace(FPN, backbone="tu-test_resnet"), 6)
    assert one.state_dict().keys() == two.state_dict().keys()
    own = build_network(dataclasses.replace(FPN, backbone="resnet18"), 6)
    assert type(own.backbone).__module__.startswith("segmentation_models_pytorch.encoders.resnet")


@pytest.mark.parametrize("stride", [8, 16])
def test_the_output_stride_dilates_the_encoder(stride: int) -> None:
    settings = Model(network="smp-deeplabv3", backbone="resnet18", output_stride=stride)  # type: ignore[arg-type]
    outputs = build_network(settings, 6).eval()(torch.zeros(1, 3, 64, 96))
    assert outputs.shape == (1, 6, 64 // stride, 96 // stride)


def test_a_patch_that_does_not_fit_dpt_becomes_one_that_does() -> None:
    settings = Model(network="smp-dpt", backbone="test_vit")
    network = build_network(settings, 6)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 65, 96)).shape == (1, 6, 33, 48)


def test_layers_that_nothing_uses_are_taken_out() -> None:
    """PSPNet goes down to stride 8 alone; the rest of its encoder would learn nothing."""
    network = build_network(Model(network="smp-pspnet", backbone="resnet18"), 6)
    names = {name for name, _ in network.named_parameters()}
    assert any(name.startswith("backbone.layer2.") for name in names)
    assert not any(name.startswith(("backbone.layer3.", "backbone.layer4.")) for name in names)


def test_building_draws_the_same_numbers_whatever_is_looked_at() -> None:
    one, two = (nn.Module(), nn.Module())
    for model in (one, two):
        torch.manual_seed(3)
        model.network = build_network(FPN, 6)
        model.following = torch.rand(4)
    assert torch.equal(one.following, two.following)
    assert one.network.training
    statistics = [b for n, b in one.network.named_buffers() if n.endswith("running_mean")]
    assert statistics and all(not value.any() for value in statistics)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"network": "smp-unett"}, "model.network: unknown network 'smp-unett'.*smp-unet, "),
        ({"backbone": "resnet17"}, "model.backbone: neither .* knows 'resnet17'; similar: resnet1"),
        ({"backbone": "vit_tiny_patch16_224"}, "model.backbone: smp-fpn over vit_tiny_patch16_224"),
        ({"network": "smp-dpt", "backbone": "mit_b0"}, "model.backbone: smp-dpt takes .* mit_b0"),
        ({"network": "smp-linknet", "backbone": "mit_b0"}, "model.backbone: smp-linknet over mit"),
        ({"network": "smp-deeplabv3", "output_stride": 32}, "smp-deeplabv3 over .*stride 8 or 16"),
        (
            {"network": "smp-dpt", "backbone": "legacy_xception"},
            "smp-dpt over legacy.*: (The size|Encoder .* does not support)",
        ),
        ({"backbone": "maxvit_tiny_tf_224"}, "it takes images of one size only"),
        ({"pretrained": True, "backbone": "resnet18"}, "model.pretrained: the weights of resnet18"),
        ({"pretrained": True}, "model.pretrained: the weights of test_resnet"),
    ],
)
def test_what_cannot_be_built_is_one_line(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        build_model(dataclasses.replace(FPN, **changes), 300)
    assert "\n" not in str(error.value)


def test_a_batch_of_one_is_one_line_where_an_architecture_cannot_learn_from_it() -> None:
    network = build_network(dataclasses.replace(FPN, network="smp-deeplabv3"), 6)
    with pytest.raises(ConfigError, match=r"train.batch_size: .* at least 2"):
        network.train()(torch.zeros(1, 3, 64, 64))
    network.train()(torch.zeros(2, 3, 64, 64))
    network.eval()(torch.zeros(1, 3, 64, 64))


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ConfigError, match=r"pip install 'segmentation-workbench\[smp\]'") as error:
        build_model(FPN, 300)
    assert "\n" not in str(error.value)
    assert network_names()[:2] == ["deeplabv3plus", "small"]
    assert not any(name.startswith("smp-") for name in network_names())
    with pytest.raises(ConfigError, match="unknown network 'unet'"):
        build_model(dataclasses.replace(FPN, network="unet"), 300)


def test_pretrained_encoders_keep_their_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model  # nothing can be downloaded here: random weights stand in
    asked = []

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> nn.Module:
        asked.append(pretrained)
        model: nn.Module = create(name, **options)
        return model

    monkeypatch.setattr(timm, "create_model", offline)
    network = build_network(dataclasses.replace(FPN, pretrained=True), 6)
    assert True in asked
    momenta = {
        (name.startswith("backbone."), module.momentum)
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert (True, 0.01) in momenta and (True, 0.1) not in momenta


@pytest.mark.parametrize("backbone", ["mit_b0", "dpn68"])
def test_an_encoder_of_smp_starts_from_a_file_of_its_own(backbone: str, tmp_path: Path) -> None:
    """MiT's takes other arguments than modules do; DPN's classifier is not called as timm's."""
    torch.manual_seed(5)
    settings = Model(network="smp-unet", backbone=backbone, embedding_dim=6)
    given = build_network(settings, 6).backbone.state_dict()
    path = tmp_path / "encoder.safetensors"
    save_file({**given, "last_linear.weight": torch.zeros(3)}, path)
    torch.manual_seed(6)
    network = build_model(dataclasses.replace(settings, weights=str(path)), 300).network
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, given[name]), name


@pytest.mark.parametrize("size", [(33, 70), (9, 12)])
def test_a_transformer_takes_small_pictures_where_little_padding_is_wanted(
    size: tuple[int, int],
) -> None:
    """PSPNet goes down to stride 8, MiT's first stage takes no fewer than 8 cells of 4 pixels."""
    network = build_network(Model(network="smp-pspnet", backbone="mit_b0"), 6).eval()
    with torch.no_grad():
        output = network(torch.zeros(1, 3, *size))
    assert output.shape == (1, 6, *(-(-side // 8) for side in size))


@pytest.mark.parametrize(
    ("network", "backbone"), [("smp-unet", "resnet18"), ("smp-pspnet", "tu-resnet18")]
)
def test_an_encoder_starts_from_a_file_of_timm(network: str, backbone: str, tmp_path: Path) -> None:
    """Of the whole classifier: its last layer, and stages PSPNet leaves out, have no place here."""
    import timm

    torch.manual_seed(5)
    whole = timm.create_model("resnet18").state_dict()
    save_file(whole, tmp_path / "resnet18.safetensors")
    settings = Model(
        network=network, backbone=backbone, weights=str(tmp_path / "resnet18.safetensors")
    )
    own = build_model(settings, 300).network.backbone.state_dict()
    assert len(own) > 30
    for name, value in own.items():
        assert torch.equal(value, whole[name.removeprefix("model.")]), name
