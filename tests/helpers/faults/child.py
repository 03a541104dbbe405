"""Commands in forked children, which need not import everything again, and their sudden ends."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
_LOGS = tempfile.TemporaryDirectory(prefix="faults-said-")  # not where a disk is full
LONGEST = 240.0
"""Seconds after which a command counts as hanging."""


class Kill(NamedTuple):
    """When a command ends all at once.

    Attributes:
        kind: "clock" (SIGKILL after so many seconds), "operation" (SIGKILL right before the
            so manieth change to files), "byte" (the kernel ends it while it writes the first
            file that gets longer than so many bytes, of which so many stay), or "stop": no end,
            but SIGSTOP where "operation" would end it.
        at: The moment.
    """

    kind: str
    at: float


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Exit code; minus the signal's number after a signal.
        seconds: From its start.
        operations: Changes to files, where they were counted and it ended by itself.
        said: On standard output and error.
    """

    code: int
    seconds: float
    operations: int
    said: str


def call(function: Callable[[], Any]) -> Any:
    """What a function returns in a child: nothing it loads or caches stays here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(reader)
            _silence()
            with os.fdopen(writer, "w") as answer:
                try:
                    json.dump({"value": function()}, answer)
                except BaseException:
                    json.dump({"error": traceback.format_exc()}, answer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    found = json.loads(text) if text else {"error": "the child said nothing"}
    if "error" in found:
        raise RuntimeError(found["error"])
    return found["value"]


def start(
    arguments: Sequence[object],
    folder: Path,
    *,
    kill: Kill | None = None,
    count: bool = False,
    disturb: Callable[[], None] | None = None,
    log: str = "said",
) -> int:
    """Starts ``workbench ARGUMENTS`` in a child.

    Args:
        arguments: As typed.
        folder: Changes below it count.
        kill: When it ends; "clock" is the caller's.
        count: Whether changes are counted.
        disturb: Called in the child first.
        log: Under which name what it says is kept.

    Returns:
        Its process id.
    """
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _work(arguments, folder, kill, count, disturb, _log(log))
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    return pid


def run(
    arguments: Sequence[object],
    folder: Path,
    *,
    kill: Kill | None = None,
    count: bool = False,
    disturb: Callable[[], None] | None = None,
) -> Ended:
    """As ``start``, to the end."""
    began = time.perf_counter()
    pid = start(arguments, folder, kill=kill, count=count, disturb=disturb)
    if kill is not None and kill.kind == "clock":
        time.sleep(kill.at)
        os.kill(pid, signal.SIGKILL)
    code = wait(pid)
    seconds = time.perf_counter() - began
    operations = int(_log("count").read_text()) if count and code == 0 else 0
    return Ended(code, seconds, operations, said())


def load_modules() -> None:
    """Imports here what the last counted command has imported: the next need not do it again."""
    for name in _log("modules").read_text().splitlines():
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):  # made by others at run time
                importlib.import_module(name)


def wait(pid: int) -> int:
    """Waits for a child; one that takes too long is killed, and has the code -9."""
    pause, gave_up = 0.002, time.perf_counter() + LONGEST
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.perf_counter() > gave_up:
            os.kill(pid, signal.SIGKILL)
            gave_up = float("inf")
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)


def said(log: str = "said") -> str:
    """What the last command of a name said; progress bars too."""
    path = _log(log)
    return path.read_text("utf-8", "replace") if path.exists() else ""


def errors(text: str) -> list[str]:
    """Its lines but those of progress bars."""
    lines = (part.strip() for line in text.splitlines() for part in line.split("\r"))
    return [line for line in lines if line and "it/s" not in line and "%|" not in line]


def _log(name: str) -> Path:
    return Path(_LOGS.name) / name


def _silence() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _work(
    arguments: Sequence[object],
    folder: Path,
    kill: Kill | None,
    count: bool,
    disturb: Callable[[], None] | None,
    log: Path,
) -> int:
    torn = kill is not None and kill.kind == "byte"
    # The limit of file sizes would hold for this file too.
    target = os.devnull if torn else os.fspath(log)
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if disturb is not None:
        disturb()
    ends = {"operation": signal.SIGKILL, "stop": signal.SIGSTOP}
    counted = kill is not None and kill.kind in ends
    counter = Counter(
        folder, *((int(kill.at), ends[kill.kind]) if kill is not None and counted else ())
    )
    if count or counter.last is not None:
        sys.addaudithook(counter)
    if torn and kill is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(kill.at), int(kill.at)))
    from workbench.__main__ import main

    try:
        code = main([str(word) for word in arguments])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    counter.last = None
    if count:
        _log("count").write_text(str(counter.seen))
        _log("modules").write_text("\n".join(sys.modules))
    return code


class Counter:
    """An audit hook that counts changes to files below a folder, and may end the process.

    Attributes:
        last: Right before which change it sends the signal, 0-based; None for none.
        seen: How many there were.
    """

    def __init__(self, folder: Path, last: int | None = None, number: int = signal.SIGKILL) -> None:
        self._root = os.fspath(folder)
        self._signal = number
        self.last = last
        self.seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Looks at one event."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITING:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        # Trees are removed by names relative to an open folder.
        if name.startswith("/") and not name.startswith(self._root):
            return
        if self.last is not None and self.seen == self.last:
            self.last = None  # once: another thread may be here too, and nobody would wake it
            os.kill(os.getpid(), self._signal)
        self.seen += 1
