from __future__ import annotations

import subprocess
import sys

import pytest

from workbench.benchmarks import machine

MIB = 2**20


def child(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_peak_grows_by_what_is_touched_and_never_falls() -> None:
    peaks = child(
        "from workbench.benchmarks.machine import peak_rss\n"
        "before = peak_rss()\n"
        "block = bytearray(b'x') * (200 << 20)\n"
        "during = peak_rss()\n"
        "del block\n"
        "print(before, during, peak_rss())"
    )
    before, during, after = (int(peak) for peak in peaks.split())
    assert 195 * MIB < during - before < 240 * MIB
    assert after > during - MIB  # the kernel counts per core and adds up now and then


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it cannot start again")
def test_the_peak_starts_again_from_what_is_there() -> None:
    said = child(
        "from workbench.benchmarks.machine import current_rss, peak_rss, reset_peak_rss\n"
        "block = bytearray(b'x') * (200 << 20)\n"
        "del block\n"
        "before = peak_rss()\n"
        "reset_peak_rss()\n"
        "print(before, peak_rss(), current_rss())"
    )
    before, after, now = (int(peak) for peak in said.split())
    assert before - after > 150 * MIB
    assert abs(after - now) < 8 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is the load average")
def test_busy_cores_are_those_at_work_now() -> None:
    """Not a minute ago: a benchmark's own work must not look like somebody else's."""
    idle = machine.busy_cores(0.3)
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = machine.busy_cores(1.0)
    finally:
        spinning.kill()
        spinning.wait()
    cores = machine.describe_machine()["cpu_count"]
    assert 0 <= idle <= cores + 0.5
    # Where all cores are at work already, one more process changes nothing.
    assert busy > 0.5 and busy <= cores + 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is what getrusage says")
def test_the_peak_of_a_child_is_not_its_parents() -> None:
    """getrusage's figure survives exec: a child of a large process never looks small."""
    peak = child(
        "import subprocess, sys\n"
        "block = bytearray(b'x') * (600 << 20)\n"
        "code = 'from workbench.benchmarks.machine import peak_rss; print(peak_rss())'\n"
        "print(subprocess.check_output([sys.executable, '-c', code], text=True))"
    )
    assert 0 < int(peak) < 300 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_beyond_the_limit_an_allocation_fails_and_within_it_does_not() -> None:
    said = child(
        "from workbench.benchmarks.machine import limit_memory\n"
        "limit_memory(200 << 20)\n"
        "block = bytearray(100 << 20)\n"
        "try:\n"
        "    bytearray(400 << 20)\n"
        "except MemoryError:\n"
        "    print('refused')"
    )
    assert said == "refused"


def test_the_machine_is_described_without_names_or_places() -> None:
    described = machine.describe_machine()
    assert described["cpu"]
    assert described["cpu_count"] >= 1
    assert 0 < machine.available_ram() <= described["ram_bytes"]
    assert "/" not in "".join(str(value) for value in described.values())
