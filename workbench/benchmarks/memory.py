"""Peak memory and time of a training step, per method and number of classes.

The step is the trainer's own, on random pictures and masks that use all C classes. Besides
the methods, the same step *without a head* is measured: the network with D outputs and
no upsampling, class table or loss on top. What a method costs is what it takes beyond that.
"""

from __future__ import annotations

import dataclasses
import os
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import config
from workbench.benchmarks.harness import OutOfMemory, Row, Spec, run_isolated
from workbench.benchmarks.machine import available_ram, describe_machine, peak_rss
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError
from workbench.inference import build_from_config
from workbench.losses import LossTerms, SegmentationLoss, build_loss, get_loss
from workbench.models import build_model
from workbench.progress import progress

if TYPE_CHECKING:
    from workbench.trainers.sampling import Batch
    from workbench.trainers.trainer import Trainer

NO_HEAD = "no-head"
"""Method name of the step that all others are compared to."""

METHODS = ("dense", "nearest", "streaming")
CLASSES = (21, 1284)
DEVICES = ("auto", "cpu", "cuda")


class NoHead(SegmentationLoss):
    """The sum of the network's outputs: gradients for every weight, no memory of its own."""

    uses_class_table = False

    def forward(
        self,
        pixels: Tensor,
        classes: ClassEmbeddings | None,
        mask: Tensor,
        generator: torch.Generator | None = None,
    ) -> LossTerms:
        """See the base class; ``classes``, ``mask`` and ``generator`` are not used."""
        return LossTerms(pixels.sum(), torch.tensor(pixels.numel(), device=pixels.device))


def step_config(
    *,
    network: str = "deeplabv3plus",
    crop: int = 256,
    batch_size: int = 2,
    overrides: Mapping[str, str] | None = None,
) -> config.Run:
    """The training a step is taken from: the defaults, with a loss over all pixels.

    Args:
        network: Key of ``workbench.models.NETWORKS``.
        crop: Side of the images in pixels.
        batch_size: Images per step.
        overrides: Dotted settings, such as {"loss.pixels": "16384"}; they have the last word.

    Raises:
        ConfigError: A setting is unknown or has a wrong value.
    """
    if overrides and "loss.name" in overrides:
        raise ConfigError("--loss.name: choose losses with --methods dense,nearest,streaming")
    base = config.from_dict(
        {
            "data": {"crop": crop},
            "model": {"network": network},
            "loss": {"pixels": 0},
            "train": {"batch_size": batch_size},
        }
    )
    return config.from_overrides(base, overrides or {})


def parse_counts(text: str) -> list[int]:
    """Numbers of classes as the command line takes them: ``"21,1284"``.

    Raises:
        ConfigError: Something else than whole numbers with commas between.
    """
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ConfigError(f"--classes: whole numbers such as 21,1284, got {text!r}")
    return [int(count) for count in text.split(",")]


def run_memory(
    classes: Sequence[int] = CLASSES,
    methods: Sequence[str] = METHODS,
    *,
    run_config: config.Run | None = None,
    steps: int = 3,
    device: str = "auto",
    available: int | None = None,
) -> list[Row]:
    """Measures every method at every number of classes, each in a fresh process.

    Args:
        classes: Numbers of classes C.
        methods: Keys of ``workbench.losses.LOSSES``.
        run_config: What is trained, see :func:`step_config`; the loss's name is replaced.
        steps: Steps that are timed, after one that is not.
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        available: Bytes a process on the CPU may take; None measures what is free.

    Returns:
        One row a method and class count, in that order: "bench", "method", "device",
        "classes", "peak_bytes" and "seconds" (both None, with a "note", where memory does
        not suffice), "baseline_bytes" (peak of the step without a head), "start_bytes"
        (peak before the first step) and what describes the step and the machine.

    Raises:
        ConfigError: An argument, method, network or device that is not there.
    """
    run_config = run_config or step_config()
    device = _resolve(device)
    if steps < 1:
        raise ConfigError(f"--steps: at least 1, got {steps}")
    if not classes or min(classes) < 2:
        raise ConfigError(f"--classes: whole numbers from 2, got {list(classes)}")
    for method in methods:
        get_loss(method)
    limit = None
    if device == "cpu":
        limit = available_ram() if available is None else available
    # Before the first measurement: afterwards the load is our own.
    machine = describe_machine()
    jobs = [(NO_HEAD, 0), *((method, count) for method in methods for count in classes)]
    bar = progress(jobs, description="bench memory", unit="row")
    rows = []
    for method, count in bar:
        bar.set_postfix(method=method, classes=count, refresh=sys.stderr.isatty())
        spec = _spec(run_config, method, count, steps=steps, device=device)
        rows.append({**_measure(spec, limit), "machine": machine})
    baseline, *measured = rows
    return [row | {"baseline_bytes": baseline["peak_bytes"]} for row in measured]


def _resolve(device: str) -> str:
    if device not in DEVICES:
        raise ConfigError(f"--device: choose one of {', '.join(DEVICES)}, got {device!r}")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ConfigError("--device: torch finds no CUDA device here; choose cpu")
    return device if device != "auto" else "cuda" if there else "cpu"


def _spec(run: config.Run, method: str, classes: int, *, steps: int, device: str) -> Spec:
    if method != NO_HEAD:
        run = dataclasses.replace(run, loss=dataclasses.replace(run.loss, name=method))
    # The schedule reaches past the last step, where the learning rate would be 0.
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps + 2))
    return {
        "bench": "memory",
        "method": method,
        "classes": classes,
        "steps": steps,
        "device": device,
        "config": config.to_dict(run),
    }


def _measure(spec: Spec, limit: int | None) -> Row:
    """The row of a measurement, or one that says why there is none."""
    try:
        needed = dense_bytes(spec)
        if limit is not None and needed > limit:
            raise OutOfMemory(
                f"not tried: the tensor of all logits takes {needed / 2**30:.1f} GiB, "
                f"{limit / 2**30:.1f} GiB are free"
            )
        return {**run_isolated(spec, limit=limit), "note": ""}
    except OutOfMemory as reason:
        nothing = dict.fromkeys(("peak_bytes", "start_bytes", "seconds", "cpu_seconds", "loss"))
        return {**describe(spec), **nothing, "note": f"out of memory: {reason}"}


def dense_bytes(spec: Spec) -> int:
    """Bytes of the (B, C, H, W) fp32 tensor of logits that a step makes; 0 if it makes none."""
    settings = config.from_dict(spec["config"])
    if spec["method"] == NO_HEAD or get_loss(spec["method"]).uses_class_table:
        return 0
    return 4 * int(spec["classes"]) * _pixels(settings)


def _pixels(settings: config.Run) -> int:
    return settings.loss.pixels or settings.train.batch_size * settings.data.crop**2


def describe(spec: Spec) -> Row:
    """What identifies a measurement: the part of its row that needs no measuring."""
    settings = config.from_dict(spec["config"])
    method = str(spec["method"])
    table = method != NO_HEAD and get_loss(method).uses_class_table
    deeplab = settings.model.network == "deeplabv3plus"
    return {
        "bench": "memory",
        "method": method,
        "device": spec["device"],
        "classes": spec["classes"],
        "pixels": _pixels(settings),
        "dim": settings.model.embedding_dim if table else None,
        "k": settings.loss.k if method == "nearest" else None,
        "dtype": settings.train.precision,
        "network": settings.model.network,
        "backbone": settings.model.backbone if deeplab else None,
        "crop": settings.data.crop,
        "batch_size": settings.train.batch_size,
        "steps": spec["steps"],
    }


def measure_step(spec: Spec) -> Row:
    """Takes training steps and reports their peak memory and median time.

    To be called in a process that has done nothing else: see
    :func:`~workbench.benchmarks.harness.run_isolated`.

    Args:
        spec: "method", "classes", "steps" (timed ones, after one that is not), "device" and
            "config" (a nested :class:`~workbench.config.Run`).

    Returns:
        :func:`describe`, and "peak_bytes" (of the whole process on the CPU; allocated by
        torch on CUDA, weights and optimiser state included), "start_bytes" (the same before
        the first step), "seconds" and "cpu_seconds" (over all cores), both medians, "loss"
        of the last step, "threads" and "pid".
    """
    settings = config.from_dict(spec["config"])
    torch.manual_seed(settings.train.seed)
    trainer = _trainer(settings, str(spec["method"]), int(spec["classes"]))
    batch = random_batch(settings, int(spec["classes"]))
    trainer.model.train()
    start = _peak(spec["device"])
    seconds, cpu_seconds, loss = [], [], float("nan")
    for _ in range(int(spec["steps"]) + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        loss = trainer.train_step(batch)["loss"]
        if spec["device"] == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    return {
        **describe(spec),
        # Of all steps: from the second on, the optimiser's state is there too.
        "peak_bytes": _peak(spec["device"]),
        "start_bytes": start,
        "seconds": round(statistics.median(seconds[1:]), 4),
        "cpu_seconds": round(statistics.median(cpu_seconds[1:]), 4),
        "loss": loss,
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
    }


def _trainer(settings: config.Run, method: str, classes: int) -> Trainer:
    from workbench.trainers.trainer import Trainer

    if method != NO_HEAD:
        model = build_from_config(settings, classes)
        return Trainer(settings, model, build_loss(settings.loss, settings.model.distance))
    model = build_model(settings.model, settings.model.embedding_dim, class_table=False)
    return Trainer(settings, model, NoHead(settings.loss, settings.model.distance))


def random_batch(settings: config.Run, classes: int) -> Batch:
    """Noise for pictures, and masks whose pixels are of all classes alike.

    Args:
        settings: Batch size, crop and seed.
        classes: C; 0 is taken as 1.
    """
    from workbench.trainers.sampling import Batch

    generator = torch.Generator().manual_seed(settings.train.seed)
    size, side = settings.train.batch_size, settings.data.crop
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=generator)
    masks = torch.randint(0, max(1, classes), (size, side, side), generator=generator)
    return Batch(images, masks, [f"random {number}" for number in range(size)])


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else peak_rss()
