"""Several real processes of one job, as a launcher starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence


def start_together(world: int, command: Sequence[object]) -> list[subprocess.Popen[str]]:
    """Starts `python COMMAND` as the processes of one job, on the CPU and over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    place["CUDA_VISIBLE_DEVICES"] = ""  # one GPU is too few for two, and adds up otherwise
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def end_of(
    processes: Sequence[subprocess.Popen[str]], timeout: float = 120.0
) -> list[subprocess.CompletedProcess[str]]:
    """Waits for all of them, and kills what is left after a while."""
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return ended


def run_together(world: int, *command: object) -> list[subprocess.CompletedProcess[str]]:
    """`python COMMAND` in several processes, to their end."""
    return end_of(start_together(world, command))
