"""Which images make up which step: a pure function of seed and step.

A resumed run, or one on another number of processes with the same global batch, sees the
same images with the same augmentation, because nothing depends on what was drawn before.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.context import BaseContext
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from workbench.datasets.base import Sample, SegmentationDataset
from workbench.errors import WorkbenchError


class Draw(NamedTuple):
    """One image of one step.

    Attributes:
        position: Its number among all images the run ever sees.
        index: Its index in the dataset.
    """

    position: int
    index: int  # type: ignore[assignment]  # takes the place of tuple.index, which nobody needs


def repeat_factors(
    classes_per_image: Sequence[npt.NDArray[np.int64]], classes: int, threshold: float
) -> npt.NDArray[np.float64]:
    """How often to show each image, so that rare classes are seen more often.

    Repeat-factor sampling (Gupta, Dollar, Girshick: "LVIS", CVPR 2019): with f(c) the share of
    the images that hold class c, r(c) = max(1, sqrt(threshold / f(c))), and an image's factor
    is the largest of its classes'.

    Args:
        classes_per_image: For each of the N images, the train ids it holds.
        classes: C.
        threshold: Share of the images below which a class counts as rare; 0 repeats nothing.

    Returns:
        (N,) float64, at least 1; 1 for images without any class.

    Examples:
        Class 0 is in all four images, class 300 in the last alone:

        >>> common, both = np.array([0]), np.array([0, 300])
        >>> repeat_factors([common, common, common, both], 301, threshold=0.5)
        array([1.        , 1.        , 1.        , 1.41421356])
    """
    holders = np.zeros(classes, dtype=np.int64)
    for present in classes_per_image:
        holders[present] += 1
    share = np.maximum(holders, 1) / max(1, len(classes_per_image))  # 0 is never looked up
    factor = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([factor[present].max(initial=1.0) for present in classes_per_image])


def epoch_order(factors: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The images of one epoch, in order.

    Systematic resampling: of M evenly spaced points with one random offset, each image gets
    those that fall into its stretch of the factors' cumulative sum. So every epoch has the same
    length, and each image comes as often as it is expected to, rounded up or down at random.

    Args:
        factors: (N,) how often to show each image, at least 1; see :func:`repeat_factors`.
        seed: Of the run.
        epoch: Number of the epoch.

    Returns:
        (M,) indices of images, M = the sum of the factors, rounded up: every image occurs.
    """
    generator = np.random.default_rng((seed, epoch))
    length = epoch_length(factors)
    order = generator.permutation(length)  # first, so that factors of 1 give a plain shuffle
    ends = np.cumsum(factors)
    points = (generator.random() + np.arange(length)) * (ends[-1] / length)
    images = np.searchsorted(ends, points, side="right")
    shuffled: npt.NDArray[np.int64] = np.minimum(images, len(factors) - 1)[order]
    return shuffled


def epoch_length(factors: npt.NDArray[np.float64]) -> int:
    """Draws in an epoch: the sum of the factors, rounded up."""
    return math.ceil(math.fsum(factors))


class StepSampler(Sampler[list[Draw]]):
    """Batches of draws for a range of steps: shuffled anew each pass over the dataset."""

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
        factors: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Fixes the sequence.

        Args:
            length: Images in the dataset.
            batch_size: Images per step, over all processes.
            seed: Of the shuffling.
            start: First step (0-based).
            stop: Step after the last.
            rank: This process, which gets its share of every batch.
            world: Number of processes.
            factors: (length,) how often to show each image in an epoch, at least 1, see
                :func:`repeat_factors`; None shows each once.
        """
        self.factors = np.ones(length) if factors is None else factors
        self.batch_size, self.seed = batch_size, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world

    def __len__(self) -> int:
        """Number of steps."""
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        """One list of draws a step."""
        length = epoch_length(self.factors)
        epoch, order = -1, np.empty(0, dtype=np.int64)
        own = part_of(self.batch_size, self.rank, self.world)
        for step in range(self.start, self.stop):
            batch = []
            for place in own:
                position = step * self.batch_size + place
                if position // length != epoch:
                    epoch = position // length
                    order = epoch_order(self.factors, self.seed, epoch)
                batch.append(Draw(position, int(order[position % length])))
            yield batch


def part_of(total: int, part: int, parts: int) -> range:
    """The items of one of some parts of nearly equal size, in order."""
    return range(part * total // parts, (part + 1) * total // parts)


class SeededDataset(Dataset[Sample | WorkbenchError]):
    """A dataset whose augmentation depends on the draw alone, not on the worker's history."""

    def __init__(self, dataset: SegmentationDataset, seed: int) -> None:
        """Wraps a dataset.

        Args:
            dataset: With a random transform that uses torch's global generator.
            seed: Of the augmentation.
        """
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, draw: Draw) -> Sample | WorkbenchError:
        """The augmented sample of a draw; what is wrong with a file, as a value.

        Raised in a worker process, an error would reach the user with that process's
        traceback as its message.
        """
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which takes much longer to seed every device's generator too.
            torch.default_generator.manual_seed(step_seed(self.seed, draw.position))
            try:
                return self.dataset[draw.index]
            except WorkbenchError as error:
                return error


def step_seed(seed: int, number: int, part: int = 0) -> int:
    """A well-mixed 63-bit seed for one step or draw of a run, or a part of a step."""
    entropy = (seed, number, part) if part else (seed, number)
    words = np.random.SeedSequence(entropy).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1))


class Batch(NamedTuple):
    """Images (B, 3, H, W) uint8, masks (B, H, W) int64 and the ids of the images."""

    images: torch.Tensor
    masks: torch.Tensor
    ids: list[str]


def collate(items: list[Sample | WorkbenchError]) -> Batch | WorkbenchError:
    """Stacks samples of equal size, or passes on the first error among them."""
    samples: list[Sample] = []
    for item in items:
        if isinstance(item, WorkbenchError):
            return item
        samples.append(item)
    return Batch(
        torch.stack([sample["image"] for sample in samples]),
        torch.stack([sample["mask"] for sample in samples]),
        [sample["id"] for sample in samples],
    )


def _worker_context() -> BaseContext:
    """How loading processes start: from a clean process, where there is one to fork.

    Forking one with running thread pools can hang, and each spawned one imports torch anew,
    which takes seconds. A server that has only imported forks in milliseconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "workbench.datasets.transforms"])
    return context


def training_batches(
    dataset: SegmentationDataset, sampler: StepSampler, *, seed: int, workers: int
) -> Iterator[Batch]:
    """Yields one :class:`Batch` a step.

    Raises:
        DataError: A file cannot be read.
    """
    loader = DataLoader(
        SeededDataset(dataset, seed),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=_worker_context() if workers else None,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, WorkbenchError):
            raise batch
        yield batch
