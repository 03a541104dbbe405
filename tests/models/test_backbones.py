"""Every kind of backbone under DeepLabV3+: any size, the stride asked for, nothing left out."""

from __future__ import annotations

import pytest
import timm
import torch
from packaging.version import Version
from torch import nn

from workbench.config import Model
from workbench.errors import ConfigError
from workbench.models import DeepLabV3Plus, build_model, network_names
from workbench.models.backbones import STRIDES, create_backbone
from workbench.models.catalog import (
    KNOWN,
    LAST_TRIAL,
    NETWORKS_TEXT,
    SMP_ENCODERS,
    installed_smp_networks,
    timm_names,
    working_strides,
)
from workbench.models.padding import pad, without_padding

# timm before 1.0.30 computes where it builds RegNet, which the list then leaves out.
REGNET_COMPUTES = Version(timm.__version__) < Version("1.0.30")
LIGHT = [known for known in KNOWN if known.parameters < 6_000_000]
# The largest in `make test-slow`.
LISTED = [
    pytest.param(k, marks=[pytest.mark.slow] * (k.parameters > 24_000_000), id=k.name)
    for k in KNOWN
]


@pytest.mark.parametrize("known", LISTED)
def test_the_list_says_what_a_backbone_can_do(known) -> None:  # noqa: ANN001
    if not (known.name.startswith("regnety") and REGNET_COMPUTES):
        assert working_strides(known.name) == known.strides  # without computing
    net = create_backbone(known.name, known.strides[-1]).net
    assert sum(parameter.numel() for parameter in net.parameters()) == known.parameters


@pytest.mark.parametrize("known", LIGHT, ids=lambda known: known.name)
def test_any_size_and_every_parameter_learns(known) -> None:  # noqa: ANN001
    torch.manual_seed(0)
    stride = known.strides[0]
    network = DeepLabV3Plus(7, backbone=known.name, output_stride=stride, channels=16).train()
    for height, width in ((97, 65), (33, 64)):
        outputs = network(torch.randn(2, 3, height, width))
        assert outputs.shape == (2, 7, -(-height // 4), -(-width // 4))
        assert outputs.isfinite().all()
    outputs.square().mean().backward()
    # A parameter without a gradient would also stop training on several devices.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("known", LIGHT, ids=lambda known: known.name)
def test_the_deepest_features_have_the_stride_asked_for(known) -> None:  # noqa: ANN001
    for stride in known.strides:
        network = DeepLabV3Plus(7, backbone=known.name, output_stride=stride, channels=8).eval()
        side = 4 * network.multiple
        images = torch.zeros(1, 3, side, side)
        with torch.inference_mode():
            skip, deep = network.pyramid(images, network.backbone(images))
        assert skip.shape[-2:] == (side // 4, side // 4)
        patch = 14 if "patch14" in known.name else stride
        assert deep.shape[-2:] == (side // patch, side // patch)


@pytest.mark.parametrize(
    ("size", "multiple", "cell"), [((97, 65), 32, 4), ((375, 500), 28, 4), ((64, 33), 32, 16)]
)
def test_cells_cover_a_padded_picture_edge_to_edge(
    size: tuple[int, int], multiple: int, cell: int
) -> None:
    """Cells that hold where their middle lies, in pixels, keep doing so."""
    padded = pad(torch.zeros(1, 1, *size), multiple).shape[-2:]
    assert all(
        side % multiple == 0 and side - multiple < s for side, s in zip(padded, size, strict=True)
    )
    rows, columns = (torch.arange(0.0, side, cell) + cell / 2 for side in padded)
    outputs = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    found = without_padding(outputs, (padded[0], padded[1]), size)
    for axis, side in enumerate(size):
        n = -(-side // cell)
        assert found.shape[2 + axis] == n
        middles = (torch.arange(n) + 0.5) * side / n
        values = found[0, axis].movedim(axis, 0)
        torch.testing.assert_close(values[1:-1], middles[1:-1, None].expand_as(values[1:-1]))


@pytest.mark.parametrize("backbone", ["resnet18", "test_convnext", "test_vit"])
def test_a_picture_of_any_size_is_seen_as_part_of_a_larger_one(backbone: str) -> None:
    """Attention and image pooling look at all of a picture, so the two are near, not equal."""
    torch.manual_seed(0)
    network = DeepLabV3Plus(5, backbone=backbone, output_stride=16, channels=16).eval()
    whole = nn.functional.interpolate(torch.randn(1, 3, 16, 64), (112, 448), mode="bilinear")
    with torch.inference_mode():
        full, cut = network(whole), network(whole[..., :421])
    assert cut.shape == (1, 5, 28, 106)
    # 421 pixels in 106 cells: the middles are those of 3.97 pixels each, not of 4.
    x = (torch.arange(106) + 0.5) * 421 / 106 / 4 - 0.5
    low = x.clamp_min(0).long()
    expected = torch.lerp(full[..., low], full[..., low + 1], (x - low).clamp_min(0))
    error, unmoved = (cut - expected).abs(), (cut - full[..., :106]).abs()
    assert float(error[..., 40:90].mean()) < 0.3 * float(unmoved[..., 40:90].mean())


def test_a_channels_last_pyramid_comes_out_channels_first() -> None:
    backbone = create_backbone("mambaout_femto", 32)
    images = torch.zeros(1, 3, 64, 96)
    with torch.inference_mode():
        features = backbone.net.eval()(images)
        skip, deep = backbone.pyramid(images, features)
    assert features[0].shape[-1] == backbone.channels[0]  # timm's layout
    assert skip.shape == (1, backbone.channels[0], 16, 24)
    assert deep.shape == (1, backbone.channels[1], 2, 3)


@pytest.mark.parametrize(
    ("backbone", "stride", "what"),
    [
        ("pvt_v2_b0", 16, "cannot dilate.*stride 32; set --model.output_stride 32"),
        ("vit_tiny_patch16_224", 8, "patches have 16 pixels; set --model.output_stride 16"),
        ("eva02_tiny_patch14_224", 32, "patches have 14 pixels; set --model.output_stride 16"),
        ("gmlp_s16_224", 16, "images of one size only; `workbench models` lists"),
        ("levit_128s", 32, "model.backbone: levit_128s has no features at output stride 32"),
        ("resnet18.nonsense", 16, "model.backbone: resnet18.nonsense has .*nonsense"),
    ],
)
def test_what_a_backbone_cannot_do_is_one_line(backbone: str, stride: int, what: str) -> None:
    settings = Model(backbone=backbone, output_stride=stride)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=what) as error:
        build_model(settings, 21)
    assert "\n" not in str(error.value)


def test_names_with_the_tag_of_their_weights_are_known() -> None:
    tagged = create_backbone("resnet18.a1_in1k", 16)
    assert tagged.channels == create_backbone("resnet18", 16).channels


def test_the_quick_list_of_networks_is_the_whole_one() -> None:
    assert {*NETWORKS_TEXT, *installed_smp_networks()} == set(network_names())


def test_the_quick_list_of_encoders_names_what_only_smp_has() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    assert set(SMP_ENCODERS) <= set(smp.encoders.get_encoder_names()) - set(timm_names())


def test_the_trial_of_timm() -> None:
    """Of a few: the whole takes half an hour (`workbench models --all`)."""
    assert 0 < LAST_TRIAL.work < LAST_TRIAL.names
    assert len(timm_names()) > 1000
    assert working_strides("test_resnet") == STRIDES
    assert working_strides("test_vit") == (16,)
    assert working_strides("levit_128s") == ()
    assert working_strides("no_such_model") == ()
