"""Faults that are no kills: no room, no permission, a clock set back, another process."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helpers.faults import checks, child
from helpers.faults.child import Kill
from helpers.faults.work import TASKS, Scene, set_up

_ROOM_MIB: Final = 64
_SHARES: Final = (0.1, 0.35, 0.6, 0.85)
_DAYS: Final = 30 * 86_400


class NoMount(Exception):
    """A file system of one's own cannot be had here: that takes root."""


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """An empty file system in memory at a folder.

    Raises:
        NoMount: Not allowed.
    """
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM_MIB}m", "tmpfs", os.fspath(folder)]
    try:
        done = subprocess.run(options, capture_output=True, text=True, check=False)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    if why:
        folder.rmdir()
        raise NoMount(why)
    try:
        yield
    finally:
        subprocess.run(["umount", os.fspath(folder)], check=True)
        folder.rmdir()


def remount(folder: Path, options: str) -> None:
    """Changes size or permissions of what ``mounted`` lent."""
    command = ["mount", "-o", f"remount,{options}", os.fspath(folder)]
    subprocess.run(command, check=True, capture_output=True)


def _used(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_bsize


class _Fault:
    """What trials of one fault and one command share."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name, self.task = scene, name, TASKS[name]
        self.losses: list[str] = []
        self.lines: list[str] = []
        self.trials = 0
        self.refused = 0
        trial = self.place()
        set_up(scene, self.task, trial, whole=False)
        ended = child.run(self.words(trial), self.task.target(trial), count=True)
        if ended.code:
            raise RuntimeError(f"{name} failed undisturbed: {ended.said}")
        child.load_modules()
        self.operations = ended.operations
        self.expected: dict[str, str] = child.call(lambda: self.task.result(trial))
        shutil.rmtree(trial)

    def place(self) -> Path:
        return self.scene.place / f"other-{self.name}"

    def words(self, trial: Path, *, again: bool = False) -> list[object]:
        words = list(self.task.arguments(self.scene, trial))
        return [*words, *self.task.again] if again else words

    def one_line(self, code: int, text: str) -> None:
        """Notes how a command was refused: one line and exit code 2, or it is a loss."""
        errors = [line for line in child.errors(text) if not line.startswith("train:")]
        said = [line for line in errors if line.startswith("error: ")]
        if code != 2 or len(said) != 1 or "Traceback" in text:
            self.losses.append(f"exit code {code}, it said: {' / '.join(errors)[-300:]}")
            return
        self.refused += 1
        line = said[0].replace(os.fspath(self.scene.place), "FOLDER")
        if line not in self.lines and len(self.lines) < 2:
            self.lines.append(line)

    def whole(self, trial: Path) -> None:
        """Checks that what is there can be read."""
        target = self.task.target(trial)
        self.losses += checks.torn(target)
        if self.task.run:
            self.losses += child.call(lambda: checks.opens_in_app(target))

    def go_on(self, trial: Path, disturb: Callable[[], None] | None = None) -> None:
        """Takes the command up again without the fault, and compares."""
        target = self.task.target(trial)
        kept = self.task.finished(trial)
        ended = child.run(self.words(trial, again=True), target, disturb=disturb)
        if ended.code:
            self.losses.append(f"going on fails with {ended.code}: {ended.said[-300:]}")
            return
        result = child.call(lambda: self.task.result(trial))
        self.losses += checks.differences(self.expected, result)
        self.losses += checks.redone(kept)
        self.losses += [f"{name} stays behind" for name in checks.leftovers(target)[:3]]

    def row(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "trials": self.trials,
            "refused": self.refused,
            "said": self.lines,
            "losses": self.losses,
        }


def _skipped(name: str, error: Exception) -> dict[str, Any]:
    why = f"not tried: {' '.join(str(error).split())[:100]}"
    return {"task": name, "trials": 0, "refused": 0, "said": [], "losses": [], "skipped": why}


def disk_full(scene: Scene, name: str) -> dict[str, Any]:
    """The disk has room for a part of the work only; then room is made."""
    fault = _Fault(scene, name)
    trial, task = fault.place(), fault.task
    try:
        for share in (None, *_SHARES):
            with mounted(trial):
                set_up(scene, task, trial, whole=False)
                before = _used(trial)
                if share is None:  # how much it takes
                    child.run(fault.words(trial), task.target(trial))
                    needed = _used(trial) - before
                    continue
                remount(trial, f"size={(before + int(share * needed)) // 4096 * 4}k")
                ended = child.run(fault.words(trial), task.target(trial))
                fault.trials += 1
                fault.one_line(ended.code, ended.said)
                fault.whole(trial)
                remount(trial, f"size={_ROOM_MIB}m")
                fault.go_on(trial)
    except NoMount as error:
        return _skipped(name, error)
    return fault.row()


def read_only(scene: Scene, name: str) -> dict[str, Any]:
    """Nothing may be written where results belong."""
    fault = _Fault(scene, name)
    trial, task = fault.place(), fault.task
    try:
        for whole in (False, True):
            with mounted(trial):
                set_up(scene, task, trial, whole=whole)
                before = checks.files(trial, "**/*.*")
                remount(trial, "ro")
                ended = child.run(fault.words(trial), task.target(trial))
                fault.trials += 1
                fault.one_line(ended.code, ended.said)
                fault.whole(trial)
                fault.losses += checks.differences(before, checks.files(trial, "**/*.*"))
    except NoMount as error:
        return _skipped(name, error)
    return fault.row()


def clock_back(scene: Scene, name: str) -> dict[str, Any]:
    """Files come from the future, for the clock is a month slow when the work is taken up."""
    fault = _Fault(scene, name)
    trial, task = fault.place(), fault.task
    for share in _SHARES:
        set_up(scene, task, trial, whole=False)
        kill = Kill("operation", int(share * fault.operations))
        child.run(fault.words(trial), task.target(trial), kill=kill)
        for path in (path for path in trial.rglob("*") if not path.is_symlink()):
            later = path.stat().st_mtime + _DAYS
            os.utime(path, (later, later))
        fault.trials += 1
        fault.whole(trial)
        fault.go_on(trial, _slow_clock)
        fault.whole(trial)
        shutil.rmtree(trial)
    return fault.row()


def _slow_clock() -> None:
    right = time.time
    time.time = lambda: right() - _DAYS  # type: ignore[assignment]


def two_processes(scene: Scene, name: str) -> dict[str, Any]:
    """A second process gets the same folder while the first is in the middle of its work."""
    from workbench.runs.lock import is_locked

    fault = _Fault(scene, name)
    trial, task = fault.place(), fault.task
    for share in _SHARES:
        set_up(scene, task, trial, whole=False)
        target = task.target(trial)
        stop = Kill("stop", int(share * fault.operations))
        first = child.start(fault.words(trial), target, kill=stop, log="first")
        os.waitpid(first, os.WUNTRACED)
        held = bool(is_locked(target))
        second = child.run(fault.words(trial, again=True), target)
        os.kill(first, signal.SIGCONT)
        code = child.wait(first)
        fault.trials += 1
        if held:
            fault.one_line(second.code, second.said)
            if f"pid {first}" not in second.said:
                fault.losses.append("the second is not told which process writes")
        elif second.code:
            fault.losses.append(f"the second fails: {second.said[-200:]}")
        if code:
            fault.losses.append(f"the first fails: {child.said('first')[-300:]}")
        result = child.call(lambda: task.result(trial))
        fault.losses += checks.differences(fault.expected, result)
        shutil.rmtree(trial)
    fault.lines = [re.sub(r"pid \d+", "pid N", line) for line in fault.lines[-1:]]
    return fault.row()


OTHERS: dict[str, Callable[[Scene, str], dict[str, Any]]] = {
    "disk full": disk_full,
    "read-only folder": read_only,
    "clock set back": clock_back,
    "two processes": two_processes,
}
