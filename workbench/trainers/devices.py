"""What a training runs on."""

from __future__ import annotations

import resource

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from workbench import config, processes
from workbench.errors import ConfigError

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(settings: config.Train) -> Accelerator:
    """The device, precision and processes this run trains with.

    Raises:
        ConfigError: The device cannot train in this precision.
    """
    # Accelerate keeps one precision per process; a notebook may train twice with two.
    AcceleratorState._reset_state()
    processes.join()
    try:
        return Accelerator(
            mixed_precision=_PRECISIONS[settings.precision],
            # Without GPUs, Accelerate takes each process for a job of its own if not told.
            cpu=processes.world() > 1 and not torch.cuda.is_available(),
        )
    except ValueError as error:
        raise ConfigError(
            f"train.precision: {settings.precision} does not work on this device "
            f"({' '.join(str(error).split())}); take fp32"
        ) from error


def parts_of_a_step(settings: config.Train, accelerator: Accelerator) -> int:
    """Micro-batches of a step, over all processes.

    Raises:
        ConfigError: There are more of them than images.
    """
    parts = settings.accumulate * int(accelerator.num_processes)
    if settings.batch_size < parts:
        raise ConfigError(
            f"train.batch_size: {settings.batch_size} images a step are too few for "
            f"{accelerator.num_processes} processes with train.accumulate {settings.accumulate}; "
            f"set it to {parts} or more"
        )
    return parts


def peak_memory(device: torch.device) -> str:
    """The most memory used so far, for people: torch's on CUDA, else the whole process's."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}G"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}G"
