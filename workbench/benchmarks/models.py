"""What architectures and backbones cost: ``bench models``.

One training step of each, as ``bench memory`` measures it, with the exact loss over all classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from workbench import config
from workbench.benchmarks.harness import Row, Spec, measure_rows, resolve_device
from workbench.benchmarks.step import describe, make_spec, measure_step, step_config
from workbench.errors import ConfigError
from workbench.models import build_network, has_backbone, network_names

CLASSES = 1284
CROP = 256
DIM = 64

SHOWN = ("parameters", "cell", "peak_bytes", "seconds", "note")
"""What ``workbench bench models`` prints of a row."""


class Pair(NamedTuple):
    """What is measured together.

    Attributes:
        network: One of ``workbench.models.network_names()``.
        backbone: Empty for a network without one.
        output_stride: What the backbone is asked for, or has.
    """

    network: str
    backbone: str = ""
    output_stride: int = 16


_OURS = (
    Pair("small"),
    Pair("deeplabv3plus", "mobilenetv2_100"),
    Pair("deeplabv3plus", "tf_efficientnet_lite0"),
    Pair("deeplabv3plus", "resnet50"),
    Pair("deeplabv3plus", "resnet101"),
    Pair("deeplabv3plus", "convnext_tiny"),
    Pair("deeplabv3plus", "pvt_v2_b0", 32),
    Pair("deeplabv3plus", "vit_small_patch14_dinov2"),
)

# Beside ResNet-50, over which all are measured that can be.
_MORE = (
    Pair("smp-unet", "mobilenet_v2"),
    Pair("smp-unet", "efficientnet-b0"),
    Pair("smp-fpn", "mit_b0"),
    Pair("smp-segformer", "mit_b0"),
    Pair("smp-upernet", "convnext_tiny"),
    Pair("smp-upernet", "swin_tiny_patch4_window7_224"),
)
_TRANSFORMERS = ("vit_small_patch16_224", "vit_small_patch14_dinov2")  # for DPT


def all_pairs() -> list[Pair]:
    """Our networks over several backbones, and every architecture of the extra ``smp``."""
    pairs = list(_OURS)
    for name in network_names():
        if name == "smp-dpt":
            pairs += [Pair(name, backbone) for backbone in _TRANSFORMERS]
        elif name.startswith("smp-"):
            pairs += [Pair(name, "resnet50")]
            pairs += [pair for pair in _MORE if pair.network == name]
    return pairs


def parse_pairs(text: str) -> list[Pair]:
    """Pairs as the command line takes them: ``"small,smp-unet:resnet18,deeplabv3plus:mit:32"``.

    Raises:
        ConfigError: Something else.
    """
    pairs = []
    for part in text.split(","):
        network, *rest = part.split(":")
        if not network or len(rest) > 2 or not (len(rest) < 2 or rest[1].isdecimal()):
            raise ConfigError(
                f"--pairs: network:backbone, with :stride if it is not 16, got {part!r}"
            )
        pair = Pair(network, rest[0] if rest else "")
        pairs.append(pair._replace(output_stride=int(rest[1])) if len(rest) > 1 else pair)
    return pairs


def run_models(
    pairs: Sequence[Pair] | None = None,
    *,
    classes: int = CLASSES,
    crop: int = CROP,
    batch_size: int = 2,
    dim: int = DIM,
    steps: int = 1,
    rounds: int = 1,
    device: str = "auto",
    overrides: Mapping[str, str] | None = None,
    available: int | None = None,
) -> list[Row]:
    """Measures a training step of every pair, each in a fresh process.

    Args:
        pairs: None measures :func:`all_pairs`.
        classes: Number of classes C.
        crop: Side of the pictures in pixels.
        batch_size: Pictures a step.
        dim: D.
        steps: Steps that are timed, after one that is not.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        overrides: Further settings, see :func:`~workbench.benchmarks.step.step_config`.
        available: Bytes a process on the CPU may take; None measures what is free.

    Returns:
        One row a pair: that of :func:`~workbench.benchmarks.step.measure_step` with
        "parameters" of the network, "cell" (pixels on a side of what gets one embedding),
        "output_stride", "note", "rounds" and "machine".

    Raises:
        ConfigError: An argument or a setting that is not there, a pair that cannot be built.
    """
    if steps < 1:
        raise ConfigError(f"--steps: at least 1, got {steps}")
    if classes < 2:
        raise ConfigError(f"--classes: at least 2, got {classes}")
    pairs = all_pairs() if pairs is None else pairs
    _check(pairs, overrides or {})
    device = resolve_device(device)
    base = step_config(
        crop=crop,
        batch_size=batch_size,
        overrides={"model.embedding_dim": str(dim), **(overrides or {})},
    )
    specs = []
    for pair in pairs:
        run = _with_pair(base, pair)
        specs.append(
            make_spec(run, "streaming", classes, bench="models", steps=steps, device=device)
        )
    return measure_rows(
        specs, describe_model, needs=lambda _: 0, rounds=rounds, available=available
    )


def _check(pairs: Sequence[Pair], overrides: Mapping[str, str]) -> None:
    """Before the first pair takes its minutes."""
    own = {"model.network", "model.backbone", "model.output_stride"} & set(overrides)
    if own:
        raise ConfigError(f"--{min(own)}: choose networks and backbones with --pairs")
    known = network_names()
    for pair in pairs:
        if pair.network not in known:
            raise ConfigError(
                f"--pairs: unknown network {pair.network!r}; choose of {', '.join(known)}"
            )


def _with_pair(run: config.Run, pair: Pair) -> config.Run:
    values = {"network": pair.network, "output_stride": pair.output_stride}
    if pair.backbone:
        values["backbone"] = pair.backbone
    return config.from_dict({"model": values}, base=run)


def describe_model(spec: Spec) -> Row:
    """What a row says of a pair before it is measured."""
    settings = config.from_dict(spec["config"]).model
    stride = settings.output_stride if has_backbone(settings.network) else None
    empty = {"parameters": None, "cell": None}
    return {**describe(spec), "output_stride": stride, **empty}


def measure_model(spec: Spec) -> Row:
    """One row, in a process that has done nothing else.

    Args:
        spec: See :func:`~workbench.benchmarks.step.measure_step`.
    """
    settings = config.from_dict(spec["config"])
    row = {**describe_model(spec), **measure_step(spec)}
    # Afterwards, for the peak is the step's. What the network is, not what it costs.
    network = build_network(
        dataclasses.replace(settings.model, pretrained=False), settings.model.embedding_dim
    ).eval()
    side = settings.data.crop
    with torch.inference_mode():
        cells = network(torch.zeros(1, 3, side, side)).shape[-1]
    row["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    row["cell"] = side / cells
    return row
