"""``python -m helpers.fuzz --cases 100000 --json FILE``: damaged files for every reader."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import signal
import struct
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Final

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", HF_HUB_OFFLINE="1")

MEMORY: Final = 2 * 2**30
"""Bytes that a reader may take."""
_SILENT: Final = 30.0  # seconds without a new case, after which the worker counts as hanging
_ONCE: Final = 2000  # cases of a worker: the peak of memory is that of few cases


def main() -> int:
    """Tries all cases; the exit code says whether anything was found."""
    from helpers.fuzz.targets import TARGETS
    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    parser = argparse.ArgumentParser(prog="helpers.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma separated")
    parser.add_argument("--keep", type=Path, help="folder for files with a finding")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    names = options.targets.split(",")
    machine = describe_machine()
    _load_everything()
    weights = {name: 1 / TARGETS[name].cost for name in names}
    rows: list[dict[str, Any]] = []
    for name in names:
        cases = -(-options.cases * weights[name] // sum(weights.values()))
        row = run_target(name, int(cases), options.seed, options.keep)
        shared = {"asked": options.cases, "seed": options.seed, "machine": machine}
        rows.append({**row, **shared})
        sys.stderr.write(f"{ {key: row[key] for key in row if key != 'machine'} }\n")
        write_json(options.json, rows)
    return int(any(row["findings"] for row in rows))


def _load_everything() -> None:
    import torch

    torch.set_num_threads(1)
    from app import map_points, pictures, state, uploads  # noqa: F401
    from workbench import config, datasets, inference, models, sharing  # noqa: F401
    from workbench.datasets import coco_stuff10k, unpack  # noqa: F401
    from workbench.models import weights  # noqa: F401
    from workbench.runs import class_file, class_table  # noqa: F401


def run_target(name: str, cases: int, seed: int, keep: Path | None) -> dict[str, Any]:
    """Tries cases of one reader, in processes that may crash, hang or swell without harm.

    Returns:
        "target"; "cases"; "taken", how many were read all the same; "seconds"; "slowest", of
        one case, of a processor; "peak_bytes" of a process beyond what it had before;
        "findings": what is wrong, how many cases have it, and the number of the first.
    """
    from helpers.fuzz.cases import Reader

    began = time.perf_counter()
    found: Counter[str] = Counter()
    first: dict[str, int] = {}
    taken, slowest, peak, number = 0, 0.0, 0, 0
    while number < cases:
        report = _Report(name, seed, number, min(cases, number + _ONCE))
        report.wait()
        for case, line in report.findings():
            found[line] += 1
            first.setdefault(line, case)
        taken += report.values.get("taken", 0)
        slowest = max(slowest, report.values.get("slowest", 0.0))
        peak = max(peak, report.values.get("peak_bytes", 0))
        number = report.next
    if keep is not None and found:
        keep.mkdir(parents=True, exist_ok=True)
        reader = Reader(name, seed)
        for line, case in first.items():
            target = keep / f"{name.replace(' ', '_')}-{case}{reader.target.suffix}"
            target.write_bytes(reader.content(case))
            target.with_name(target.name + ".why").write_text(line + "\n")
        reader.close()
    return {
        "target": name,
        "cases": cases,
        "taken": taken,
        "seconds": round(time.perf_counter() - began, 1),
        "slowest": round(slowest, 3),
        "peak_bytes": peak,
        "findings": [
            {"what": line, "cases": count, "first": first[line]}
            for line, count in found.most_common()
        ],
    }


class _Report:
    """A worker for some cases, and what it says about them.

    Attributes:
        next: The case after the last one that it tried.
        values: Its figures; empty where it did not end by itself.
    """

    def __init__(self, name: str, seed: int, start: int, stop: int) -> None:
        self._start, self.next = start, stop
        self.values: dict[str, Any] = {}
        self._lines: list[tuple[int, str]] = []
        self._at = mmap.mmap(-1, 8)  # the case at hand, where the parent sees it
        self._at[:] = struct.pack("q", start)
        reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reader)
            _work(name, seed, start, stop, self._at, writer)
        os.close(writer)
        os.set_blocking(reader, False)
        self._reader = reader

    def wait(self) -> None:
        """Waits for its end; kills it when it does not get on."""
        text, last, since, ended = b"", -1, time.monotonic(), False
        status = 0
        while not ended:
            done, status = os.waitpid(self._pid, os.WNOHANG)
            ended = bool(done)
            try:
                while block := os.read(self._reader, 65536):
                    text += block
            except BlockingIOError:
                pass
            at = struct.unpack("q", self._at[:])[0]
            if at != last:
                last, since = at, time.monotonic()
            elif time.monotonic() - since > _SILENT and not ended:
                os.kill(self._pid, signal.SIGKILL)
            if not ended:
                time.sleep(0.005)
        os.close(self._reader)
        for line in text.decode().splitlines():
            entry = json.loads(line)
            if "case" in entry:
                self._lines.append((entry["case"], entry["what"]))
            else:
                self.values = entry
        if not self.values:
            at = struct.unpack("q", self._at[:])[0]
            self._lines.append((at, f"the process ends with {os.waitstatus_to_exitcode(status)}"))
            self.next = at + 1

    def findings(self) -> list[tuple[int, str]]:
        """(case, what is wrong)."""
        return self._lines


def _work(name: str, seed: int, start: int, stop: int, at: mmap.mmap, writer: int) -> None:
    from helpers.fuzz.cases import Reader
    from workbench.benchmarks.machine import current_rss, limit_memory, peak_rss, reset_peak_rss

    code = 70
    try:
        warnings.simplefilter("ignore")
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(nothing, descriptor)
        reader = Reader(name, seed)
        reset_peak_rss()
        before = current_rss()
        limit_memory(MEMORY)
        for number in range(start, stop):
            at[:] = struct.pack("q", number)
            found = reader.finding(reader.content(number))
            if found is not None:
                os.write(writer, json.dumps({"case": number, "what": found}).encode() + b"\n")
        peak = max(0, peak_rss() - before)
        values = {"taken": reader.taken, "slowest": reader.slowest, "peak_bytes": peak}
        os.write(writer, json.dumps(values).encode() + b"\n")
        reader.close()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
