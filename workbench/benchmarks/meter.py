"""How the inside of a measurement reads memory and clocks."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from workbench.benchmarks.machine import current_rss, peak_rss, reset_peak_rss


class PeakMeter:
    """Peak memory from its creation on; create it when inputs are made and all is warm.

    Resident memory of the process on the CPU, memory allocated by torch on CUDA.

    Attributes:
        start: Bytes that are there at its creation.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        gc.collect()
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            _return_free_memory()
            reset_peak_rss()
            self.start = current_rss()

    def peak(self) -> int:
        """Largest number of bytes so far, those at the start included."""
        return peak_memory(self.device)

    def above(self) -> int:
        """The same beyond what was there at the start."""
        return max(0, self.peak() - self.start)


def peak_memory(device: str) -> int:
    """Peak of this process in bytes: resident on the CPU, allocated by torch on CUDA."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else peak_rss()


def _return_free_memory() -> None:
    """Gives memory back that the C library keeps after it was freed, where it can be asked."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


class Timing(NamedTuple):
    """Medians of repeated calls.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Over all cores of this process.
        repetitions: How many calls.
    """

    seconds: float
    cpu_seconds: float
    repetitions: int


def repeat(work: Callable[[], None], device: str, *, at_most: int, within: float) -> Timing:
    """Calls something several times, at least once.

    Args:
        work: What is timed; what it needs to be warm has been done.
        device: "cuda" waits for the GPU after each call.
        at_most: Calls.
        within: Seconds after which no further call begins.
    """
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    while len(seconds) < at_most and (not seconds or sum(seconds) < within):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    return Timing(
        round(statistics.median(seconds), 5),
        round(statistics.median(cpu_seconds), 5),
        len(seconds),
    )
