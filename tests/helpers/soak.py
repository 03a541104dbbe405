"""``python -m helpers.soak --steps 20000 --json FILE``: does a long training grow?

A training of tiny steps runs in a process of its own, through the same command that users type.
Another process looks at it once a second: memory, open files, checkpoints, by the step.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_KEEP = 2
_TRAIN = (
    *("--preset", "smoke", "--model.width", 8, "--data.crop", 32, "--train.batch_size", 2),
    *("--loss.pixels", 512, "--train.keep_checkpoints", _KEEP, "--train.log_every", 1),
    *("--train.evaluate_images", 4),
)


class Sample(NamedTuple):
    """What was seen of a training at one moment.

    Attributes:
        step: The last one it had logged.
        memory: Bytes of all its processes, see ``own_memory``.
        files: Open file descriptors of all its processes.
        checkpoints: Folders of checkpoints, the best one's and half-written ones included.
        disk: Bytes of the checkpoints.
    """

    step: int
    memory: int
    files: int
    checkpoints: int
    disk: int


def last_step(metrics: Path) -> int:
    """Step of the last whole line of the metrics, 0 without one."""
    try:
        with metrics.open("rb") as file:
            file.seek(max(0, metrics.stat().st_size - 4096))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return 0
    return int(json.loads(lines[-1])["step"]) if lines else 0


def own_memory(pid: int) -> int:
    """Resident bytes of a process that no file stands behind: heap, stacks, shared memory.

    Libraries are left out. Their pages belong to all processes that map them, so that figures
    with them change when another program starts or ends.

    Raises:
        OSError: It has ended.
    """
    text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    found = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", text, flags=re.MULTILINE)
    return 1024 * sum(map(int, found))


def look(process: psutil.Process, run: Path) -> Sample | None:
    """Looks at a training and the processes that it has started; nothing if it is gone."""
    try:
        tree = [process, *process.children(recursive=True)]
        memory = sum(own_memory(one.pid) for one in tree)
        files = sum(one.num_fds() for one in tree)
    except (psutil.Error, OSError):
        return None
    disk = 0
    for folder, _, names in os.walk(run / "checkpoints"):  # folders may go while we look
        for name in names:
            try:
                disk += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    folders = [path for path in run.glob("checkpoints/*") if path.is_dir()]
    return Sample(last_step(run / "metrics.jsonl"), memory, files, len(folders), disk)


def summarise(samples: Sequence[Sample], steps: int) -> dict[str, Any]:
    """Growth from the second tenth of a training to its last.

    The first tenth is the warm-up: allocators and caches take what they need.

    Args:
        samples: In order.
        steps: Of the whole training.

    Raises:
        ValueError: One of the two tenths was not looked at.
    """
    early = [one for one in samples if steps * 0.1 <= one.step < steps * 0.2]
    late = [one for one in samples if one.step >= steps * 0.9]
    if not early or not late:
        raise ValueError("a tenth of the training was not looked at; more steps are needed")
    middle = {
        name: [statistics.median(getattr(one, name) for one in part) for part in (early, late)]
        for name in ("memory", "files", "checkpoints", "disk")
    }
    warm = [one for one in samples if one.step >= steps * 0.1]
    return {
        "samples": len(warm),
        "memory": middle["memory"],
        "memory_growth": round(middle["memory"][1] / middle["memory"][0] - 1, 5),
        "memory_most": max(one.memory for one in warm),
        "files": middle["files"],
        "files_most": max(one.files for one in warm),
        "checkpoints_most": max(one.checkpoints for one in warm),
        "disk_most": max(one.disk for one in warm),
        "curve": [[one.step, one.memory] for one in warm[:: max(1, len(warm) // 40)]],
    }


def soak(place: Path, steps: int, workers: int, every: float = 1.0) -> dict[str, Any]:
    """Trains and looks.

    Args:
        place: Empty folder.
        steps: Of the training.
        workers: Processes that read pictures.
        every: Seconds between looks.

    Raises:
        RuntimeError: The training failed; the message ends with what it said.
    """
    command = [sys.executable, "-m", "workbench"]
    data, run = place / "data", place / "run"
    pictures = ("--images", 40, "--size", 64, "--classes", 300)
    for words in (("sample", "shapeworld", data, *pictures), ("prepare", "shapeworld", data)):
        subprocess.run([*command, *map(str, words)], check=True, capture_output=True)
    often = max(1, steps // 100)
    words = ("train", "--run", run, "--data.root", data, "--data.workers", workers, *_TRAIN)
    words += ("--train.steps", steps, "--train.checkpoint_every", often)
    words += ("--train.evaluate_every", often * 10)
    samples = []
    began = time.perf_counter()
    with (place / "said").open("wb") as said:
        child = subprocess.Popen([*command, *map(str, words)], stdout=said, stderr=said)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            sample = look(process, run)
            if sample is not None and sample.step:
                samples.append(sample)
            try:
                child.wait(every)
            except subprocess.TimeoutExpired:
                continue
    if child.returncode:
        raise RuntimeError((place / "said").read_text("utf-8", "replace")[-2000:])
    reached = last_step(run / "metrics.jsonl")
    return {
        "steps": reached,
        "workers": workers,
        "kept": _KEEP,
        "checkpoints_written": reached // often,
        "seconds": round(time.perf_counter() - began, 1),
        **summarise(samples, steps),
    }


def main() -> int:
    """Measures; the exit code says whether anything grew."""
    parser = argparse.ArgumentParser(prog="helpers.soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--workers", default="0,2", help="processes that read, comma separated")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between looks")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    # One thread: steps so small gain nothing from more, and on a busy machine wait for them.
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    rows = []
    for workers in map(int, options.workers.split(",")):
        with tempfile.TemporaryDirectory(prefix="soak-") as place:
            row = soak(Path(place), options.steps, workers, options.every)
        rows.append({**row, "machine": describe_machine()})
        told = {name: value for name, value in row.items() if name != "curve"}
        sys.stderr.write(f"{told}\n")
    write_json(options.json, rows)
    return int(any(row["memory_growth"] > 0.02 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
