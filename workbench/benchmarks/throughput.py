"""Images a second of whole trainings: reading, augmenting, network, loss and optimiser.

Ours beside the plain loop that users of segmentation-models-pytorch write: its DeepLabV3+, a
dense softmax over all pixels, autocast, the same optimiser and the same loading processes on
the same generated pictures.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from workbench import config
from workbench.benchmarks.harness import Row, Spec, Unavailable, measure_rows, resolve_device
from workbench.benchmarks.meter import PeakMeter
from workbench.constants import IGNORE_INDEX
from workbench.datasets import prepare, write_sample
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.trainers.sampling import Batch

METHODS: Final = ("plain", "streaming", "nearest", "dense")
"""The plain loop, and losses of ours."""

SHOWN = ("images_per_second", "loading_share", "peak_bytes", "note")
_WARM_UP = 6  # steps that are not timed: kernels are chosen, workers fill their queues
_IMAGES = 96

Step = Callable[["Batch"], None]


def run_throughput(
    classes: Sequence[int] = (19, 150),
    methods: Sequence[str] = ("plain", "streaming"),
    *,
    backbone: str = "resnet50",
    crop: int = 512,
    batch_size: int = 16,
    precision: str = "bf16",
    workers: int = 8,
    steps: int = 40,
    rounds: int = 1,
    device: str = "auto",
    isolated: bool = True,
) -> list[Row]:
    """Measures every method at every number of classes.

    Args:
        classes: Numbers of classes C.
        methods: Of :data:`METHODS`.
        backbone: Known to timm and to segmentation-models-pytorch.
        crop: Side of the pictures in pixels, the size at which they are drawn.
        batch_size: Pictures a step.
        precision: "fp32", "bf16" or "fp16".
        workers: Loading processes.
        steps: That are timed, after :data:`_WARM_UP` that are not.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto".
        isolated: As for :func:`~workbench.benchmarks.harness.measure_rows`.

    Returns:
        The rows of :func:`measure_throughput` with "note", "rounds" and "machine".

    Raises:
        ConfigError: An argument is not among what there is.
    """
    device = resolve_device(device)
    _check(classes, methods, steps)
    with tempfile.TemporaryDirectory() as folder:
        specs = []
        for count in classes:
            root = str(Path(folder) / str(count))
            write_sample("shapeworld", root, classes=count, images=_IMAGES, val_images=1, size=crop)
            prepare("shapeworld", root)
            run = _settings(root, backbone, crop, batch_size, precision, workers, steps)
            specs += [
                {
                    "bench": "throughput",
                    "method": method,
                    "classes": count,
                    "device": device,
                    "config": config.to_dict(run),
                    "steps": steps,
                }
                for method in methods
            ]
        return measure_rows(specs, describe, needs=_least, rounds=rounds, isolated=isolated)


def _check(classes: Sequence[int], methods: Sequence[str], steps: int) -> None:
    if not classes or min(classes) < 2:
        raise ConfigError(f"--classes: whole numbers from 2, got {list(classes)}")
    if not methods or set(methods) - set(METHODS):
        raise ConfigError(f"--methods: choose from {', '.join(METHODS)}, got {list(methods)}")
    if steps < 1:
        raise ConfigError(f"--steps: at least 1, got {steps}")


def _settings(
    root: str, backbone: str, crop: int, batch_size: int, precision: str, workers: int, steps: int
) -> config.Run:
    return config.from_dict(
        {
            "data": {"root": root, "crop": crop, "scale": [1.0, 1.0], "workers": workers},
            "model": {"backbone": backbone},
            "loss": {"pixels": 0},
            "train": {
                "batch_size": batch_size,
                "precision": precision,
                "optimizer": "adamw",
                "lr": 1e-3,
                "steps": _WARM_UP + steps + 1,
            },
        }
    )


def describe(spec: Spec) -> Row:
    """What identifies a measurement."""
    run = config.from_dict(spec["config"])
    return {
        **{column: spec[column] for column in ("bench", "method", "device", "classes", "steps")},
        "backbone": run.model.backbone,
        "crop": run.data.crop,
        "batch_size": run.train.batch_size,
        "precision": run.train.precision,
        "workers": run.data.workers,
        "images_per_second": None,
        "loading_share": None,
    }


def _least(spec: Spec) -> int:
    if spec["method"] == "plain" and not importlib.util.find_spec("segmentation_models_pytorch"):
        raise Unavailable("segmentation-models-pytorch is not installed (extra smp)")
    return 0


def measure_throughput(spec: Spec) -> Row:
    """Trains some steps of one method.

    Args:
        spec: "method", "classes", "config" (a nested :class:`~workbench.config.Run`),
            "device" and "steps".

    Returns:
        :func:`describe` with "images_per_second", "loading_share" (of the time, spent waiting
        for pictures), "seconds" (of a step, mean) and "peak_bytes" (beyond what is there when
        the model is made).
    """
    from workbench.trainers.sampling import StepSampler, training_batches
    from workbench.trainers.train import open_training_set

    run, device = config.from_dict(spec["config"]), str(spec["device"])
    dataset = open_training_set(run.data)
    torch.manual_seed(0)
    make = _plain_step if spec["method"] == "plain" else _our_step
    step = make(run, str(spec["method"]), int(spec["classes"]), device)
    total = _WARM_UP + int(spec["steps"])
    sampler = StepSampler(len(dataset), run.train.batch_size, seed=0, start=0, stop=total)
    batches = training_batches(dataset, sampler, seed=0, workers=run.data.workers)
    meter = PeakMeter(device)
    seconds, waiting = _timed(batches, step, device)
    images = int(spec["steps"]) * run.train.batch_size
    return {
        **describe(spec),
        "images_per_second": round(images / seconds, 2),
        "loading_share": round(waiting / seconds, 4),
        "seconds": round(seconds / int(spec["steps"]), 5),
        "peak_bytes": meter.above(),
    }


def _timed(batches: Iterator[Batch], step: Step, device: str) -> tuple[float, float]:
    """(seconds of all steps but the first few, seconds of them spent waiting for a batch)."""
    start, waiting = time.perf_counter(), 0.0
    before = start
    for number, batch in enumerate(batches):
        waiting += time.perf_counter() - before
        step(batch)
        if number == _WARM_UP - 1:
            _synchronize(device)
            start, waiting = time.perf_counter(), 0.0
        before = time.perf_counter()
    _synchronize(device)
    return time.perf_counter() - start, waiting


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _our_step(run: config.Run, method: str, classes: int, device: str) -> Step:
    from workbench.inference import build_from_config
    from workbench.losses import build_loss
    from workbench.trainers.trainer import Trainer

    run = config.from_dict({"loss": {"name": method}}, base=run)
    trainer = Trainer(
        run, build_from_config(run, classes), build_loss(run.loss, run.model.distance)
    )
    trainer.model.train()

    def step(batch: Batch) -> None:
        trainer.train_step(batch)

    return step


def _plain_step(run: config.Run, method: str, classes: int, device: str) -> Step:
    """The loop of a user of segmentation-models-pytorch, channels last as ours."""
    smp = importlib.import_module("segmentation_models_pytorch")  # has no types
    model: Any = smp.DeepLabV3Plus(run.model.backbone, encoder_weights=None, classes=classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.train.lr)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(run.train.precision)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    mean = 255 * torch.tensor(run.model.mean, device=device)[:, None, None]
    std = 255 * torch.tensor(run.model.std, device=device)[:, None, None]

    def step(batch: Batch) -> None:
        images = (batch.images.to(device, non_blocking=True).float() - mean) / std
        images = images.contiguous(memory_format=torch.channels_last)
        masks = batch.masks.to(device, non_blocking=True)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            loss = torch.nn.functional.cross_entropy(
                model(images), masks, ignore_index=IGNORE_INDEX
            )
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        float(loss)  # the loss is shown, as in any loop; ours reads it too

    return step
