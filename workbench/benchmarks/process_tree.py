"""Memory and CPU time of a process and all its descendants, sampled from outside (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")


class _Stat(NamedTuple):
    state: str
    parent: int
    cpu_seconds: float
    resident: int


class ProcessTree:
    """What a process and its descendants take; to be sampled again and again.

    Attributes:
        peak_bytes: Largest sum of resident memory at any sample. Pages that processes share,
            such as those of libraries, count in each of them.
        main_bytes: Resident memory of the process itself at the last sample.
        main_peak_bytes: Largest resident memory of the process itself, as the kernel keeps it.
        cpu_seconds: Of all processes so far, ended ones included.
        main_cpu_seconds: Of the process itself.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_bytes = 0
        self.main_bytes = 0
        self.main_peak_bytes = 0
        self._cpu: dict[int, float] = {}

    @property
    def cpu_seconds(self) -> float:
        """See the class."""
        return sum(self._cpu.values())

    @property
    def main_cpu_seconds(self) -> float:
        """See the class."""
        return self._cpu.get(self.pid, 0.0)

    def sample(self) -> None:
        """Looks at all processes of the machine; the tree's are taken down."""
        everyone = {int(name): _stat(name) for name in os.listdir(_PROC) if name.isdigit()}
        children: dict[int, list[int]] = {}
        for pid, found in everyone.items():
            if found is not None:
                children.setdefault(found.parent, []).append(pid)
        members = [self.pid]
        for pid in members:  # grows meanwhile
            members += children.get(pid, [])
        stats = {pid: found for pid in members if (found := everyone.get(pid)) is not None}
        self._cpu |= {pid: found.cpu_seconds for pid, found in stats.items()}
        self.peak_bytes = max(self.peak_bytes, sum(found.resident for found in stats.values()))
        self.main_bytes = stats[self.pid].resident if self.pid in stats else 0
        self.main_peak_bytes = max(self.main_peak_bytes, _peak(self.pid))

    def running(self) -> int:
        """How many of the processes seen so far have not ended."""
        found = [_stat(str(pid)) for pid in self._cpu]
        return sum(one is not None and one.state not in "ZX" for one in found)


def _stat(pid: str) -> _Stat | None:
    """None if there is no such process (any more)."""
    try:
        text = (_PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # From the state on: the name before it may hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return _Stat(
        fields[0],
        int(fields[1]),
        ticks / os.sysconf("SC_CLK_TCK"),
        int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _peak(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
