"""One training loop for every model, loss and dataset, on any number of devices.

Everything random is a function of (seed, step), see :mod:`workbench.trainers.sampling`; so
a checkpoint needs no generator states, and a killed run goes on with the same loss curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from workbench import config, kernels
from workbench.losses import SegmentationLoss, separation_penalty
from workbench.models import SegmentationModel
from workbench.progress import progress
from workbench.runs import Checkpoint
from workbench.trainers.devices import make_accelerator, parts_of_a_step, peak_memory
from workbench.trainers.failures import expect_finite
from workbench.trainers.hooks import Hook, Record
from workbench.trainers.micro import draw_pixels, micro_batches
from workbench.trainers.optimizers import (
    bare,
    build_optimizer,
    clip_gradients,
    load_state_tensors,
    set_learning_rates,
    state_tensors,
)
from workbench.trainers.sampling import Batch, step_seed
from workbench.trainers.weights import WeightAverage, as_evaluated, freeze_batch_norm, join, split


class Trainer:
    """Model, loss and optimiser, and the loop that brings them together.

    Attributes:
        config: The whole configuration.
        step: Optimiser steps taken.
        seconds: Training time so far, over all processes that took part one after another.
        average: The average of the weights, None without ``train.ema_decay``.
        stopped: Why training ends before its last step. Hooks may set it, of several
            processes in all after the same step; checkpoints are saved by hooks after them.
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

        Raises:
            ConfigError: There are more micro-batches and processes than images in a batch.
        """
        self.config, settings = run_config, run_config.train
        self.accelerator = accelerator or make_accelerator(settings)
        self.parts = parts_of_a_step(settings, self.accelerator)
        if settings.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.loss = loss
        if loss.uses_class_table:
            kernels.prepare(self.accelerator.device)
        if settings.compile:
            model.network.compile()  # in place: names of the state stay
        optimizer = build_optimizer(model, settings)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        average = settings.ema_decay > 0
        self.average = WeightAverage(self.unwrapped, settings.ema_decay) if average else None
        self.step = 0
        self.seconds = 0.0
        self.stopped: str | None = None
        self.train_mode()

    @property
    def unwrapped(self) -> SegmentationModel:
        """The model without the wrappers of distributed training."""
        model: SegmentationModel = self.accelerator.unwrap_model(self.model)
        return model

    def fit(self, batches: Iterable[Batch], hooks: Sequence[Hook] = ()) -> None:
        """Takes one step a batch until the configured number is reached.

        Args:
            batches: Beginning with the batch of step ``self.step``.
            hooks: Called in every process that gives them.

        Raises:
            NonFiniteLoss: The loss is not finite; the message names the images.
        """
        steps = self.config.train.steps
        wanted = islice(batches, 0 if self.stopped else max(0, steps - self.step))
        main = self.accelerator.is_main_process
        bar = progress(
            wanted, description="train", total=steps, initial=self.step, unit="step", shown=main
        )
        for batch in bar:
            self.train_mode()  # whatever a hook has left it in
            record = self.train_step(batch)
            memory = peak_memory(self.accelerator.device)
            bar.set_postfix(loss=f"{record['loss']:.3f}", memory=memory, refresh=False)
            for hook in hooks:
                hook.after_step(self, record)
            if self.stopped:
                break
        bar.close()
        for hook in hooks:
            hook.at_end(self)

    def train_mode(self) -> None:
        """Puts the model into training mode, but for what the configuration freezes."""
        self.model.train()
        if self.config.train.batch_norm == "frozen":
            freeze_batch_norm(self.model)

    def train_step(self, batch: Batch) -> Record:
        """One optimiser step.

        Args:
            batch: This process's images, masks and ids.

        Returns:
            "step", "loss" (mean over the labelled pixels of all micro-batches and processes),
            "pixels", "penalty", "learning_rate", "temperature" where there is one, with
            ``train.clip_norm`` "gradient_norm" before clipping, and the loss's own figures.

        Raises:
            NonFiniteLoss: The loss or, but for fp16, its gradient is not finite.
        """
        settings, device = self.config.train, self.accelerator.device
        set_learning_rates(self.optimizer, self.step, settings)
        generator = torch.Generator(device).manual_seed(step_seed(settings.seed + 2, self.step))
        masks = batch.masks.to(device, non_blocking=True)
        if self.parts > 1:  # else the loss draws them
            masks = draw_pixels(masks, self.config.loss, generator, self.accelerator)
        parts = list(micro_batches(batch.images, masks, settings.accumulate))
        own = torch.stack([self.loss.expected_count(mask) for _, mask in parts]).sum()
        count = self.accelerator.reduce(own, reduction="sum")
        total, penalty = torch.zeros((), device=device), torch.zeros((), device=device)
        for number, (images, mask) in enumerate(parts):
            last = number == len(parts) - 1
            self._seed_noise(number)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    output = self.model(images.to(device, non_blocking=True))
                # The losses compute in fp32 whatever the network's precision.
                terms = self.loss(output.pixels.float(), output.classes, mask, generator)
                # Gradients are averaged over processes; the mean over all their pixels is the
                # sum times the number of processes over the count of all.
                objective = terms.sum * (self.accelerator.num_processes / count.clamp_min(1))
                if last:
                    penalty = self._penalty(output.classes.weight if output.classes else None)
                self.accelerator.backward(objective + penalty if last else objective)
            total = total + objective.detach()
        mean = float(self.accelerator.reduce(total, reduction="mean"))
        expect_finite("loss", mean, self.step + 1, mean, batch.ids)
        record: Record = {
            "step": self.step + 1,
            "loss": mean,
            "pixels": int(count),
            "penalty": float(penalty.detach()),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
        }
        norm = clip_gradients(self.accelerator, self.model, settings.clip_norm)
        if settings.clip_norm > 0:
            record["gradient_norm"] = norm
        if self.accelerator.scaler is None:  # which in fp16 leaves such a step out
            expect_finite("gradient", norm, self.step + 1, mean, batch.ids)
        self._update()
        if output.classes is not None:
            record["temperature"] = float(output.classes.temperature.detach())
        return record | self.loss.figures()

    def _seed_noise(self, number: int) -> None:
        """Seeds dropout and the like for one micro-batch of this process."""
        part = int(self.accelerator.process_index) * self.config.train.accumulate + number
        torch.manual_seed(step_seed(self.config.train.seed + 1, self.step, part))

    def _update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # In fp16 a step whose gradients overflow is left out; the loss is scaled less then.
        if self.average is not None and not self.accelerator.optimizer_step_was_skipped:
            self.average.update(self.unwrapped, self.step)

    @contextmanager
    def for_evaluation(self) -> Iterator[SegmentationModel]:
        """The model with the weights a checkpoint has now, in evaluation mode."""
        model = self.unwrapped
        with as_evaluated(model, self.average):
            yield model.eval()
        self.train_mode()

    def _penalty(self, weight: Tensor | None) -> Tensor:
        settings = self.config.loss
        if weight is None or settings.separation_weight == 0:
            return torch.zeros((), device=self.accelerator.device)
        penalty = separation_penalty(
            weight, margin=settings.separation_margin, budget=self.loss.budget
        )
        return settings.separation_weight * penalty

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """Model, optimiser and trainer state, as a checkpoint keeps them.

        With an average of the weights that is the model; what training goes on from is then
        with the optimiser's state, which only training needs.
        """
        model = {name: value.detach() for name, value in self.unwrapped.state_dict().items()}
        optimizer = state_tensors(bare(self.optimizer))
        if self.average is not None:
            optimizer, model = join(optimizer, model), self.average.values
        trainer: dict[str, Any] = {"step": self.step, "seconds": self.seconds}
        if self.accelerator.scaler is not None:  # fp16: the loss scale is learned as well
            trainer["scaler"] = self.accelerator.scaler.state_dict()
        return model, optimizer, trainer

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to a checkpoint.

        Raises:
            RunError: The checkpoint does not fit this configuration.
        """
        optimizer, trained = split(checkpoint.optimizer or {})
        self.unwrapped.load_weights(trained or checkpoint.model)
        if self.average is not None:
            self.average.load(checkpoint.model)
        load_state_tensors(bare(self.optimizer), optimizer)
        self.step = checkpoint.step
        self.seconds = float(checkpoint.trainer.get("seconds", 0.0))
        if self.accelerator.scaler is not None and "scaler" in checkpoint.trainer:
            self.accelerator.scaler.load_state_dict(checkpoint.trainer["scaler"])
