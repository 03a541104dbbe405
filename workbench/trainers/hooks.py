"""What happens beside the optimiser steps: records, curves, checkpoints, evaluations.

A hook is told when a step is done and when training ends. The trainer calls the hooks of
the main process in the order they are listed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.runs import RunDirectory
    from workbench.trainers.trainer import Trainer

Record = dict[str, float | int]


class Hook:
    """Does nothing; override what is needed."""

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Called after every step with its figures ("step", "loss", ...)."""

    def at_end(self, trainer: Trainer) -> None:
        """Called once after the last step."""


class MetricsLog(Hook):
    """Writes figures to metrics.jsonl, TensorBoard and the status file every few steps."""

    def __init__(self, run: RunDirectory, every: int, *, seconds_before: float = 0.0) -> None:
        """Opens the logs.

        Args:
            run: Where to.
            every: Steps between lines.
            seconds_before: Training time spent before this process, of a resumed run.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.every = run, every
        self.started = time.monotonic() - seconds_before
        self.first_step: int | None = None
        self.events = SummaryWriter(str(run.path / "tensorboard"))

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Logs every ``every`` steps, and the last one."""
        step, steps = int(record["step"]), trainer.config.train.steps
        if self.first_step is None:
            self.first_step, self.resumed = step, time.monotonic()
        if step % self.every and step != steps:
            return
        trainer.seconds = time.monotonic() - self.started
        self.write({**record, "seconds": round(trainer.seconds, 3)})
        rate = (time.monotonic() - self.resumed) / max(1, step - self.first_step)
        eta = rate * (steps - step) if step > self.first_step else None
        self.run.write_status("running", step=step, steps=steps, eta_seconds=eta)

    def write(self, record: Record) -> None:
        """Writes one record whatever the step."""
        self.run.append_metrics(record)
        for name, value in record.items():
            if name != "step":
                self.events.add_scalar(name, value, int(record["step"]))

    def at_end(self, trainer: Trainer) -> None:
        """Closes the event file."""
        self.events.close()


class Checkpoints(Hook):
    """Saves the state every few steps and at the end, and prunes old ones."""

    def __init__(self, run: RunDirectory, every: int, keep: int) -> None:
        """Where, how often, how many to keep."""
        self.run, self.every, self.keep = run, every, keep

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Saves at multiples of ``every`` and after the last step."""
        step = int(record["step"])
        if step % self.every and step != trainer.config.train.steps:
            return
        model, optimizer, state = trainer.state()
        self.run.save_checkpoint(step, model=model, optimizer=optimizer, trainer=state)
        self.run.prune_checkpoints(self.keep)
        table = trainer.unwrapped.table
        if table is not None:
            self.run.write_embeddings(step, table.weight.detach())


class Evaluations(Hook):
    """Evaluates every few steps and marks the best checkpoint."""

    def __init__(
        self,
        run: RunDirectory,
        log: MetricsLog,
        every: int,
        evaluate: Callable[[], dict[str, Any]],
    ) -> None:
        """What to run how often.

        Args:
            run: Its best checkpoint is marked.
            log: Where the figures go.
            every: Steps between evaluations; 0 never evaluates.
            evaluate: Returns the summary of an evaluation of the model as it is.
        """
        self.run, self.log, self.every, self.evaluate = run, log, every, evaluate
        known = run.metrics()
        self.best = float(known["val_miou"].max()) if "val_miou" in known else -1.0

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Evaluates at multiples of ``every``."""
        step = int(record["step"])
        if not self.every or step % self.every:
            return
        summary = self.evaluate()
        names = ("miou", "miou_union", "pixel_accuracy")
        figures = {f"val_{name}": float(summary[name]) for name in names}
        figures = {name: value for name, value in figures.items() if not math.isnan(value)}
        self.log.write({"step": step, **figures})
        if step in self.run.checkpoint_steps() and figures.get("val_miou", -1.0) > self.best:
            self.best = figures["val_miou"]
            self.run.mark_best(step)
