"""From a configuration to a trained run directory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workbench import config, processes
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.counts import classes_per_image, count_images, sum_counts
from workbench.errors import RunError
from workbench.inference import build_from_config
from workbench.losses import build_loss
from workbench.models import with_own_statistics
from workbench.runs import RunDirectory
from workbench.runs.states import State
from workbench.trainers.devices import make_accelerator
from workbench.trainers.failures import NonFiniteLoss, explained
from workbench.trainers.hooks import Checkpoints, Evaluations, Hook, MetricsLog
from workbench.trainers.sampling import StepSampler, repeat_factors, training_batches
from workbench.trainers.trainer import Trainer
from workbench.vocabulary import Vocabulary


def train(
    run_config: config.Run,
    path: Path | str,
    *,
    resume: bool = False,
    hooks: Sequence[Hook] = (),
) -> RunDirectory:
    """Trains a model and leaves a run directory.

    Args:
        run_config: What to do.
        path: Folder of the run.
        resume: Go on from the last whole checkpoint, if the folder holds one.
        hooks: Called after the run's own, in the main process.

    Returns:
        The finished run.

    Raises:
        DataError: The dataset cannot be read.
        RunError: The folder holds a run already (without ``resume``) or is being written; or
            training was stopped by a loss that is not finite, too little memory, or the end of
            another process.
    """
    trainer, dataset, vocabulary, factors = _prepare(run_config, Path(path), resume=resume)
    evaluate = _periodic_evaluation(trainer)
    if not trainer.accelerator.is_main_process:
        with _explaining(trainer):
            processes.barrier()  # until the main process has put the run in order
            run = RunDirectory.open(path)
            _fit(trainer, dataset, factors, [_evaluations(trainer, run, evaluate)])
            processes.barrier()  # until it has written the last of it
        return run
    run = RunDirectory.create(
        path,
        config=config.to_dict(portable(trainer.config)),
        vocabulary=vocabulary,
        resume=resume,
    )
    with run.lock():
        run.truncate_metrics(trainer.step)
        run.forget_bad_batch()
        _write_status(run, trainer, "running")
        log = MetricsLog(
            run, trainer.config.train.log_every, step=trainer.step, seconds_before=trainer.seconds
        )
        with closing(log.events), _explaining(trainer, run):
            processes.barrier()
            _fit(trainer, dataset, factors, [*_hooks(trainer, run, evaluate, log), *hooks])
        _write_status(run, trainer, "done", trainer.stopped)
    processes.barrier()
    return run


def _prepare(
    run_config: config.Run, path: Path, *, resume: bool
) -> tuple[Trainer, SegmentationDataset, Vocabulary, npt.NDArray[np.float64] | None]:
    """The trainer, restored if asked, the training set, its classes and the images' factors."""
    run = RunDirectory(path)
    # Whatever can be wrong is found before anything slow begins, or is written.
    loss = build_loss(run_config.loss, run_config.model.distance)
    accelerator = make_accelerator(run_config.train)
    if accelerator.is_main_process:
        run.check_vacant(resume=resume)
    dataset = open_training_set(run_config.data)
    run_config, beginning = _beginning(run_config, run, resume=resume)
    torch.manual_seed(run_config.train.seed)  # of the initial weights
    model = build_from_config(beginning, len(dataset.vocabulary))
    vocabulary, factors = survey(dataset, run_config.data.repeat_threshold, run if resume else None)
    loss.use_prior(vocabulary.table["train_pixels"])
    trainer = Trainer(run_config, model, loss, accelerator=accelerator)
    if resume:  # before the run is touched: a configuration that does not fit changes nothing
        _restore(trainer, run, vocabulary)
    return trainer, dataset, vocabulary, factors


def _write_status(
    run: RunDirectory, trainer: Trainer, state: State, message: str | None = None
) -> None:
    said = {} if message is None else {"message": message}
    run.write_status(state, step=trainer.step, steps=trainer.config.train.steps, **said)


@contextmanager
def _explaining(trainer: Trainer, run: RunDirectory | None = None) -> Iterator[None]:
    """Has what stops a training say what to do, here and in the run's status."""
    try:
        with processes.ended_by_launcher():
            yield
    except BaseException as error:
        told = explained(error, trainer.config, trainer.step)
        if run is not None and isinstance(told, NonFiniteLoss):
            place = run.write_bad_batch(told.step, loss=told.loss, images=told.images)
            told = RunError(f"{told}; all their ids are in {place}")
        if run is not None:
            _write_status(run, trainer, "failed", str(told) or type(told).__name__)
        if told is error:
            raise
        raise told from error


def open_training_set(settings: config.Data) -> SegmentationDataset:
    """The training split with the augmentation of a configuration."""
    from workbench.datasets.transforms import train_transform

    dataset = open_dataset(
        settings.dataset, settings.root, settings.train_split, variant=settings.variant
    )
    dataset.transform = train_transform(
        crop=settings.crop,
        scale=settings.scale,
        flip=settings.flip,
        color_jitter=settings.color_jitter,
        fill=dataset.mean_color,
    )
    return dataset


def survey(
    dataset: SegmentationDataset, repeat_threshold: float, run: RunDirectory | None = None
) -> tuple[Vocabulary, npt.NDArray[np.float64] | None]:
    """What has to be known about a training split, reading each mask once at most.

    Args:
        dataset: The training split.
        repeat_threshold: See ``config.Data``.
        run: A run that may have the counts already.

    Returns:
        The classes with their training images and pixels, and how often to show each image
        in an epoch (None: once).

    Raises:
        DataError: A mask is unreadable.
    """
    vocabulary, present = _counted(dataset, run), None
    if vocabulary is None:
        images = list(count_images(dataset))
        present = [image.classes for image in images]
        vocabulary = dataset.vocabulary.with_counts(*sum_counts(images, len(dataset.vocabulary)))
    if repeat_threshold == 0:
        return vocabulary, None
    if present is None:
        present = classes_per_image(dataset)
    return vocabulary, repeat_factors(present, len(vocabulary), repeat_threshold)


def _counted(dataset: SegmentationDataset, run: RunDirectory | None) -> Vocabulary | None:
    """The vocabulary with counts, if anyone has counted before."""
    vocabulary = dataset.vocabulary
    if run is not None and (run.path / "vocabulary.parquet").exists():
        known = run.vocabulary()
        if known.names == vocabulary.names:
            return known
    counts = dataset.known_counts()  # of this split; a vocabulary's own are those of "train"
    if counts is not None:
        return vocabulary.with_counts(*counts)
    return vocabulary if int(vocabulary.table["train_pixels"].sum()) > 0 else None


def portable(run_config: config.Run) -> config.Run:
    """The configuration without absolute paths, as a run directory keeps it."""
    data = dataclasses.replace(run_config.data, root=_relative(run_config.data.root))
    model = dataclasses.replace(run_config.model, weights=_relative(run_config.model.weights))
    return dataclasses.replace(run_config, data=data, model=model)


def _relative(path: str) -> str:
    return os.path.relpath(path) if os.path.isabs(path) else path


def _beginning(
    run_config: config.Run, run: RunDirectory, *, resume: bool
) -> tuple[config.Run, config.Run]:
    """The settings with the mean and deviation of their weights, and those to build from.

    A run that goes on has all its weights: nothing is downloaded or read to start from.
    """
    if resume and run.has_checkpoint():
        began = config.from_dict(run.config()).model
        model = dataclasses.replace(run_config.model, mean=began.mean, std=began.std)
        built = model.without_start()
    else:
        built = model = with_own_statistics(run_config.model)
    settled = dataclasses.replace(run_config, model=model)
    return settled, dataclasses.replace(run_config, model=built)


def _restore(trainer: Trainer, run: RunDirectory, vocabulary: Vocabulary) -> None:
    # Where the classes differ, `RunDirectory.create` says so more clearly than a shape.
    if run.has_checkpoint() and len(run.vocabulary()) == len(vocabulary):
        trainer.restore(run.load_checkpoint("last"))


def _fit(
    trainer: Trainer,
    dataset: SegmentationDataset,
    factors: npt.NDArray[np.float64] | None,
    hooks: Sequence[Hook],
) -> None:
    """Goes on with a training that begins here, or was restored."""
    settings = trainer.config.train
    sampler = StepSampler(
        len(dataset),
        settings.batch_size,
        seed=settings.seed,
        start=trainer.step,
        stop=settings.steps,
        rank=trainer.accelerator.process_index,
        world=trainer.accelerator.num_processes,
        factors=factors,
    )
    batches = training_batches(
        dataset, sampler, seed=settings.seed, workers=trainer.config.data.workers
    )
    trainer.fit(batches, hooks)


def _hooks(
    trainer: Trainer, run: RunDirectory, evaluate: Callable[[], dict[str, Any]], log: MetricsLog
) -> list[Hook]:
    settings = trainer.config.train
    evaluations = _evaluations(trainer, run, evaluate, log)
    if 0 < trainer.step == evaluations.best.step:  # killed before it was marked
        run.mark_best(trainer.step)
    checkpoints = Checkpoints(
        run, settings.checkpoint_every, settings.keep_checkpoints, evaluations
    )
    return [log, evaluations, checkpoints]


def _evaluations(
    trainer: Trainer,
    run: RunDirectory,
    evaluate: Callable[[], dict[str, Any]],
    log: MetricsLog | None = None,
) -> Evaluations:
    evaluations = Evaluations(run, trainer.config.train, evaluate, log)
    evaluations.judge(trainer)  # a training that has stopped early is not taken up by a resume
    return evaluations


def _periodic_evaluation(trainer: Trainer) -> Callable[[], dict[str, Any]]:
    from workbench.evaluation.run import evaluate_model

    data = trainer.config.data
    if not trainer.config.train.evaluate_every:
        return dict
    dataset = open_dataset(data.dataset, data.root, data.val_split, variant=data.variant)

    def evaluate() -> dict[str, Any]:
        images = trainer.config.train.evaluate_images
        with trainer.for_evaluation() as model:
            return evaluate_model(model, dataset, images=images).summary

    return evaluate
