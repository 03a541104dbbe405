from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.runs import RunDirectory

Writer = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def writer(run: RunDirectory) -> Iterator[Writer]:
    """Starts another process that holds the lock; its first line of output is a pid."""
    started: list[subprocess.Popen[str]] = []

    def start(body: str = "") -> subprocess.Popen[str]:
        script = f"""
import os, sys, time
from workbench.runs import RunDirectory
run = RunDirectory(sys.argv[1])
with run.lock():
    run.write_status("running", step=3)
{textwrap.indent(textwrap.dedent(body), "    ")}
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_writer_is_told_who_writes(run: RunDirectory, writer: Writer) -> None:
    pid = first_line(writer())
    expected = rf"mine is being written .*pid {pid}"
    with pytest.raises(RunError, match=expected) as caught, run.lock():
        pass
    assert "\n" not in str(caught.value)


def test_a_killed_run_is_interrupted_and_free(run: RunDirectory, writer: Writer) -> None:
    process = writer()
    first_line(process)
    assert run.status()["state"] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.status()["state"] == "interrupted"
    assert run.status()["step"] == 3
    with run.lock():
        run.write_status("running")
        assert run.status()["state"] == "running"


def test_a_child_of_a_killed_writer_does_not_keep_the_lock(
    run: RunDirectory, writer: Writer
) -> None:
    process = writer(
        """
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
        """
    )
    child = int(first_line(process))
    first_line(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        os.kill(child, 0)  # alive
        with run.lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_ends_does_not_release_its_parents_lock(run: RunDirectory) -> None:
    script = """
import os, sys
from workbench.errors import RunError
from workbench.runs import RunDirectory
run = RunDirectory(sys.argv[1])
with run.lock():
    child = os.fork()
    if child == 0:
        sys.exit()  # unwinds the with block
    os.waitpid(child, 0)
    try:
        with RunDirectory(sys.argv[1]).lock():
            print("free")
    except RunError:
        print("held")
"""
    command = [sys.executable, "-c", script, str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["held"]


def test_the_holder_may_lock_again_but_another_object_may_not(run: RunDirectory) -> None:
    with run.lock():
        with run.lock():
            pass
        with pytest.raises(RunError), RunDirectory(run.path).lock():
            pass
    with RunDirectory(run.path).lock():
        pass


def test_the_lock_is_released_by_an_error(run: RunDirectory) -> None:
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock():
        pass


def test_a_reader_looking_does_not_stop_a_writer(run: RunDirectory) -> None:
    script = """
import sys, time
from workbench.runs import RunDirectory
run, end = RunDirectory(sys.argv[1]), time.monotonic() + 2
print("go", flush=True)
while time.monotonic() < end:
    run.status()
"""
    with run.lock():
        run.write_status("running")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(run.path)], stdout=subprocess.PIPE, text=True
    ) as reader:
        first_line(reader)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            with run.lock():
                pass
        reader.kill()


def test_locking_removes_leftovers_of_killed_writers(run: RunDirectory) -> None:
    half = run.path / "checkpoints" / ".tmp-1-step_000500"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    (run.path / ".tmp-1-status.json").write_text("{")
    assert not run.has_checkpoint()
    with run.lock():
        pass
    assert [path.name for path in run.path.rglob(".tmp-*")] == []


def test_a_file_system_without_locks_is_one_line(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(RunError, match=r"its file system has no locks .*another folder"),
        run.lock(),
    ):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="absent"), RunDirectory(tmp_path / "absent").lock():
        pass
