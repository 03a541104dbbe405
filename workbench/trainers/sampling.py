"""Which images make up which step: a pure function of seed and step.

A resumed run, or one on another number of processes with the same global batch, sees the
same images with the same augmentation, because nothing depends on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
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
    ) -> None:
        """Fixes the sequence.

        Args:
            length: Images in the dataset.
            batch_size: Images per step and process.
            seed: Of the shuffling.
            start: First step (0-based).
            stop: Step after the last.
            rank: This process.
            world: Number of processes.
        """
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world

    def __len__(self) -> int:
        """Number of steps."""
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        """One list of draws a step."""
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start, self.stop):
            batch = []
            first = (step * self.world + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                batch.append(Draw(position, int(order[position % self.length])))
            yield batch


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
            torch.manual_seed(step_seed(self.seed, draw.position))
            try:
                return self.dataset[draw.index]
            except WorkbenchError as error:
                return error


def step_seed(seed: int, number: int) -> int:
    """A well-mixed 63-bit seed for one step or draw of a run."""
    words = np.random.SeedSequence((seed, number)).generate_state(2, np.uint64)
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
        # Workers start from a clean process: forking one with running thread pools can hang.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, WorkbenchError):
            raise batch
        yield batch
