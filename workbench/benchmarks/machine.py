"""What is measured, and on what: peak memory of this process, memory still free, the machine.

The peak of a process is ``VmHWM`` of ``/proc/self/status``, not ``ru_maxrss``: on Linux the
latter survives ``exec``, so a child's figure is never below the memory its *parent* had when
it was started, and measurements would depend on who asks for them.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

from workbench.runs.environment import describe_environment

_UNLIMITED = 2**60  # control groups without a limit name a number beyond this, or "max"


def peak_rss() -> int:
    """Largest resident memory this process has had so far, in bytes.

    Everything counts that occupies memory: the interpreter, the pages of shared libraries
    that were touched, weights, optimiser state, activations, and what allocators keep.
    """
    return _status_bytes("VmHWM") or _max_rss()


def _max_rss() -> int:
    """Systems without /proc; kibibytes everywhere but on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status_bytes(field: str) -> int | None:
    return _kib_field(_read(Path("/proc/self/status")), field)


def _kib_field(text: str, field: str) -> int | None:
    found = re.search(rf"^{field}:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def total_ram() -> int:
    """Memory of the machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_ram() -> int:
    """Memory in bytes that can be taken without swapping, container limits considered."""
    free = _kib_field(_read(Path("/proc/meminfo")), "MemAvailable") or total_ram()
    groups = Path("/sys/fs/cgroup")
    pairs = (
        (groups / "memory.max", groups / "memory.current"),
        (groups / "memory/memory.limit_in_bytes", groups / "memory/memory.usage_in_bytes"),
    )
    for limit_file, used_file in pairs:
        limit, used = _read(limit_file).strip(), _read(used_file).strip()
        if limit.isdigit() and used.isdigit() and int(limit) < _UNLIMITED:
            free = min(free, max(0, int(limit) - int(used)))
    return free


def current_rss() -> int:
    """Resident memory of this process now, in bytes; its peak on systems without /proc."""
    return _status_bytes("VmRSS") or _max_rss()


def reset_peak_rss() -> None:
    """Lets :func:`peak_rss` start again from what is resident now, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def busy_cores(seconds: float) -> float:
    """Cores at work on anything during the next seconds, in which the caller sleeps.

    Not the load average: a minute after a measurement that would still show it.
    """
    before = _core_seconds()
    time.sleep(seconds)
    after = _core_seconds()
    return os.getloadavg()[0] if after is None or before is None else (after - before) / seconds


def _core_seconds() -> float | None:
    """Time all cores have worked since the start of the system; None where it does not say."""
    line = re.match(r"cpu +([\d ]+)", _read(Path("/proc/stat")))
    if line is None:
        return None
    user, nice, system, _idle, _waiting, *interrupts = (int(ticks) for ticks in line[1].split())
    # Interrupts, soft ones and those another guest takes; guests of ours are in user already.
    return (user + nice + system + sum(interrupts[:3])) / os.sysconf("SC_CLK_TCK")


def limit_memory(further: int) -> None:
    """Lets this process take so many bytes more; beyond that, allocations fail.

    A failed allocation is an error that can be reported; without the limit the system would
    kill a process, not necessarily this one, which therefore also offers itself first.

    Args:
        further: Bytes of private data beyond what the process holds now.
    """
    used = _status_bytes("VmData")
    if used is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = used + further
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    except OSError:
        return  # not Linux, or not allowed: then without


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, GPUs and versions, and how busy the machine is right now.

    Returns:
        The fields of an environment file, "cpu" (model name), "ram_bytes" and "load" (how
        many cores are at work on other things, over half a second from now).
    """
    cpu = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), flags=re.MULTILINE)
    return {
        **describe_environment(),
        "cpu": cpu[1].strip() if cpu else "unknown",
        "ram_bytes": total_ram(),
        "load": round(busy_cores(0.5), 2),
    }
