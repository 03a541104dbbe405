"""One training step of the real trainer: its peak memory and its time.

Random pictures and masks that use all C classes go in. Besides the methods, the same step
*without a head* can be measured: the network with D outputs and no upsampling, class table
or loss on top. What a method costs is what it takes beyond that.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workbench import config
from workbench.benchmarks.harness import Row, Spec
from workbench.benchmarks.meter import peak_memory, repeat
from workbench.benchmarks.truth import (
    Answer,
    Case,
    Errors,
    compare,
    gradient,
    settled,
    table_gradient,
    true_answer,
    verdict,
)
from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError
from workbench.inference import build_from_config
from workbench.losses import LossTerms, SegmentationLoss, build_loss, get_loss
from workbench.models import build_model, has_backbone

if TYPE_CHECKING:
    from workbench.trainers.sampling import Batch
    from workbench.trainers.trainer import Trainer

NO_HEAD = "no-head"
"""Method name of the step that all others are compared to."""

_CHECK_CELLS = 2**23  # logits of the pixels whose loss is compared with float64
_CHECK_SIDES = (2, 8)  # of that corner of the network's output, at least and at most
_STRIDE = 4  # of our networks' outputs; some of segmentation-models-pytorch's have 1, 2 or 8


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
    crop: int = 512,
    batch_size: int = 2,
    overrides: Mapping[str, str] | None = None,
) -> config.Run:
    """The training a step is taken from: the defaults, with a loss over all pixels.

    Args:
        network: One of ``workbench.models.network_names()``.
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


def make_spec(
    run: config.Run, method: str, classes: int, *, bench: str, steps: int, device: str
) -> Spec:
    """What :func:`measure_step` takes: the loss's name in the configuration is replaced."""
    if method != NO_HEAD:
        run = dataclasses.replace(run, loss=dataclasses.replace(run.loss, name=method))
    # The schedule reaches past the last step, where the learning rate would be 0.
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, steps=steps + 2))
    return {
        "bench": bench,
        "method": method,
        "classes": classes,
        "config": config.to_dict(run),
        "steps": steps,
        "device": device,
    }


def dense_bytes(spec: Spec) -> int:
    """Bytes of the largest tensor of fp32 logits that a step makes; 0 if it makes none."""
    settings = config.from_dict(spec["config"])
    if spec["method"] == NO_HEAD or get_loss(spec["method"]).uses_class_table:
        return 0
    batch, side = settings.train.batch_size, settings.data.crop
    everywhere = batch * math.ceil(side / _STRIDE) ** 2
    return 4 * int(spec["classes"]) * max(_pixels(settings), everywhere)


def _pixels(settings: config.Run) -> int:
    return settings.loss.pixels or settings.train.batch_size * settings.data.crop**2


def describe(spec: Spec) -> Row:
    """What identifies a measurement: the part of its row that needs no measuring."""
    settings = config.from_dict(spec["config"])
    method = str(spec["method"])
    table = method != NO_HEAD and get_loss(method).uses_class_table
    return {
        "bench": spec["bench"],
        "method": method,
        "device": spec["device"],
        "classes": spec["classes"],
        "pixels": _pixels(settings),
        "sampled": settings.loss.pixels > 0,
        "dim": settings.model.embedding_dim if table else None,
        "k": settings.loss.k if method == "nearest" else None,
        "dtype": settings.train.precision,
        "network": settings.model.network,
        "backbone": settings.model.backbone if has_backbone(settings.model.network) else None,
        "crop": settings.data.crop,
        "batch_size": settings.train.batch_size,
        "separation": bool(table and settings.loss.separation_weight > 0),
        "steps": spec["steps"],
    }


def measure_step(spec: Spec) -> Row:
    """Takes training steps and reports their peak memory and median time.

    To be called in a process that has done nothing else: see
    :func:`~workbench.benchmarks.harness.run_isolated`.

    Args:
        spec: "bench", "method", "classes", "steps" (timed ones, after one that is not),
            "device" and "config" (a nested :class:`~workbench.config.Run`).

    Returns:
        :func:`describe`, and "peak_bytes" (of the whole process on the CPU; allocated by
        torch on CUDA, weights and optimiser state included), "start_bytes" (the same before
        the first step), "table_bytes" (of them, the class table's weights and optimiser
        state), "seconds" and "cpu_seconds" (over all cores), both medians, "loss" of the last
        step, "loss_error" and "grad_error" (see :func:`check_loss`), "threads" and "pid".
    """
    settings = config.from_dict(spec["config"])
    torch.manual_seed(settings.train.seed)
    trainer = make_trainer(settings, str(spec["method"]), int(spec["classes"]))
    batch = random_batch(settings, int(spec["classes"]))
    trainer.model.train()
    start = peak_memory(spec["device"])
    losses = []

    def work() -> None:
        losses.append(trainer.train_step(batch)["loss"])

    work()
    steps = int(spec["steps"])
    timing = repeat(work, spec["device"], at_most=steps, within=float("inf"))
    row = {
        **describe(spec),
        # Of all steps: from the second on, the optimiser's state is there too.
        "peak_bytes": peak_memory(spec["device"]),
        "start_bytes": start,
        "table_bytes": table_bytes(trainer),
        "seconds": timing.seconds,
        "cpu_seconds": timing.cpu_seconds,
        "loss": losses[-1],
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
    }
    if spec["method"] == NO_HEAD:
        return row
    errors = check_loss(trainer, batch)
    note = verdict(errors, "fp32")  # a loss computes in fp32 whatever the network's precision
    return {**row, **errors.columns()} | ({"note": note} if note else {})


def make_trainer(settings: config.Run, method: str, classes: int) -> Trainer:
    """The trainer of a method, or of the step without a head."""
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


def table_bytes(trainer: Trainer) -> int:
    """Bytes of the class table and of what the optimiser keeps for it; 0 without a table."""
    table = trainer.unwrapped.table
    if table is None:
        return 0
    kept = trainer.optimizer.state.get(table.weight, {}).values()
    return sum(t.numel() * t.element_size() for t in (table.weight, *kept) if torch.is_tensor(t))


def check_loss(trainer: Trainer, batch: Batch) -> Errors:
    """Compares the trainer's loss with float64 on a corner of its model's output.

    Args:
        trainer: With any loss but :class:`NoHead`.
        batch: As it was trained on.

    Returns:
        The errors of the corner's mean loss and of its gradients by the network's output and,
        for a loss with a class table, by the table.
    """
    device = trainer.accelerator.device
    with torch.no_grad():
        output = trainer.model(batch.images.to(device))
    columns = output.pixels.shape[1] if output.classes is None else len(output.classes.weight)
    fewest, most = _CHECK_SIDES
    most = min(most, *output.pixels.shape[-2:])
    side = min(most, max(fewest, int(math.sqrt(_CHECK_CELLS / columns)) // _STRIDE))
    corner = output.pixels[:1, :, :side, :side].float()
    mask = batch.masks[:1, : _STRIDE * side, : _STRIDE * side].to(device)
    leaf = corner.double().requires_grad_()
    full = functional.interpolate(leaf, mask.shape[-2:], mode="bilinear")
    pixels = full.permute(0, 2, 3, 1).flatten(0, 2)
    if output.classes is None:
        loss = functional.cross_entropy(pixels, mask.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        right = Answer(float(loss.detach()), gradient(leaf), None)
        return compare(_answer(trainer.loss, corner, None, mask), right)
    table = ClassEmbeddings(*(None if t is None else t.detach() for t in output.classes))  # type: ignore[arg-type]
    case = Case(
        pixels.detach(),
        table.weight,
        table.bias,
        float(table.temperature),
        mask.flatten(),
        trainer.loss.distance.name,
        "nearest" if trainer.config.loss.name == "nearest" else "exact",
        min(trainer.config.loss.k, len(table.weight) - 1),
    )
    chosen = settled(case)
    ignored = torch.full_like(mask, IGNORE_INDEX).flatten()
    ignored[chosen] = mask.flatten()[chosen]
    right = true_answer(case.at(chosen))
    pixels[chosen].backward(right.pixels)  # type: ignore[no-untyped-call]
    found = _answer(trainer.loss, corner, table, ignored.view_as(mask))
    return compare(found, right._replace(pixels=gradient(leaf)))


def _answer(
    loss: SegmentationLoss, corner: Tensor, table: ClassEmbeddings | None, mask: Tensor
) -> Answer:
    """The loss over all pixels of a map that the mask labels."""
    every = dataclasses.replace(loss.settings, pixels=0, label_smoothing=0.0, logit_adjustment=0.0)
    corner = corner.detach().requires_grad_()
    if table is not None:
        bias = None if table.bias is None else table.bias.detach().requires_grad_()
        table = table._replace(weight=table.weight.detach().requires_grad_(), bias=bias)
    mean = type(loss)(every, loss.distance.name)(corner, table, mask).mean()
    mean.backward()
    by_table = None if table is None else table_gradient(table.weight, table.bias)
    return Answer(float(mean.detach()), gradient(corner), by_table)
