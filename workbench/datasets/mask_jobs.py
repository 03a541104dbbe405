"""Making many masks, in this process or in several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.datasets.annotations import Region, paint
from workbench.datasets.images import read_mask, write_mask
from workbench.errors import DataError

_CHUNK: Final = 32


class MaskJob(NamedTuple):
    """All that a worker needs to make one mask."""

    path: Path
    """Where the mask goes; the suffix says how (see ``write_mask``)."""
    height: int
    width: int
    regions: list[Region]
    """In order of painting: later ones cover earlier ones. Ids as stored on disk."""
    source: str
    """File of the annotations, named in errors."""


class MaskCount(NamedTuple):
    """What a number of masks holds: per id the number of images and of pixels."""

    ids: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]
    done: int
    reused: int
    classes: dict[str, npt.NDArray[np.int64]]
    """Stem of the mask's file -> the ids in it, ascending."""


def make_masks(jobs: Sequence[MaskJob], fill: int) -> MaskCount:
    """Makes the masks of a chunk of images and counts their classes.

    A mask that is there already and can be read is kept and only counted.

    Args:
        jobs: The images.
        fill: Value on disk of pixels without a class; not counted.

    Raises:
        DataError: A segmentation does not fit its image.
    """
    classes: dict[str, npt.NDArray[np.int64]] = {}
    pixels: list[npt.NDArray[np.int64]] = []
    reused = 0
    for job in jobs:
        mask: npt.NDArray[Any] | None = _existing(job)
        reused += mask is not None
        if mask is None:
            try:
                mask = paint(job.regions, job.height, job.width, fill)
            except (ValueError, TypeError, OverflowError) as error:
                raise DataError(
                    f"{job.source}: image {job.path.stem}: a segmentation does not fit "
                    f"{job.width} x {job.height} pixels ({error}); use the official file"
                ) from error
            write_mask(job.path, mask)
        # Order does not matter here: a flat view in memory order is free.
        values, counts = np.unique(mask.ravel(order="K"), return_counts=True)
        labelled = values != fill
        classes[job.path.stem] = values[labelled].astype(np.int64)
        pixels.append(counts[labelled].astype(np.int64))
    none = np.zeros(0, dtype=np.int64)
    ids, where = np.unique(np.concatenate([none, *classes.values()]), return_inverse=True)
    totals = np.zeros(len(ids), dtype=np.int64)
    np.add.at(totals, where, np.concatenate([none, *pixels]))
    images = np.bincount(where, minlength=len(ids)).astype(np.int64)
    return MaskCount(ids, images, totals, len(jobs), reused, classes)


def _existing(job: MaskJob) -> npt.NDArray[Any] | None:
    """The mask made earlier, if it is there and whole."""
    if not job.path.exists():
        return None
    try:
        mask = read_mask(job.path)
    except DataError:  # torn by a power cut: made again
        return None
    return mask if mask.shape == (job.height, job.width) else None


def map_chunks(jobs: Iterable[MaskJob], fill: int, workers: int) -> Iterator[MaskCount]:
    """``make_masks`` over many jobs, chunk by chunk.

    Args:
        jobs: Taken as needed: only a few chunks are in flight at a time.
        fill: Value on disk of pixels without a class.
        workers: Processes; 1 works in this one.

    Yields:
        Counts of one chunk, in no fixed order.

    Raises:
        DataError: A segmentation does not fit its image, or a process was killed.
    """
    stream = iter(jobs)
    chunks = iter(lambda: list(islice(stream, _CHUNK)), [])
    if workers <= 1:
        for chunk in chunks:
            yield make_masks(chunk, fill)
        return
    # spawn: a fork would copy the threads' locks of a caller that has used torch.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        running: set[Future[MaskCount]] = set()
        try:
            for chunk in chunks:
                running.add(pool.submit(make_masks, chunk, fill))
                if len(running) >= 2 * workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise DataError(
                "a process that makes masks died, most likely for want of memory; run it again "
                "with fewer workers (finished masks are kept)"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: ends this process when the one that started it is killed.

    Otherwise it would wait for work for ever: the queue's other end is open in its siblings.
    """
    parent = parent_process()
    if parent is not None:
        Thread(target=_exit_after, args=[parent], daemon=True).start()


def _exit_after(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


def available_cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
