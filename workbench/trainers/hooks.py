"""What happens beside the optimiser steps: records, curves, checkpoints, evaluations.

A hook is told when a step is done and when training ends, in the order they are listed. All
but the evaluations, which all processes share, are the main process's alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from workbench import config
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
        self.unwritten: Record | None = None
        self.events = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1)

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Logs every ``every`` steps, and the last one."""
        step, steps = int(record["step"]), trainer.config.train.steps
        if self.first_step is None:
            self.first_step, self.resumed = step, time.monotonic()
        if step % self.every and step != steps:
            self.unwritten = dict(record)
            return
        self.write_figures(trainer, record)
        rate = (time.monotonic() - self.resumed) / max(1, step - self.first_step)
        eta = rate * (steps - step) if step > self.first_step else None
        self.run.write_status("running", step=step, steps=steps, eta_seconds=eta)

    def write_figures(self, trainer: Trainer, record: Record) -> None:
        """Writes the figures of a step."""
        self.unwritten = None
        trainer.seconds = time.monotonic() - self.started
        self.write({**record, "seconds": round(trainer.seconds, 3)})

    def write(self, record: Record) -> None:
        """Writes one record whatever the step."""
        self.run.append_metrics(record)
        for name, value in record.items():
            if name != "step":
                self.events.add_scalar(name, value, int(record["step"]))

    def at_end(self, trainer: Trainer) -> None:
        """Logs the last step, where training has stopped before the expected one."""
        if self.unwritten is not None:
            self.write_figures(trainer, self.unwritten)


class Best(NamedTuple):
    """How the evaluations of a training went.

    Attributes:
        score: Highest validation mIoU so far, -1 before the first.
        step: Where it was reached, 0 before the first.
        since: Evaluations after it.
    """

    score: float = -1.0
    step: int = 0
    since: int = 0

    def after(self, step: int, score: float) -> Best:
        """With one more evaluation."""
        if score > self.score:
            return Best(score, step, 0)
        return self._replace(since=self.since + 1)


def best_of(scores: Iterable[tuple[int, float]]) -> Best:
    """Goes through (step, score) in order; those without a score do not count."""
    best = Best()
    for step, score in scores:
        if not math.isnan(score):
            best = best.after(int(step), score)
    return best


class Evaluations(Hook):
    """Evaluates every few steps; listed before the checkpoints, which mark the best one.

    Attributes:
        best: So far, those before a resume included.
    """

    def __init__(
        self,
        run: RunDirectory,
        settings: config.Train,
        evaluate: Callable[[], dict[str, Any]],
        log: MetricsLog | None,
    ) -> None:
        """What to run how often.

        Args:
            run: Where earlier evaluations are.
            settings: How often, and when to stop training.
            evaluate: Returns the summary of an evaluation of the model as it is; the same one
                in all processes.
            log: Where the figures go, None in a process that writes nothing.
        """
        self.settings, self.evaluate, self.log = settings, evaluate, log
        known = run.metrics()
        scores = known[["step", "val_miou"]].to_numpy() if "val_miou" in known else ()
        self.best = best_of((int(step), float(score)) for step, score in scores)

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Evaluates at multiples of ``train.evaluate_every``."""
        step = int(record["step"])
        if not self.settings.evaluate_every or step % self.settings.evaluate_every:
            return
        summary = self.evaluate()
        names = ("miou", "miou_union", "pixel_accuracy")
        figures = {f"val_{name}": float(summary[name]) for name in names}
        figures = {name: value for name, value in figures.items() if not math.isnan(value)}
        if self.log is not None:
            self.log.write({"step": step, **figures})
        record.update(figures)
        if "val_miou" in figures:
            self.best = self.best.after(step, figures["val_miou"])
        self.judge(trainer)

    def judge(self, trainer: Trainer) -> None:
        """Stops training where the last evaluations were not better than the one before them."""
        if trainer.step < self.settings.steps and 0 < self.settings.patience <= self.best.since:
            trainer.stopped = (
                f"stopped early: {self.best.since} evaluations were not better than the "
                f"val mIoU {self.best.score:.4f} of step {self.best.step} (train.patience "
                f"{self.settings.patience})"
            )


class Checkpoints(Hook):
    """Saves the state every few steps, at the end and where an evaluation was the best yet."""

    def __init__(self, run: RunDirectory, every: int, keep: int, evaluations: Evaluations) -> None:
        """Where, how often, how many to keep, and who knows which is best."""
        self.run, self.every, self.keep, self.evaluations = run, every, keep, evaluations

    def after_step(self, trainer: Trainer, record: Record) -> None:
        """Saves and prunes."""
        step = int(record["step"])
        best = step == self.evaluations.best.step
        last = step == trainer.config.train.steps or trainer.stopped
        if not step % self.every or last or best:
            self.save(trainer)

    def at_end(self, trainer: Trainer) -> None:
        """Saves where a hook that came later has stopped the training."""
        if trainer.step not in self.run.checkpoint_steps():
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Saves the state as it is, and prunes."""
        step = trainer.step
        model, optimizer, state = trainer.state()
        # The table first: killed in between, the step is done again and writes it again, while
        # a training that goes on from its checkpoint never would.
        if "table.weight" in model:
            self.run.write_embeddings(step, model["table.weight"])
        self.run.save_checkpoint(step, model=model, optimizer=optimizer, trainer=state)
        if step == self.evaluations.best.step:
            self.run.mark_best(step)
        self.run.prune_checkpoints(self.keep)
