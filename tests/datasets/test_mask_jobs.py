from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workbench.benchmarks.prepare_data import write_root
from workbench.datasets import open_dataset
from workbench.datasets.lvis_coco import LvisCoco, prepare
from workbench.datasets.mask_jobs import available_cores
from workbench.errors import RunError
from workbench.runs import lock

IMAGES = 160


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lvis") / "root"
    write_root(folder, IMAGES, 8)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(root: Path) -> Path:
    return prepare(root, workers=1).out


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.fixture(scope="module")
def killed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that two processes were filling when the one above them got SIGKILL."""
    out = tmp_path_factory.mktemp("killed") / "prepared"
    command = [sys.executable, "-m", "workbench", "prepare", "lvis-coco", str(root)]
    process = subprocess.Popen(
        [*command, "--out", str(out), "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    masks = out / "masks" / "train"
    wait_until(lambda: masks.is_dir() and any(masks.glob("*.png")))
    workers = children(process.pid) if sys.platform == "linux" else []
    process.kill()
    assert process.wait() == -signal.SIGKILL
    if sys.platform == "linux":
        assert len(workers) >= 2
        wait_until(lambda: all(has_ended(pid) for pid in workers))  # nobody waits for ever
    else:
        time.sleep(1)
    return out


def test_after_sigkill_only_what_is_missing_is_made(
    root: Path, killed: Path, uninterrupted: Path
) -> None:
    masks = killed / "masks" / "train"
    whole = sorted(masks.glob("*.png"))
    assert 0 < len(whole) < IMAGES
    times = [path.stat().st_mtime_ns for path in whole]
    assert not (killed / "images_train.parquet").exists()
    (masks / f".{whole[0].name}.12345.tmp").write_bytes(b"half a ma")  # as a kill may leave it
    (killed / ".tmp-12345-0123abcd-prepare.json").write_bytes(b"{")
    report = prepare(root, out=killed, workers=2)
    assert (report.images, report.reused_masks) == (IMAGES, len(whole))
    assert [path.stat().st_mtime_ns for path in whole] == times
    assert sorted(os.listdir(killed)) == sorted(os.listdir(uninterrupted))
    assert sorted(os.listdir(masks)) == sorted(os.listdir(uninterrupted / "masks" / "train"))
    for path in masks.iterdir():
        assert path.read_bytes() == (uninterrupted / "masks" / "train" / path.name).read_bytes()
    for table in ("images_train", "class_counts", "vocabulary"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(killed / f"{table}.parquet"),
            pd.read_parquet(uninterrupted / f"{table}.parquet"),
        )


def test_a_second_process_is_refused_and_changes_nothing(root: Path, uninterrupted: Path) -> None:
    masks = uninterrupted / "masks" / "train"
    unfinished = masks / ".000000000001.png.1.tmp"  # of the first process
    held = lock.acquire(uninterrupted)
    try:
        unfinished.write_bytes(b"half a ma")
        with pytest.raises(RunError, match=r"is being written by another process \(pid \d+\)"):
            prepare(root, out=uninterrupted, workers=1)
        assert unfinished.exists()
    finally:
        unfinished.unlink()
        lock.release(held)


def test_class_lists_are_those_of_the_masks(root: Path, uninterrupted: Path) -> None:
    dataset = open_dataset("lvis-coco", root, "train")
    images = np.zeros(1284, dtype=np.int64)
    for index in range(len(dataset)):
        values = np.unique(np.asarray(Image.open(dataset.mask_path(index))))
        expected = values[values != 65535].tolist()
        found = dataset.classes_in(index)
        assert found.dtype == np.int64
        assert found.tolist() == expected
        images[expected] += 1
    assert images[256:].sum() > 0
    counts = pd.read_parquet(uninterrupted / "class_counts.parquet")
    assert counts.loc[counts["split"] == "train", "images"].tolist() == images.tolist()


def test_legacy_class_lists_are_train_ids(root: Path) -> None:
    prepare(root, workers=1, legacy_remap=True)
    legacy = open_dataset("lvis-coco", root, "train", variant="legacy")
    right = open_dataset("lvis-coco", root, "train")
    assert legacy.mask_path(0) != right.mask_path(0)
    # Without stuff there is nothing that the old remapping could mislabel.
    for index in (0, 7, 159):
        assert legacy.classes_in(index).tolist() == right.classes_in(index).tolist()
        mask = legacy.read_mask(index)
        assert legacy.classes_in(index).tolist() == np.unique(mask[mask >= 0]).tolist()


def test_tables_of_older_versions_have_no_class_lists(
    root: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    del uninterrupted
    older = tmp_path / "older"
    older.mkdir()
    for path in (root / "prepared").iterdir():
        (older / path.name).symlink_to(path)
    (older / "images_train.parquet").unlink()
    table = pd.read_parquet(root / "prepared" / "images_train.parquet")
    table.drop(columns="classes").to_parquet(older / "images_train.parquet")
    dataset = LvisCoco(root, "train", prepared=older)
    assert dataset.classes_in(3).tolist() == table["classes"][3].tolist()


def test_cores_are_those_this_process_may_use() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot bind a process to cores")
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from workbench.datasets.mask_jobs import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert available_cores() == len(os.sched_getaffinity(0))
