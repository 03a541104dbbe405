"""Runs that appear whole or never, beside others that are being made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.runs import RunDirectory, lock
from workbench.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def leave(root: Path, name: str, process: int, token: str = "0a1b2c3d") -> Path:
    """What a writer of the run `name` that was stopped in the middle leaves."""
    left = root / f".tmp-{process}-{token}-{name}"
    (left / "evaluation").mkdir(parents=True)
    return left


def make(path: Path, vocabulary: Vocabulary) -> None:
    with RunDirectory.create_whole(path, config={}, vocabulary=vocabulary):
        pass
    assert RunDirectory.open(path).config() == {}


@pytest.mark.parametrize("name", ["b", "a-b", "run[1]", "what?", "*", "0a1b2c3d-b"])
def test_only_the_same_names_leftover_is_removed(
    tmp_path: Path, vocabulary: Vocabulary, dead: int, name: str
) -> None:
    names = ["b", "a-b", "run[1]", "run1", "what?", "whats", "*", "0a1b2c3d-b"]
    left = {other: leave(tmp_path, other, dead) for other in names}
    make(tmp_path / name, vocabulary)
    assert {other for other, path in left.items() if not path.exists()} == {name}


def test_what_a_living_process_is_making_stays(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """Also in the moment in which it has the folder, and not yet the lock."""
    left = leave(tmp_path, "r", os.getpid())
    make(tmp_path / "r", vocabulary)
    assert left.is_dir()


def test_what_is_locked_stays(tmp_path: Path, vocabulary: Vocabulary, dead: int) -> None:
    """Processes of another machine are not among those of this one."""
    left = leave(tmp_path, "r", dead)
    descriptor = lock.acquire(left)
    try:
        make(tmp_path / "r", vocabulary)
    finally:
        lock.release(descriptor)
    assert left.is_dir()


def test_files_of_the_users_own_stay(tmp_path: Path, vocabulary: Vocabulary, dead: int) -> None:
    mine = [tmp_path / f".tmp-{dead}-r", tmp_path / ".tmp-old-0a1b2c3d-r", tmp_path / ".tmp-r"]
    for path in mine:
        path.mkdir()
    make(tmp_path / "r", vocabulary)
    assert all(path.is_dir() for path in mine)


def test_the_run_is_locked_until_it_has_its_name(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool | None] = []
    replace = os.replace

    def watch(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "r":
            seen.append(lock.is_locked(Path(source)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    make(tmp_path / "r", vocabulary)
    assert seen == [True]
    assert lock.is_locked(tmp_path / "r") is False


def test_a_failed_one_leaves_nothing(tmp_path: Path, vocabulary: Vocabulary) -> None:
    creating = RunDirectory.create_whole(tmp_path / "r", config={}, vocabulary=vocabulary)
    with pytest.raises(KeyError), creating:
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_appeared_meanwhile_is_not_replaced(
    tmp_path: Path, vocabulary: Vocabulary
) -> None:
    creating = RunDirectory.create_whole(tmp_path / "r", config={"a": 1}, vocabulary=vocabulary)
    with pytest.raises(RunError, match="is there already"), creating:
        RunDirectory.create(tmp_path / "r", config={"a": 2}, vocabulary=vocabulary)
    assert RunDirectory.open(tmp_path / "r").config() == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
