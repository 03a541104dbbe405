"""Weights to start from: read safely, put where they belong, normalised as they were trained."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from workbench import config
from workbench.config import IMAGENET_MEAN, IMAGENET_STD, Model
from workbench.errors import ConfigError
from workbench.models import SegmentationModel, build_model, with_own_statistics
from workbench.models.weights import (
    OFFLINE_BACKBONE,
    offline_is_installed,
    offline_weights,
    read_tensors,
)

offline = pytest.mark.skipif(
    not offline_is_installed(), reason="needs the extra offline-backbone (pip install)"
)

SMALL = Model(backbone="test_resnet", embedding_dim=6)
RESNET18 = dataclasses.replace(SMALL, backbone="resnet18")


def whole(name: str = "test_resnet", seed: int = 3) -> dict[str, Tensor]:
    """A classifier as a training tool leaves it, with statistics that have moved."""
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=1000)
    return {
        key: torch.rand_like(value) if "running" in key else value.clone()
        for key, value in model.state_dict().items()
    }


def file_of(state: dict[str, Tensor], path: Path) -> str:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return str(path)


def line_of(error: pytest.ExceptionInfo[ConfigError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [
        *(("resnet18", 16), ("convnext_atto", 16), ("mobilenetv2_100", 8), ("pvt_v2_b0", 32)),
        *(("vit_tiny_patch16_224", 16), ("eva02_tiny_patch14_224", 16), ("mambaout_femto", 32)),
    ],
)
def test_a_backbone_begins_with_the_weights_of_its_file(
    backbone: str, stride: int, tmp_path: Path
) -> None:
    """Told by its features: those of timm's own extractor with the same weights."""
    torch.manual_seed(3)
    state = whole(backbone)
    settings = Model(
        backbone=backbone,
        output_stride=stride,
        weights=file_of(state, tmp_path / "w.safetensors"),
        embedding_dim=6,
    )
    network: nn.Module = build_model(settings, 300).network.eval()
    oracle = timm.create_model(backbone, num_classes=1000).eval()
    oracle.load_state_dict(state)
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        found = network.backbone(images)[-1]
        if stride == 32 or "patch" in backbone:
            expected = oracle.forward_intermediates(
                images, norm=False, intermediates_only=True, output_fmt="NCHW"
            )[-1]
            if backbone == "mambaout_femto":
                found = found.permute(0, 3, 1, 2)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    names = [n for n in state if n.startswith(("conv1", "conv_stem", "stem", "patch_embed"))]
    own = {n.replace("_", "."): v for n, v in network.backbone.state_dict().items()}
    for name in names:
        key = name.replace("_", ".")
        assert torch.equal(own[key] if key in own else own[f"model.{key}"], state[name])


@pytest.mark.parametrize(
    ("backbone", "made_for"),
    [
        ("vit_tiny_patch16_224", {"patch_size": 14, "img_size": 518}),  # as DINOv2's are
        ("vit_tiny_patch16_224", {"img_size": 384}),
        ("deit_tiny_distilled_patch16_224", {"patch_size": 8}),
    ],
)
def test_a_transformers_patches_are_resampled_as_timm_does(
    backbone: str, made_for: dict[str, int], tmp_path: Path
) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(3)
    state = timm.create_model(backbone, **made_for).state_dict()
    expected = checkpoint_filter_fn(dict(state), timm.create_model(backbone))
    path = file_of(state, tmp_path / "w.safetensors")
    for name in ("smp-dpt", "deeplabv3plus"):
        settings = Model(network=name, backbone=backbone, weights=path, embedding_dim=6)
        network: nn.Module = build_model(settings, 300).network
        found = dict(network.backbone.named_parameters())
        for part in ("pos_embed", "patch_embed.proj.weight"):
            (own,) = (value for key, value in found.items() if key.endswith(part))
            torch.testing.assert_close(own, expected[part], rtol=0, atol=0)


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: s,
        lambda s: {f"module.{n}": v for n, v in s.items()},
        lambda s: {"state_dict": {f"module.model.{n}": v for n, v in s.items()}, "epoch": 3},
        lambda s: {"model": {f"_orig_mod.{n}": v for n, v in s.items()}, "lr": [0.1]},
        lambda s: {"state_dict": {f"backbone.{n}": v for n, v in s.items()} | OTHER},
        lambda s: {"state_dict": {f"model.backbone.{n}": v for n, v in s.items()} | OTHER},
        lambda s: {"model": {n: v * 0 for n, v in s.items()}, "model_ema": s},
        lambda s: {n: v for n, v in s.items() if "num_batches_tracked" not in n},
        lambda s: {n: v for n, v in s.items() if not n.startswith("fc.")},
        lambda s: s | {"head.weight": torch.zeros(7, 96)},
    ],
)
def test_what_training_tools_wrap_around_weights_is_taken_off(nest, tmp_path: Path) -> None:  # noqa: ANN001
    state = whole()
    torch.save(nest(state), tmp_path / "w.pth")
    model = build_model(dataclasses.replace(SMALL, weights=str(tmp_path / "w.pth")), 300)
    for name, value in model.network.backbone.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, state[name]), name


OTHER = {"decode_head.conv.weight": torch.zeros(3), "decode_head.conv.bias": torch.zeros(3)}


def test_half_precision_is_cast_up(tmp_path: Path) -> None:
    half = {n: v.half() if v.is_floating_point() else v for n, v in whole().items()}
    weights = file_of(half, tmp_path / "w.safetensors")
    model = build_model(dataclasses.replace(SMALL, weights=weights), 300)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    conv = model.network.backbone.layer1[0].conv1.weight
    assert torch.equal(conv, half["layer1.0.conv1.weight"].float())


@pytest.mark.parametrize("weights", [True, False])
def test_only_loaded_statistics_drift_slowly(weights: bool, tmp_path: Path) -> None:
    path = file_of(whole(), tmp_path / "w.safetensors") if weights else ""
    model = build_model(dataclasses.replace(SMALL, weights=path), 300)
    momenta = {
        (".backbone." in f".{name}", module.momentum)
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    assert momenta == {(True, 0.01 if weights else 0.1), (False, 0.1)}


def test_a_run_gives_the_whole_network_but_the_class_table(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = build_model(dataclasses.replace(SMALL, mean=(0.4, 0.5, 0.6)), 300)
    weights = file_of(first.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)
    same = build_model(dataclasses.replace(SMALL, weights=weights), 1284)
    for name, value in same.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name]), name
    assert same.table is not None and same.table.weight.shape == (1284, 6)
    assert torch.equal(same.mean, first.mean) and torch.equal(same.std, first.std)
    started = with_own_statistics(dataclasses.replace(SMALL, weights=weights))
    assert started.mean == (0.4, 0.5, 0.6)  # without the digits of fp32
    longer = build_model(dataclasses.replace(SMALL, weights=weights, embedding_dim=9), 300)
    moved = [
        name
        for name, value in longer.network.state_dict().items()
        if value.shape != first.network.state_dict()[name].shape
        or not torch.equal(value, first.network.state_dict()[name])
    ]
    assert moved == ["project.weight", "project.bias"]


def test_a_run_of_the_small_network_can_be_gone_on_with(tmp_path: Path) -> None:
    settings = Model(network="small", width=8, embedding_dim=6)
    torch.manual_seed(0)
    first = build_model(settings, 300)
    weights = file_of(first.state_dict(), tmp_path / "model.safetensors")
    again = build_model(dataclasses.replace(settings, weights=weights), 300)
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name]), name
    wider = dataclasses.replace(settings, weights=weights, width=16)
    with pytest.raises(ConfigError, match=r"of another shape .*instead of") as error:
        build_model(wider, 300)
    line_of(error)


def _resnet18_without(start: str) -> dict[str, Tensor]:
    return {n: v for n, v in whole("resnet18").items() if not n.startswith(start)}


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (lambda: _resnet18_without("layer4."), r"25 of 120 tensors missing \(layer4\.0\."),
        (lambda: whole("resnet34"), r"\d+ unknown \(layer1\.2\.\S+, \S+, \S+, \.\.\.\)"),
        (lambda: whole("resnet50"), "of another shape .*instead of"),
        (lambda: whole("mobilenetv2_100"), "of 120 tensors missing"),
        (
            lambda: whole("resnet18") | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
            "conv1.weight .64, 1, 7, 7",
        ),
        (lambda: {"only.this": torch.zeros(3)}, "of 120 tensors missing .*1 unknown .only.this"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(state, what: str, tmp_path: Path) -> None:  # noqa: ANN001
    path = file_of(state(), tmp_path / "wrong.safetensors")
    with pytest.raises(ConfigError, match=what) as error:
        build_model(dataclasses.replace(RESNET18, weights=path), 300)
    assert line_of(error).startswith(f"model.weights: {path} does not fit the model: ")
    assert len(line_of(error)) < 700


class Trap:
    """What a hostile file holds: reading it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, folder = tmp_path / "w.pth", tmp_path / "made"
    torch.save({"state_dict": whole(), "extra": Trap(folder)}, path)
    with pytest.raises(ConfigError, match="not a safetensors file or a state dict") as error:
        read_tensors(path)
    assert str(path) in line_of(error) and not folder.exists()


def test_files_that_are_no_weights_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    for name, what in (
        ("text.pth", "not a safetensors file or a state dict"),
        ("empty.safetensors", "not a safetensors file or a state dict"),
        ("none.pth", "holds no tensors by name"),
        ("list.pth", "holds no tensors by name"),
        ("missing.pth", "no such file"),
        ("", "is a folder; give the file of weights in it"),
    ):
        with pytest.raises(ConfigError, match=what) as error:
            read_tensors(tmp_path / name)
        assert str(tmp_path / name) in line_of(error)


def test_no_network_and_no_file_names_the_remedies() -> None:
    with pytest.raises(ConfigError, match=r"model\.pretrained: the weights of resnet18") as error:
        build_model(dataclasses.replace(RESNET18, pretrained=True), 300)
    line = line_of(error)
    for remedy in (
        "go online",
        "--model.weights FILE",
        "--model.weights offline --model.backbone tf_efficientnet_lite0",
        "pip install 'segmentation-workbench[offline-backbone]'",
    ):
        assert remedy in line


def test_weights_that_nobody_published_are_one_line() -> None:
    settings = dataclasses.replace(SMALL, backbone="darknet17", pretrained=True)
    with pytest.raises(ConfigError, match="timm has no weights of darknet17; give a file") as error:
        build_model(settings, 300)
    line_of(error)


def test_a_file_takes_the_place_of_the_hub(tmp_path: Path) -> None:
    path = file_of(whole(), tmp_path / "w.safetensors")
    build_model(dataclasses.replace(SMALL, pretrained=True, weights=path), 300)  # no download


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"backbone": "resnet18"}, "offline weights are those of tf_efficientnet_lite0; set"),
        ({"network": "small"}, "model.weights: the network small has no backbone"),
    ],
)
def test_offline_weights_for_something_else_are_refused(changes: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        build_model(Model(weights="offline", **changes), 300)
    line_of(error)


def test_offline_weights_that_are_not_installed_say_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"not installed: pip install .*offline-backbone"
    ) as error:
        build_model(Model(weights="offline", backbone=OFFLINE_BACKBONE), 300)
    line_of(error)


# ImageNet classes that are on scikit-learn's two pictures: a Chinese palace; a flower.
PALACE = {442: "bell cote", 483: "castle", 663: "monastery", 698: "palace", 832: "stupa"}
DAISY = {985: "daisy"}


def top_five(model: nn.Module, image: np.ndarray, mean: float, std: float) -> list[int]:
    """As these weights were evaluated: the middle 224 of a picture of 256 on its short side."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    shorter = min(pixels.shape[-2:])
    size = [round(side * 256 / shorter) for side in pixels.shape[-2:]]
    small = nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 255)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    with torch.inference_mode():
        scores = model.eval()((small[..., top : top + 224, left : left + 224] - mean) / std)
    return scores[0].topk(5).indices.tolist()


@offline
def test_the_offline_weights_know_two_photographs() -> None:
    from sklearn.datasets import load_sample_images

    model = timm.create_model(OFFLINE_BACKBONE)
    model.load_state_dict(offline_weights())  # every tensor, and no other
    china, flower = load_sample_images().images
    assert len(PALACE.keys() & set(top_five(model, china, 127, 128))) >= 2
    assert top_five(model, china, 127, 128)[0] in PALACE
    assert top_five(model, flower, 127, 128)[0] in DAISY
    # Normalised as for other networks they are worse: what the next test is about matters.
    assert top_five(model, flower, 255 * 0.45, 255 * 0.226)[0] not in DAISY


@offline
@pytest.mark.parametrize("network", ["deeplabv3plus", "smp-unet"])
def test_offline_weights_bring_their_normalisation(network: str) -> None:
    settings = Model(network=network, weights="offline", backbone=OFFLINE_BACKBONE, embedding_dim=6)
    model = build_model(settings, 300)
    torch.testing.assert_close(model.mean.flatten(), torch.full((3,), 127.0))
    torch.testing.assert_close(model.std.flatten(), torch.full((3,), 128.0))
    given = offline_weights()
    loaded = dict(model.network.backbone.named_parameters())
    for name in ("conv_stem.weight", "blocks.6.0.conv_pwl.weight"):
        (own,) = (value for key, value in loaded.items() if key.endswith(name))
        assert torch.equal(own, given[name])


def test_weights_bring_the_mean_and_deviation_they_were_trained_with() -> None:
    own = with_own_statistics(Model(backbone="vit_tiny_patch16_224", pretrained=True))
    assert (own.mean, own.std) == ((0.5,) * 3, (0.5,) * 3)
    assert with_own_statistics(own) == own
    plain = with_own_statistics(Model(backbone="resnet18", pretrained=True))
    assert (plain.mean, plain.std) == (IMAGENET_MEAN, IMAGENET_STD)
    unet = Model(network="smp-unet", backbone="test_resnet", pretrained=True)
    assert with_own_statistics(unet).mean == (0.5,) * 3
    random = Model(backbone="vit_tiny_patch16_224")
    assert with_own_statistics(random) == random
    chosen = Model(backbone="vit_tiny_patch16_224", pretrained=True, mean=(0.1, 0.2, 0.3))
    assert with_own_statistics(chosen) == chosen  # what is given counts


def test_encoders_of_smp_are_normalised_as_their_files_on_the_hub_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inception takes -1 to 1, whatever others of the package take."""
    smp_encoders = pytest.importorskip("segmentation_models_pytorch").encoders
    (tmp_path / "config.json").write_text('{"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.5]}')

    def from_hub(repository: str, filename: str, revision: str) -> str:
        assert repository == "smp-hub/inceptionv4.imagenet" and revision
        return str(tmp_path / filename)

    settings = Model(network="smp-unet", backbone="inceptionv4", pretrained=True)
    with pytest.raises(ConfigError, match=r"the weights of inceptionv4 could not be downloaded"):
        with_own_statistics(settings)  # the tests' hub is closed
    monkeypatch.setattr(smp_encoders, "hf_hub_download", from_hub)
    own = with_own_statistics(settings)
    assert (own.mean, own.std) == ((0.5, 0.4, 0.3), (0.5, 0.5, 0.5))
    unpublished = dataclasses.replace(settings, backbone="resnext101_32x32d")
    with pytest.raises(ConfigError, match="no ImageNet weights of resnext101_32x32d; give a"):
        with_own_statistics(unpublished)


def test_a_model_for_weights_at_hand_starts_from_nothing() -> None:
    settings = Model(pretrained=True, weights="gone.pth", embedding_dim=6, mean=(0.1, 0.2, 0.3))
    bare = settings.without_start()
    assert bare == dataclasses.replace(settings, pretrained=False, weights="")
    assert isinstance(build_model(bare, 300), SegmentationModel)
    run = config.from_dict(config.to_dict(config.Run(model=settings)))
    assert run.model.weights == "gone.pth"
