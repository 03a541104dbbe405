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
        """Called after every step with its figures ("step", "loss", ...).

        What a hook adds to the figures, the hooks after it see: `Evaluations` its scores.
        """

    def at_end(self, trainer: Trainer) -> None:
        """Called once after the last step."""


class MetricsLog(Hook):
    """Writes figures to metrics.jsonl, TensorBoard and the status file every few steps."""

    def __init__(
        self, run: RunDirectory, every: int, *, step: int = 0, seconds_before: float = 0.0
    ) -> None:
        """Opens the logs.

        Args:
            run: Where to.
            every: Steps between lines.
            step: Steps already taken, of a resumed run; what TensorBoard has beyond is dropped.
            seconds_before: Training time spent before this process, likewise.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.every = run, every
        self.started = time.monotonic() - seconds_before
        self.first_step: int | None = None
        self.events = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1)

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


class Evaluations(Hook):
    """Evaluates every few steps; listed before the checkpoints, which mark the best one.

    Attributes:
        best: Highest validation mIoU so far, -1 before the first.
        best_step: Where it was reached in this process, or None.
    """

    def __init__(self, log: MetricsLog, every: int, evaluate: Callable[[], dict[str, Any]]) -> None:
        """What to run how often.

        Args:
            log: Where the figures go.
            every: Steps between evaluations; 0 never evaluates.
            evaluate: Returns the summary of an evaluation of the model as it is.
        """
        self.log, self.every, self.evaluate = log, every, evaluate
        known = log.run.metrics()
        self.best = float(known["val_miou"].max()) if "val_miou" in known else -1.0
        self.best_step: int | None = None

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
        record.update(figures)
        if figures.get("val_miou", -1.0) > self.best:
            self.best, self.best_step = figures["val_miou"], step


class Checkpoints(Hook):
    """Saves the state every few steps, at the end and where an evaluation was the best yet."""

    def __init__(self, run: RunDirectory, every: int, keep: int, evaluations: Evaluations) -> None:
        """Where, how often, how many to keep, and who knows which is best."""
        self.run, self.every, self.keep, self.evaluations = run, every, keep, evaluations

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Saves and prunes."""
        step = int(record["step"])
        best = step == self.evaluations.best_step
        if step % self.every and step != trainer.config.train.steps and not best:
            return
        model, optimizer, state = trainer.state()
        self.run.save_checkpoint(step, model=model, optimizer=optimizer, trainer=state)
        if best:
            self.run.mark_best(step)
        self.run.prune_checkpoints(self.keep)
        table = trainer.unwrapped.table
        if table is not None:
            self.run.write_embeddings(step, table.weight.detach())
