"""Real processes, one or several of a job, forked where everything is imported already.

A fresh interpreter imports for longer than a test trains.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PRELOADED = (
    *("torch._dynamo", "torch.utils.tensorboard", "torchvision.transforms.v2", "timm"),
    *("accelerate", "pandas", "pyarrow.parquet", "plotly.graph_objects", "ipykernel.kernelapp"),
    *("workbench.trainers.trainer", "workbench.evaluation.run", "workbench.widgets"),
    "workbench.benchmarks.step",
)
_ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": ""}  # one GPU adds up otherwise than two


class Process:
    """A forked `python COMMAND`, with what tests use of subprocess.Popen."""

    def __init__(self, home: Home, pid: int, said: tuple[Path, Path]) -> None:
        """To be made by ``Home.start``; ``said`` is where standard output and error go."""
        self.pid = pid
        self.returncode: int | None = None
        self._home, self._said = home, said

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number after a signal; None while it lives."""
        return self._wait(0)

    def end(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Waits for it.

        Raises:
            TimeoutExpired: It goes on.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        out, err = (path.read_text("utf-8") for path in self._said)
        return subprocess.CompletedProcess([], code, out, err)

    def _wait(self, timeout: float) -> int | None:
        if self.returncode is None:
            self.returncode = self._home.ask({"wait": self.pid, "timeout": timeout})
        return self.returncode


class Home:
    """The process that forks; commands are its children."""

    def __init__(self, folder: Path) -> None:
        """Imports, which takes a while; what commands say is kept in a folder."""
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **_ON_THE_CPU},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> Any:
        """One answer of the process."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(f"{json.dumps(request)}\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(
        self,
        *command: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        input: str = "",
    ) -> Process:
        """Starts `python COMMAND`, its environment that of now and what ``env`` adds."""
        self._count += 1
        request = _request(self._folder / str(self._count), command, env or {}, cwd, input)
        _, out, err = map(Path, request["said"])
        return Process(self, self.ask(request), (out, err))

    def run(
        self, *command: object, timeout: float = 240.0, **where: Any
    ) -> subprocess.CompletedProcess[str]:
        """`python COMMAND` to its end; ``env``, ``cwd`` and ``input`` as for `start`."""
        (done,) = end_of([self.start(*command, **where)], timeout)
        return done

    def start_job(self, world: int, *command: object) -> list[Process]:
        """Starts `python COMMAND` as the processes of one job, on the CPU and over gloo."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
        return [
            self.start(*command, env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(world)
        ]

    def run_job(self, world: int, *command: object) -> list[subprocess.CompletedProcess[str]]:
        """`python COMMAND` in several processes, to their end."""
        return end_of(self.start_job(world, *command))

    def close(self) -> None:
        """Ends the process that forks."""
        self._server.communicate()


def run_forked(
    *command: object, folder: Path, input: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """`python COMMAND` to its end in a fork of this very process; what it says is kept aside."""
    request = _request(folder / uuid.uuid4().hex, command, env, None, input)
    if (pid := os.fork()) == 0:
        _become(request)
    code = _wait(pid, 240.0)
    assert code is not None, f"{command} goes on"
    _, out, err = (Path(path).read_text("utf-8") for path in request["said"])
    return subprocess.CompletedProcess([*command], code, out, err)


def end_of(
    processes: Sequence[Process], timeout: float = 120.0
) -> list[subprocess.CompletedProcess[str]]:
    """Waits for all of them, and kills what is left after a while."""
    try:
        return [process.end(timeout) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.end(10)


def _request(
    stem: Path, command: Sequence[object], env: Mapping[str, str], cwd: Path | None, input: str
) -> dict[str, Any]:
    said = [stem.with_suffix(f".{name}") for name in ("in", "out", "err")]
    said[0].write_text(input, "utf-8")
    return {
        "command": [*map(str, command)],
        "said": [*map(str, said)],
        "env": {**os.environ, **_ON_THE_CPU, **env},
        "cwd": str(cwd or Path.cwd()),
    }


def _serve() -> None:
    for name in _PRELOADED:
        __import__(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _wait(request["wait"], request["timeout"])
        elif (answer := os.fork()) == 0:
            _become(request)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _wait(pid: int, timeout: float) -> int | None:
    pause, end = 0.002, time.monotonic() + timeout
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(pause)
        pause = min(0.02, 1.5 * pause)


def _become(request: dict[str, Any]) -> None:
    """Does what `python COMMAND` does, and ends."""
    code: object = 0
    try:
        flags = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2)
        for descriptor, (path, flag) in enumerate(zip(request["said"], flags, strict=True)):
            os.dup2(os.open(path, flag, 0o666), descriptor)
        modes = ("r", "w", "w")  # for as long as the process lives
        sys.stdin, sys.stdout, sys.stderr = (open(n, m) for n, m in enumerate(modes))  # noqa: SIM115
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:1] = [request["cwd"], *filter(None, paths)]
        kind, what, *sys.argv[1:] = request["command"]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = kind
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


if __name__ == "__main__":
    _serve()
