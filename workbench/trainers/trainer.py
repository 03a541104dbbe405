"""One training loop for every model, loss and dataset, on any number of devices.

Everything random is a function of (seed, step), see :mod:`workbench.trainers.sampling`; so
a checkpoint needs no generator states, and a killed run goes on with the same loss curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from workbench import config, kernels
from workbench.errors import ConfigError, RunError
from workbench.losses import SegmentationLoss, separation_penalty
from workbench.models import SegmentationModel
from workbench.progress import progress
from workbench.runs import Checkpoint
from workbench.trainers.hooks import Hook, Record
from workbench.trainers.optimizers import (
    build_optimizer,
    load_state_tensors,
    set_learning_rates,
    state_tensors,
)
from workbench.trainers.sampling import Batch, step_seed

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(settings: config.Train) -> Accelerator:
    """The device, precision and processes this run trains with.

    Raises:
        ConfigError: The device cannot train in this precision.
    """
    # Accelerate keeps one precision per process; a notebook may train twice with two.
    AcceleratorState._reset_state()
    try:
        return Accelerator(mixed_precision=_PRECISIONS[settings.precision])
    except ValueError as error:
        raise ConfigError(
            f"train.precision: {settings.precision} does not work on this device "
            f"({' '.join(str(error).split())}); take fp32"
        ) from error


class Trainer:
    """Model, loss and optimiser, and the loop that brings them together.

    Attributes:
        config: The whole configuration.
        step: Optimiser steps taken.
        seconds: Training time so far, over all processes that took part one after another.
    """

    def __init__(
        self,
        run_config: config.Run,
        model: SegmentationModel,
        loss: SegmentationLoss,
        *,
        accelerator: Accelerator | None = None,
    ) -> None:
        """Moves the model to the device and makes the optimiser.

        Args:
            run_config: What to do.
            model: With or without a class table, as the loss needs it.
            loss: What is minimised, besides the separation penalty.
            accelerator: Device and processes; made from the configuration if None.
        """
        self.config = run_config
        self.accelerator = accelerator or make_accelerator(run_config.train)
        if run_config.train.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.loss = loss
        if loss.uses_class_table:
            kernels.prepare(self.accelerator.device)
        optimizer = build_optimizer(model, run_config.train)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.step = 0
        self.seconds = 0.0

    @property
    def unwrapped(self) -> SegmentationModel:
        """The model without the wrappers of distributed training."""
        model: SegmentationModel = self.accelerator.unwrap_model(self.model)
        return model

    def fit(self, batches: Iterable[Batch], hooks: Sequence[Hook] = ()) -> None:
        """Takes one step a batch until the configured number is reached.

        Args:
            batches: Beginning with the batch of step ``self.step``.
            hooks: Called in the main process.

        Raises:
            RunError: The loss is not finite; the message names the images.
        """
        main = self.accelerator.is_main_process
        steps = self.config.train.steps
        wanted = islice(batches, max(0, steps - self.step))
        bar = progress(wanted, description="train", total=steps, initial=self.step, unit="step")
        self.model.train()
        for batch in bar:
            record = self.train_step(batch)
            bar.set_postfix(loss=f"{record['loss']:.3f}", refresh=False)
            if main:
                for hook in hooks:
                    hook.after_step(self, record)
            self.model.train()
        bar.close()
        if main:
            for hook in hooks:
                hook.at_end(self)

    def train_step(self, batch: Batch) -> Record:
        """One optimiser step.

        Args:
            batch: Images, masks and ids.

        Returns:
            "step", "loss" (mean over the labelled pixels of all processes), "pixels",
            "penalty", "learning_rate" and "temperature".

        Raises:
            RunError: The loss is not finite.
        """
        settings = self.config.train
        device = self.accelerator.device
        torch.manual_seed(step_seed(settings.seed + 1, self._position()))
        generator = torch.Generator(device).manual_seed(
            step_seed(settings.seed + 2, self._position())
        )
        set_learning_rates(self.optimizer, self.step, settings)
        with self.accelerator.autocast():
            output = self.model(batch.images.to(device, non_blocking=True))
        # The losses compute in fp32 whatever the network's precision.
        terms = self.loss(
            output.pixels.float(),
            output.classes,
            batch.masks.to(device, non_blocking=True),
            generator,
        )
        # Gradients are averaged over processes; the mean over all their pixels is the sum
        # times the number of processes over the count of all.
        count = self.accelerator.reduce(terms.count.to(device), reduction="sum")
        objective = terms.sum * (self.accelerator.num_processes / count.clamp_min(1))
        penalty = self._penalty(output.classes.weight if output.classes else None)
        self.accelerator.backward(objective + penalty)
        mean = float(self.accelerator.reduce(objective.detach(), reduction="mean"))
        if not math.isfinite(mean):
            raise RunError(
                f"step {self.step + 1}: the loss is {mean} on images {', '.join(batch.ids[:8])}; "
                "lower train.lr, or resume from the last checkpoint with another train.seed"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        record: Record = {
            "step": self.step,
            "loss": mean,
            "pixels": int(count),
            "penalty": float(penalty.detach()),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
        }
        if output.classes is not None:
            record["temperature"] = float(output.classes.temperature.detach())
        return record

    def _position(self) -> int:
        world, rank = int(self.accelerator.num_processes), int(self.accelerator.process_index)
        return self.step * world + rank

    def _penalty(self, weight: Tensor | None) -> Tensor:
        settings = self.config.loss
        if weight is None or settings.separation_weight == 0:
            return torch.zeros((), device=self.accelerator.device)
        penalty = separation_penalty(
            weight, margin=settings.separation_margin, budget=self.loss.budget
        )
        return settings.separation_weight * penalty

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Model, optimiser and trainer state, as a checkpoint keeps them."""
        model = {name: value.detach() for name, value in self.unwrapped.state_dict().items()}
        optimizer = state_tensors(_bare(self.optimizer))
        trainer: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        if self.accelerator.scaler is not None:  # fp16: the loss scale is learned as well
            trainer["scaler"] = self.accelerator.scaler.state_dict()
        return model, optimizer, trainer

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to a checkpoint.

        Raises:
            RunError: The checkpoint does not fit this configuration.
        """
        self.unwrapped.load_weights(checkpoint.model)
        if checkpoint.optimizer is not None:
            load_state_tensors(_bare(self.optimizer), checkpoint.optimizer)
        self.step = checkpoint.step
        self.seconds = float(checkpoint.trainer.get("seconds", 0.0))
        if self.accelerator.scaler is not None and "scaler" in checkpoint.trainer:
            self.accelerator.scaler.load_state_dict(checkpoint.trainer["scaler"])


def _bare(optimizer: object) -> torch.optim.Optimizer:
    """The optimiser within Accelerate's wrapper."""
    bare = getattr(optimizer, "optimizer", optimizer)
    assert isinstance(bare, torch.optim.Optimizer)
    return bare
