"""The processes of one job, as a launcher (accelerate, torchrun) starts them.

A process alone is a job of one: whoever asks here needs no second way for it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from workbench.errors import ConfigError, RunError, first_line

if TYPE_CHECKING:
    from torch import Tensor

_PATIENCE: Final = timedelta(minutes=30)
"""How long a process waits for another: an evaluation of a shard may take longer than torch's
own ten minutes for CUDA."""
_SIZES: Final = ("WORLD_SIZE", "PMI_SIZE")
"""How names of variables end by which launchers, those of MPI too, say how many they started."""
_LOST: Final = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe"),
    *("NCCL error", "ncclRemoteError", "Timed out waiting"),
    *("waiting for clients", "socket has timed out", "connectFullMesh"),
)
"""Parts of messages about a process that answers no more, or never has."""


def join() -> None:
    """Meets the others, where a launcher has started several and nothing has done so yet.

    Raises:
        ConfigError: Several were asked for and only one was started, or there are GPUs, but
            fewer than processes.
    """
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    asked = {"MASTER_PORT", "ACCELERATE_USE_CPU"} <= set(os.environ)
    if asked and not any(name.endswith(_SIZES) for name in os.environ):
        raise ConfigError(
            "accelerate launch: without several GPUs it starts one process, whatever "
            "--num_processes says; add --multi_gpu to its options, also on CPUs"
        )
    if _launched() < 2:
        return
    cuda = torch.cuda.is_available()
    if cuda:
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise ConfigError(
                f"the launcher started more processes on this machine than it has GPUs ({gpus}); "
                "lower their number, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU"
            )
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)


def leave() -> None:
    """Parts from the others at the end of a job; does nothing where there are none."""
    if _together():
        from torch import distributed

        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0; process 0 alone writes."""
    if not _together():
        return int(os.environ.get("RANK", "0")) if _launched() > 1 else 0
    from torch import distributed

    return int(distributed.get_rank())


def world() -> int:
    """How many processes have met."""
    if not _together():
        return 1
    from torch import distributed

    return int(distributed.get_world_size())


def all_gather(payload: bytes) -> list[bytes]:
    """What each process gives, in their order; all must call it, and all get it."""
    if not _together():
        return [payload]
    import torch
    from torch import distributed

    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world())]
    distributed.all_gather(lengths, torch.tensor([len(payload)], device=device))
    longest = max(int(length) for length in lengths)
    own = torch.zeros(longest, dtype=torch.uint8, device=device)
    own[: len(payload)] = torch.frombuffer(bytearray(payload or b"\0"), dtype=torch.uint8)[
        : len(payload)
    ].to(device)
    parts = [torch.empty_like(own) for _ in lengths]
    distributed.all_gather(parts, own)
    return [
        part[: int(length)].cpu().numpy().tobytes()
        for part, length in zip(parts, lengths, strict=True)
    ]


def all_gather_texts(texts: Sequence[str]) -> list[str]:
    """The texts of all processes, those of process 0 first."""
    parts = all_gather(json.dumps(list(texts)).encode("utf-8"))
    return [text for part in parts for text in json.loads(part)]


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Gives all processes the values that process 0 has, in place."""
    if _together():
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


def barrier() -> None:
    """Returns when all processes have come here."""
    all_gather(b"")


def lost(error: BaseException) -> str | None:
    """One line for an error by which another process of the job is missed; None for others."""
    text = str(error)
    if _launched() < 2 or not isinstance(error, RuntimeError):
        return None
    if not any(part in text for part in _LOST):
        return None
    return (
        "another process of this job has ended or does not answer, see what it said "
        f"({first_line(error)[:120]})"
    )


@contextmanager
def ended_by_launcher() -> Iterator[None]:
    """Has a launcher's request to end raise an error: it asks when another process has failed.

    Raises:
        RunError: It asked.
    """
    if world() == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # once; what is left to do is done
        raise RunError(
            "the launcher has ended this process as another one has failed, see what that said; "
            "go on with --resume, on any number of processes"
        )

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, before)


def _launched() -> int:
    """How many processes a launcher says it has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _together() -> bool:
    if "torch" not in sys.modules:  # whose import takes seconds
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
