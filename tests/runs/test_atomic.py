from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.runs import atomic


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    atomic.write_text(target, "old")
    with pytest.raises(RuntimeError), atomic.atomic_file(target) as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("lend", [atomic.atomic_file, atomic.atomic_directory])
def test_a_full_disk_says_which_file_had_no_room(tmp_path: Path, lend: Any) -> None:
    """The system names the file that cannot be opened, but not the one that cannot grow."""
    with pytest.raises(OSError, match="No space left") as caught, lend(tmp_path / "mine"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "mine")
    with pytest.raises(OSError) as caught, lend(tmp_path / "mine"):
        raise OSError(errno.EROFS, "Read-only file system", "another")
    assert caught.value.filename == "another"
    with pytest.raises(OSError, match="cannot identify") as caught, lend(tmp_path / "mine"):
        raise OSError("cannot identify image file")  # Pillow's: not of the system
    assert caught.value.filename is None
    assert os.listdir(tmp_path) == []


def test_a_failing_writer_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic.atomic_directory(target) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic.atomic_directory(target) as temporary:
        (temporary / "a").write_text("new")
        raise RuntimeError
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic.atomic_directory(target) as temporary:
        (temporary / "a").write_text("old")
    with atomic.atomic_directory(target) as temporary:
        (temporary / "b").write_text("new")
    assert os.listdir(target) == ["b"]
    assert os.listdir(tmp_path) == ["folder"]


def test_the_file_is_complete_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b))[1])
    atomic.write_json(tmp_path / "a.json", {})
    assert order[:2] == ["sync", "rename"]
    order.clear()
    with atomic.atomic_directory(tmp_path / "folder") as temporary:
        (temporary / "model").write_bytes(b"x")
    # the file, the folder, then the rename
    assert order[:3] == ["sync", "sync", "rename"]


def test_a_killed_writer_leaves_only_what_readers_ignore(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from workbench.runs import atomic
        root = Path(sys.argv[1])
        with atomic.atomic_directory(root / "folder") as folder:
            (folder / "half").write_text("half")
            with atomic.atomic_file(root / "file") as file:
                file.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    names = os.listdir(tmp_path)
    assert len(names) == 2
    assert all(name.startswith(".tmp-") for name in names)
    assert atomic.remove_leftovers(tmp_path) == 2
    assert os.listdir(tmp_path) == []


def test_files_get_the_permissions_the_user_has_set(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        atomic.write_bytes(tmp_path / "file", b"")
        with atomic.atomic_directory(tmp_path / "folder"):
            pass
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


def test_json_is_strict_and_plain(tmp_path: Path) -> None:
    value = {
        "nan": float("nan"),
        "inf": np.float32("inf"),
        "id": np.int64(1283),
        "many": np.array([1.5, np.nan]),
        "pair": (1, "é"),
        5: True,
    }
    atomic.write_json(tmp_path / "a.json", value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads((tmp_path / "a.json").read_text("utf-8"), parse_constant=refuse)
    assert read == {
        "nan": None,
        "inf": None,
        "id": 1283,
        "many": [1.5, None],
        "pair": [1, "é"],
        "5": True,
    }


def test_parquet_round_trip(tmp_path: Path) -> None:
    frame = pd.DataFrame({"class_id": [1283], "iou": [np.nan], "name": ["é"]}, index=[7])
    atomic.write_parquet(tmp_path / "new" / "a.parquet", frame)
    read = pd.read_parquet(tmp_path / "new" / "a.parquet")
    pd.testing.assert_frame_equal(read, frame.reset_index(drop=True))
