"""The processes of one job, as a launcher (accelerate, torchrun) starts them.

A process alone is a job of one: whoever asks here needs no second way for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

_PATIENCE: Final = timedelta(minutes=30)
"""How long a process waits for another: an evaluation of a shard may take longer than torch's
own ten minutes for CUDA."""


def join() -> None:
    """Meets the others, where a launcher has started several and nothing has done so yet."""
    import torch
    from torch import distributed

    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)


def leave() -> None:
    """Parts from the others at the end of a job; does nothing where there are none."""
    from torch import distributed

    if _together():
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0; process 0 alone writes."""
    from torch import distributed

    return int(distributed.get_rank()) if _together() else 0


def world() -> int:
    """How many processes there are."""
    from torch import distributed

    return int(distributed.get_world_size()) if _together() else 1


def gather(payload: bytes) -> list[bytes]:
    """What each process gives, in their order; all must call it, and all get it."""
    import torch
    from torch import distributed

    if not _together():
        return [payload]
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


def gather_texts(texts: Sequence[str]) -> list[str]:
    """The texts of all processes, those of process 0 first."""
    parts = gather(json.dumps(list(texts)).encode("utf-8"))
    return [text for part in parts for text in json.loads(part)]


def wait() -> None:
    """Returns when all processes have come here."""
    gather(b"")


def _together() -> bool:
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
