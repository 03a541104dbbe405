"""Every architecture trains with every loss, on odd sizes of pictures, and survives a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.inference import build_from_config
from workbench.losses import LOSSES, build_loss, upsample
from workbench.models import NETWORKS, ModelOutput, SegmentationModel, network_names
from workbench.trainers.sampling import Batch
from workbench.trainers.trainer import Trainer

CLASSES, DIM = 300, 6
SIZE = (65, 47)  # no multiple of anything

# Backbone, and pixels on a side of the cells that come out.
NETWORK_CELLS = {
    "small": ("", 4),
    "deeplabv3plus": ("test_resnet", 4),
    "smp-unet": ("test_resnet", 1),
    "smp-unetplusplus": ("test_resnet", 1),
    "smp-manet": ("test_resnet", 1),
    "smp-linknet": ("test_resnet", 1),
    "smp-fpn": ("test_resnet", 4),
    "smp-pspnet": ("test_resnet", 8),
    "smp-deeplabv3": ("test_resnet", 16),
    "smp-deeplabv3plus": ("test_resnet", 4),
    "smp-pan": ("test_resnet", 4),
    "smp-upernet": ("test_resnet", 4),
    "smp-segformer": ("test_resnet", 4),
    "smp-dpt": ("test_vit", 2),
}

# Backbones people use: their layers differ more than their names.
LARGE = {
    ("deeplabv3plus", "mobilenetv2_100"): 4,
    ("smp-unet", "resnet50"): 1,
    ("smp-unet", "mobilenetv2_100"): 1,
    ("smp-unet", "swin_tiny_patch4_window7_224"): 1,
    ("smp-linknet", "pvt_v2_b0"): 1,
    ("smp-segformer", "mit_b0"): 4,
    ("smp-upernet", "convnext_tiny"): 4,
    ("smp-fpn", "efficientnet-b0"): 4,
    ("smp-dpt", "vit_small_patch16_224"): 2,
    ("smp-dpt", "vit_small_patch14_dinov2"): 2,
}


def settings(network: str, backbone: str, loss: str = "streaming") -> config.Run:
    model = {"network": network, "width": 8, "embedding_dim": DIM}
    if backbone:
        model["backbone"] = backbone
    return config.from_dict(
        {
            "data": {"crop": 64},
            "model": model,
            "loss": {"name": loss, "k": 7, "pixels": 2000 if loss == "published" else 0},
            "train": {"batch_size": 2, "lr": 0.1, "backbone_lr_factor": 1.0, "steps": 10},
        }
    )


def batch() -> Batch:
    """Noise, and a mask with ids above 255 and unlabelled pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=generator)
    masks = torch.randint(0, CLASSES, (2, *SIZE), generator=generator)
    masks[:, :3] = IGNORE_INDEX
    masks[:, 3] = CLASSES - 1
    return Batch(images, masks, ["one", "two"])


def train_two_steps(run: config.Run) -> SegmentationModel:
    torch.manual_seed(0)
    model = build_from_config(run, CLASSES)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = Trainer(run, model, build_loss(run.loss, run.model.distance))
    model.train()
    records = [trainer.train_step(batch()) for _ in range(2)]
    assert all(torch.tensor(record["loss"]).isfinite() for record in records)
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    # Not vectors: a bias before a normalisation has no effect, a scale of 1 hides small steps.
    learned = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert learned <= moved, learned - moved
    return model


def check_output(output: ModelOutput, *, channels: int, cell: int) -> None:
    assert type(output) is ModelOutput and output.size == SIZE
    assert output.pixels.shape == (2, channels, *(-(-side // cell) for side in SIZE))
    assert output.pixels.isfinite().all()
    assert upsample(output.pixels, output.size).shape == (2, channels, *SIZE)
    if channels == DIM:
        assert output.classes is not None and output.classes.weight.shape == (CLASSES, DIM)
    else:
        assert output.classes is None


def check_modes(model: SegmentationModel) -> ModelOutput:
    """Evaluation changes nothing and always says the same; training moves the statistics."""
    images = batch().images
    model.eval()
    assert not any(module.training for module in model.modules())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        first, second = model(images), model(images)
    assert torch.equal(first.pixels, second.pixels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        model(images)
    names = [name for name in before if name.endswith("running_mean")]
    assert names and not any(torch.equal(model.state_dict()[n], before[n]) for n in names)
    model.load_state_dict(before)
    model.eval()
    return first


def check_round_trip(model: SegmentationModel, run: config.Run, path: Path) -> None:
    model = model.to(memory_format=torch.contiguous_format)  # other formats add up in other orders
    save_file(model.state_dict(), path)
    torch.manual_seed(1)
    other = build_from_config(run, CLASSES).eval()
    other.load_weights(load_file(path))
    images = batch().images
    with torch.inference_mode():
        one, two = model.eval()(images), other(images)
    assert torch.equal(one.pixels, two.pixels)
    if one.classes is not None and two.classes is not None:
        assert torch.equal(one.classes.weight, two.classes.weight)


def check_all(run: config.Run, cell: int, path: Path) -> None:
    model = train_two_steps(run)
    channels = DIM if LOSSES[run.loss.name].uses_class_table else CLASSES
    check_output(check_modes(model), channels=channels, cell=cell)
    check_round_trip(model, run, path)


def test_every_network_is_tested_here() -> None:
    assert set(NETWORK_CELLS) == set(network_names())
    assert set(NETWORKS) <= set(NETWORK_CELLS)


# The largest network's losses but the default in `make test-slow`.
PAIRS = [
    pytest.param(n, loss, marks=[pytest.mark.slow] * (n == "smp-dpt" and loss != "streaming"))
    for n in NETWORK_CELLS
    for loss in LOSSES
]


@pytest.mark.parametrize(("network", "loss"), PAIRS)
def test_every_network_trains_with_every_loss(network: str, loss: str, tmp_path: Path) -> None:
    backbone, cell = NETWORK_CELLS[network]
    check_all(settings(network, backbone, loss), cell, tmp_path / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("network", "backbone"), list(LARGE))
def test_backbones_that_people_use(network: str, backbone: str, tmp_path: Path) -> None:
    run = settings(network, backbone)
    check_all(run, LARGE[network, backbone], tmp_path / "weights.safetensors")


@pytest.mark.parametrize("network", [name for name in NETWORK_CELLS if name != "small"])
def test_the_backbone_learns_at_its_own_rate_and_nothing_is_left_unused(network: str) -> None:
    """A parameter without a gradient would stop several processes for ever."""
    model = build_from_config(settings(network, NETWORK_CELLS[network][0]), CLASSES)
    output = model(batch().images)
    assert output.classes is not None
    (output.pixels.sum() + output.classes.weight.sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    names = [name for name, _ in model.named_parameters()]
    assert any(name.startswith("network.backbone.") for name in names)
    assert any(not name.startswith("network.backbone.") for name in names)
