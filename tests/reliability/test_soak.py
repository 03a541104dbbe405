"""A training does not grow; `make reliability` looks at 20,000 steps, `make test-slow` at 300."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.soak import Sample, last_step, own_memory, soak, summarise

MIB = 2**20


def samples(leak: int = 0, files: int = 0) -> list[Sample]:
    """Of 1,000 steps: a warm-up of 80 to 100 MiB, then so many bytes and files a step."""
    warm = [Sample(step, (80 + step // 5) * MIB, 9, 1, 5) for step in range(10, 100, 10)]
    steps = range(100, 1001, 10)
    return warm + [Sample(step, 100 * MIB + leak * step, 9 + files * step, 3, 5) for step in steps]


def test_growth_is_measured_after_the_warm_up() -> None:
    row = summarise(samples(), 1000)
    assert row["memory_growth"] == 0 and row["files"] == [9, 9]
    assert row["checkpoints_most"] == 3
    grown = summarise(samples(leak=MIB // 100, files=1), 1000)
    # From the middle of the second tenth (145) to that of the last (950): 805 hundredths of 1 MiB.
    assert grown["memory_growth"] == pytest.approx(8.05 / 101.45, abs=1e-4)
    assert grown["files_most"] == 1009


def test_what_a_process_holds_is_its_memory_and_no_library() -> None:
    code = "import numpy, torch; print(1, flush=True); input(); held = numpy.ones(64 << 20, 'u1')"
    sleeper = [sys.executable, "-c", f"{code}; print(2, flush=True); input()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline()
        before = own_memory(other.pid)
        shared = psutil.Process(other.pid).memory_info().shared
        assert before + shared == psutil.Process(other.pid).memory_info().rss
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert other.stdout.readline()
        assert own_memory(other.pid) - before == pytest.approx(64 * MIB, rel=0.1)
        other.kill()


def test_a_part_that_was_not_looked_at_is_no_proof() -> None:
    with pytest.raises(ValueError, match="not looked at"):
        summarise([one for one in samples() if one.step < 900], 1000)


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert last_step(metrics) == 0
    whole = "".join(json.dumps({"step": step, "loss": 0.5}) + "\n" for step in range(1, 400))
    metrics.write_text(whole + '{"step": 40')
    assert last_step(metrics) == 399


@pytest.mark.slow
def test_a_short_training_keeps_its_files_and_checkpoints(tmp_path: Path) -> None:
    row = soak(tmp_path, steps=300, workers=0, every=0.05)
    assert row["steps"] == 300 and row["checkpoints_written"] == 100
    assert row["checkpoints_most"] <= row["kept"] + 2  # the best one, one being written
    assert row["files"][1] <= row["files"][0] + 1  # a file that is being written
    assert row["memory_growth"] < 0.05  # so few steps are hardly warm
