"""Predicting one image, above the backbone: from decoder features to a class id per pixel.

Ours projects the features to D numbers, upsamples those and looks for the nearest class
embedding; the dense head projects them to C logits, upsamples all and takes the largest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.benchmarks.harness import WRONG, Row, Spec, measure_rows, resolve_device
from workbench.benchmarks.meter import PeakMeter, repeat
from workbench.benchmarks.truth import spread, true_logits
from workbench.distances import DISTANCES, ClassEmbeddings
from workbench.errors import ConfigError
from workbench.inference import labels_of
from workbench.models import ModelOutput

CLASSES = (21, 150, 1284, 10_000)
METHODS = ("dense", "embedding")

_CHANNELS = 256  # of DeepLabV3+'s decoder
_STRIDE = 4
_TEMPERATURE = 20.0
_TOLERANCE = 1e-3
"""How far, relative to the spread of a pixel's logits, the chosen class may be behind the
best one: near ties have no order in fp32."""
_CHECK_CELLS = 2**24
_CHUNK_CELLS = 2**21
_WITHIN = 2.5  # seconds of repetitions


class Head(NamedTuple):
    """What is left to do after a decoder.

    Attributes:
        features: (1, channels, h, w), the decoder's output.
        project: The weight (D, channels), or (C, channels) for the dense head.
        table: Class embeddings (C, D), None for the dense head.
        size: (H, W) of the image.
        distance: Key of ``workbench.distances.DISTANCES``.
    """

    features: Tensor
    project: Tensor
    table: Tensor | None
    size: tuple[int, int]
    distance: str

    def labels(self) -> Tensor:
        """Class ids (H, W), the way the workbench predicts."""
        outputs = functional.conv2d(self.features, self.project[:, :, None, None])
        classes = None
        if self.table is not None:
            temperature = torch.tensor(_TEMPERATURE, device=outputs.device)
            classes = ClassEmbeddings(self.table, None, temperature)
        return labels_of(ModelOutput(outputs, classes, self.size), self.distance)[0]


def run_predict(
    classes: Sequence[int] = CLASSES,
    methods: Sequence[str] = METHODS,
    *,
    size: int = 512,
    dim: int = 12,
    distance: str = "euclidean",
    repetitions: int = 7,
    rounds: int = 1,
    device: str = "auto",
    available: int | None = None,
    isolated: bool = True,
) -> list[Row]:
    """Measures both heads at every number of classes, each in a fresh process.

    Args:
        classes: Numbers of classes C.
        methods: "dense" and "embedding".
        size: Side of the image in pixels.
        dim: Dimensions D of the embedding.
        distance: Key of ``workbench.distances.DISTANCES``.
        repetitions: Calls that are timed, fewer where they take long.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto".
        available: Bytes a process on the CPU may take; None measures what is free.
        isolated: See :func:`~workbench.benchmarks.harness.measure_rows`.

    Returns:
        The rows of :func:`measure_predict`, with "note", "rounds" and "machine".

    Raises:
        ConfigError: An argument is not among what there is.
    """
    device = resolve_device(device)
    if not classes or min(classes) < 2:
        raise ConfigError(f"--classes: whole numbers from 2, got {list(classes)}")
    if not methods or set(methods) - set(METHODS):
        raise ConfigError(f"--methods: choose from {', '.join(METHODS)}, got {list(methods)}")
    if distance not in DISTANCES:
        raise ConfigError(f"--distance: choose one of {', '.join(DISTANCES)}, got {distance!r}")
    for name, value in (("size", size), ("dim", dim), ("repetitions", repetitions)):
        if value < 1:
            raise ConfigError(f"--{name}: at least 1, got {value}")
    shared = {"bench": "predict", "device": device, "size": size, "dim": dim}
    specs = [
        {**shared, "method": method, "classes": count, "distance": distance}
        | {"repetitions": repetitions}
        for count in classes
        for method in methods
    ]
    return measure_rows(
        specs, describe, needs=_least, rounds=rounds, available=available, isolated=isolated
    )


def describe(spec: Spec) -> Row:
    """What identifies a measurement."""
    embedding = spec["method"] == "embedding"
    return {
        **{column: spec[column] for column in ("bench", "method", "device", "classes")},
        "pixels": int(spec["size"]) ** 2,
        "dim": spec["dim"] if embedding else None,
        "distance": spec["distance"] if embedding else None,
        "k": None,
        "dtype": "fp32",
        "channels": _CHANNELS,
    }


def _least(spec: Spec) -> int:
    return 4 * int(spec["classes"]) * int(spec["size"]) ** 2 if spec["method"] == "dense" else 0


def measure_predict(spec: Spec) -> Row:
    """Measures one head; to be called in a process that did nothing else.

    Args:
        spec: "method", "classes", "size", "dim", "distance", "device", "repetitions".

    Returns:
        :func:`describe`, "peak_bytes" (beyond what is there when weights and features are
        made), "start_bytes" (what is there then), "seconds", "cpu_seconds", "repetitions",
        "loss" and "grad_error" (None: there are none), "loss_error" (how far the chosen
        class's logit is behind the best in float64, the largest over "checked" pixels,
        relative to the spread of a pixel's logits), "threads", "pid", and a "note" where
        the error is not tolerable.
    """
    device = str(spec["device"])
    head = make_head(spec)
    small = head._replace(features=head.features[:, :, :2, :2], size=(2 * _STRIDE, 2 * _STRIDE))
    found: list[Tensor] = [small.labels()]  # what comes with the first call is not the head's

    def work() -> None:
        found[:] = [head.labels()]

    meter = PeakMeter(device)
    timing = repeat(work, device, at_most=int(spec["repetitions"]), within=_WITHIN)
    memory = {"peak_bytes": meter.above(), "start_bytes": meter.start}
    some = min(found[0].numel(), max(256, _CHECK_CELLS // int(spec["classes"])))
    error = shortfall(head, found[0], some)
    row = {
        **describe(spec),
        **memory,
        **timing._asdict(),
        "loss": None,
        "loss_error": float(f"{error:.2g}"),
        "grad_error": None,
        "checked": some,
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
    }
    if not error <= _TOLERANCE:
        row["note"] = f"{WRONG}a chosen class is {error:.1e} behind the nearest ({_TOLERANCE:.0e})"
    return row


def make_head(spec: Spec) -> Head:
    """Random features and weights."""
    generator = torch.Generator().manual_seed(0)
    side = -(-int(spec["size"]) // _STRIDE)
    classes, dim = int(spec["classes"]), int(spec["dim"])
    embedding = spec["method"] == "embedding"

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(spec["device"])

    return Head(
        draw(1, _CHANNELS, side, side),
        draw(dim if embedding else classes, _CHANNELS) * _CHANNELS**-0.5,
        draw(classes, dim) if embedding else None,
        (int(spec["size"]), int(spec["size"])),
        str(spec["distance"]),
    )


def shortfall(head: Head, labels: Tensor, some: int) -> float:
    """How far the labels' logits are behind the best ones, in float64, of some pixels.

    Features are upsampled before they are projected, which is the same in another order.

    Args:
        head: What was predicted with.
        labels: (H, W) int64.
        some: Number of pixels, spread evenly.

    Returns:
        The largest difference, relative to the standard deviation of the pixel's logits.
    """
    chosen = spread(labels.numel(), some, labels.device)
    upsampled = []
    for features in torch.split(head.features, 16, dim=1):
        full = functional.interpolate(features.double(), head.size, mode="bilinear")
        upsampled.append(full.flatten(2)[0][:, chosen])
    outputs = torch.cat(upsampled).T @ head.project.double().T
    table = None if head.table is None else head.table.double()
    worst = 0.0
    rows = max(1, _CHUNK_CELLS // len(head.project if table is None else table))
    picked_rows = torch.split(labels.flatten()[chosen], rows)
    for logits, picked in zip(torch.split(outputs, rows), picked_rows, strict=True):
        if table is not None:
            logits = true_logits(logits, table, None, _TEMPERATURE, head.distance)
        behind = logits.max(dim=1).values - logits.gather(1, picked[:, None])[:, 0]
        worst = max(worst, float((behind / logits.std(dim=1)).max()))
    return worst
