"""Who is who in a job, as launchers' variables say it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from workbench import processes
from workbench.errors import ConfigError, RunError

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_process_alone_is_a_job_of_one() -> None:
    processes.join()
    assert (processes.rank(), processes.world()) == (0, 1)
    assert processes.all_gather(b"\x00x") == [b"\x00x"]
    assert processes.all_gather_texts(["ä", "b"]) == ["ä", "b"]
    processes.barrier()
    processes.leave()


def test_a_launcher_that_started_one_of_several_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `accelerate launch --num_processes 2` sets on a machine without several GPUs."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    processes.join()  # of one process
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ConfigError, match="add --multi_gpu") as error:
        processes.join()
    assert "\n" not in str(error.value)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # a launcher of its own kind
    processes.join()


def test_more_processes_than_gpus_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"GPUs \(1\); lower their number") as error:
        processes.join()
    assert "\n" not in str(error.value)


def test_a_launchers_request_to_end_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with processes.ended_by_launcher():  # alone: nobody asks
        assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(processes, "world", lambda: 2)
    with processes.ended_by_launcher():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    try:
        with pytest.raises(RunError, match="the launcher has ended this") as error:  # noqa: SIM117
            with processes.ended_by_launcher():
                signal.raise_signal(signal.SIGTERM)
        assert "--resume" in str(error.value) and "\n" not in str(error.value)
        signal.raise_signal(signal.SIGTERM)  # asked again, it is still writing its last words
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_rank_is_known_before_the_others_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert processes.rank() == 0  # somebody else's variable: nobody launched several
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (processes.rank(), processes.world()) == (1, 1)


def test_a_process_is_missed_only_where_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:19880. Typically\n")
    assert processes.lost(error) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = processes.lost(error)
    assert line is not None and "\n" not in line
    assert "another process of this job has ended" in line and "by peer" in line
    assert processes.lost(RuntimeError("shapes differ")) is None
    assert processes.lost(ConnectionResetError("Connection reset by peer")) is None  # a file's


def test_to_ask_loads_no_torch() -> None:
    code = (
        "import sys; from workbench import processes as p; p.rank(); p.leave(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()
