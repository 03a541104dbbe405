"""`workbench predict` as a batch: stopped, refused, gone on, started over."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.predicting import draw, pixels_of, told
from helpers.runs import random_run
from PIL import Image

from workbench.inference.manifest import NAME, SEGMENT_LINES, SEGMENTS
from workbench.runs import RunDirectory

Cli = Callable[..., Any]


def test_a_second_call_does_only_what_is_missing(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out, "--rle", "--overlay", "--json")
    first = told(cli(*call))
    segments = (out / SEGMENTS).read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "b.overlay.jpg").unlink()
    draw(photos / "sub" / "a.png", 9)
    with (out / NAME).open("ab") as file:
        file.write(b'{"done": {"stem": "a", "na')  # a kill in the middle of a line
    with (out / SEGMENT_LINES).open("ab") as file:
        file.write(b'{"size": [8, ' + b" " * 100_000)  # and of a long one
    second = told(cli(*call))
    for line in (out / SEGMENT_LINES).read_bytes().splitlines():
        json.loads(line)
    assert second["skipped"] == 1 and second["masks"] == first["masks"]
    changed = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert {path.relative_to(out).as_posix() for path in changed} == {"b.png", "sub/a.png"}
    assert (out / "b.overlay.jpg").is_file()
    assert (out / SEGMENTS).read_bytes() != segments  # another picture, other segments
    assert told(cli(*call))["skipped"] == 3
    # Other pictures join those that are there.
    draw(photos / "c.png", 5)
    assert told(cli("predict", run.path, photos / "c.png", *call[3:]))["skipped"] == 0
    names = [one["file_name"] for one in json.loads((out / SEGMENTS).read_text())["images"]]
    assert names == ["a.png", "b.JPG", "c.png", "sub/a.png"]


def test_what_a_kill_left_half_written_goes(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out, "--json")
    told(cli(*call))
    torn = [out / f".tmp-1-abcdef01-{name}" for name in ("a.topk.npz", SEGMENTS)]
    torn.append(out / "sub" / ".tmp-1-abcdef01-a.png")
    others = [out / ".tmp-1-abcdef01-thesis.png", out / ".tmp-thesis"]
    for path in (*torn, *others):
        path.write_text("half")
    told(cli(*call))
    assert not any(path.exists() for path in torn)
    assert all(path.exists() for path in others)


def test_other_settings_are_told_and_replace_starts_over(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out)
    assert cli(*call, "--top-k", 2).returncode == 0
    (out / "notes.txt").write_text("mine")
    stranger = random_run(tmp_path / "stranger", dim=5)
    for arguments, words in (
        ((*call, "--top-k", 3), "top_k: 2 then, 3 now"),
        ((*call, "--top-k", 2, "--tile", 512), "tile: 1024 then, 512 now"),
        ((*call, "--top-k", 2, "--flip"), "flip: False then, True now"),
        (("predict", stranger.path, *call[2:], "--top-k", 2), "weights: "),
    ):
        done = cli(*arguments)
        assert done.returncode == 2 and words in done.stderr and "--replace" in done.stderr
        assert done.stderr.count("\n") == 1
    values = told(cli(*call, "--replace", "--json"))
    assert values["skipped"] == 0 and (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == sorted(
        ["a.png", "a.png", "b.png", "notes.txt", NAME, ".lock"]
    )


def test_a_moved_run_goes_on(cli: Cli, photos: Path, tmp_path: Path) -> None:
    run = random_run(tmp_path / "first")
    out = tmp_path / "out"
    told(cli("predict", run.path, photos, "--out", out, "--json"))
    run.path.rename(tmp_path / "second")
    assert told(cli("predict", tmp_path / "second", photos, "--out", out, "--json"))["skipped"] == 3


def test_another_picture_of_the_same_name_is_no_change(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", draw(tmp_path / "other" / "a.png", 7)
    told(cli("predict", run.path, photos / "a.png", "--out", out, "--json"))
    before = (out / "a.png").read_bytes()
    done = cli("predict", run.path, other, "--out", out)
    assert done.returncode == 2
    assert f"is the result of {photos / 'a.png'} and would be that of {other}" in done.stderr
    assert (out / "a.png").read_bytes() == before
    # Nor is it the same one for being as large and as old.
    old = photos / "a.bmp"
    Image.fromarray(pixels_of(photos / "a.png")).save(old)
    same = tmp_path / "other" / "a.bmp"
    Image.fromarray(pixels_of(other)).save(same)
    for path in (old, same):
        os.utime(path, (10**9, 10**9))
    assert old.stat().st_size == same.stat().st_size
    twins = tmp_path / "twins"
    told(cli("predict", run.path, old, "--out", twins, "--json"))
    done = cli("predict", run.path, same, "--out", twins)
    assert done.returncode == 2 and f"is the result of {old} and would be" in done.stderr
    (tmp_path / "link").symlink_to(photos)
    linked = tmp_path / "link" / "a.bmp"
    assert told(cli("predict", run.path, linked, "--out", twins, "--json"))["skipped"] == 1
    # A folder that was moved holds the same pictures.
    photos.rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "a.png"
    assert told(cli("predict", run.path, moved, "--out", out, "--json"))["skipped"] == 1


def test_what_was_corrected_by_hand_is_kept(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out)
    told(cli(*call, "--json"))
    first = {name: (out / name).read_bytes() for name in ("a.png", "b.png", "sub/a.png")}
    Image.fromarray(np.full((24, 40), 299, np.uint16)).save(out / "a.png")
    corrected = (out / "a.png").read_bytes()
    os.truncate(out / "b.png", 0)  # as a machine that goes down leaves it
    torn = out / "sub" / "a.png"
    stamp = torn.stat().st_mtime_ns
    os.truncate(torn, 50)
    os.utime(torn, ns=(stamp, stamp))
    values = told(cli(*call, "--json"))
    assert (values["skipped"], values["by_hand"]) == (1, 1) and len(values["masks"]) == 3
    assert (out / "a.png").read_bytes() == corrected
    assert (out / "b.png").read_bytes() == first["b.png"]
    assert torn.read_bytes() == first["sub/a.png"]
    assert "         changed by hand  1 kept\n" in cli(*call).stdout
    # Another picture needs another mask, but the one that is there is work.
    draw(photos / "a.png", 8)
    done = cli(*call)
    assert done.returncode == 2 and f"{out / 'a.png'}: was changed by hand" in done.stderr
    assert (out / "a.png").read_bytes() == corrected
    (out / "a.png").rename(tmp_path / "kept.png")
    values = told(cli(*call, "--json"))
    assert (values["skipped"], values["by_hand"]) == (2, 0)
    (tmp_path / "kept.png").rename(out / "a.png")
    assert told(cli(*call, "--json"))["by_hand"] == 1
    assert told(cli(*call, "--replace", "--json"))["by_hand"] == 0
    assert (out / "a.png").read_bytes() != corrected


def test_files_of_others_among_the_results_stay(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    """Beside a finished picture, of one that failed, and of one that is not yet segmented."""
    out = tmp_path / "out"
    (photos / "torn.jpg").write_bytes(b"torn")
    call = ("predict", run.path, photos, "--out", out)
    told(cli(*call, "--json"), 1)
    others = [out / name for name in ("a.topk.npz", SEGMENTS, SEGMENT_LINES, "notes.png")]
    for path in others:
        path.write_text("mine")
    # The settings make neither likely classes nor segments: all this is in nobody's way.
    assert told(cli(*call, "--json"), 1)["skipped"] == 3
    done = cli(*call, "--replace")
    assert done.returncode == 2 and f"{others[0]}: is there already" in done.stderr
    assert all(path.read_text() == "mine" for path in others) and (out / "a.png").is_file()
    others.pop(0).unlink()
    mask = out / "torn.png"  # drawn by hand, where the picture could not be read
    mask.write_text("mine")
    done = cli(*call, "--replace")
    assert done.returncode == 2 and f"{mask}: is there already" in done.stderr
    draw(photos / "torn.jpg", 4)
    done = cli(*call)
    assert done.returncode == 2 and f"{mask}: is there already" in done.stderr
    mask.rename(tmp_path / "mine.png")
    assert told(cli(*call, "--replace", "--json"))["skipped"] == 0
    assert all(path.read_text() == "mine" for path in others)


def test_what_a_kill_left_begun_is_made_again(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out, "--json")
    told(cli(*call))
    whole = (out / "a.png").read_bytes()
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    lines = [line for line in lines if b'{"done": {"stem": "a"' not in line]
    (out / NAME).write_bytes(b"".join(lines))
    (out / "a.png").write_text("written, but not noted")
    assert told(cli(*call))["skipped"] == 2
    assert (out / "a.png").read_bytes() == whole
    (out / NAME).write_bytes(b"".join(lines))
    assert told(cli(*call, "--replace"))["skipped"] == 0


@pytest.mark.parametrize("name", [SEGMENTS, SEGMENT_LINES])
def test_segments_of_others_are_not_replaced(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    call = ("predict", run.path, photos, "--out", out)
    for flags in (("--rle",), ("--rle", "--replace"), (), ("--rle", "--replace")):
        done = cli(*call, *flags)
        assert done.returncode == (2 if flags else 0)
        assert not flags or f"{out / name}: is there already" in done.stderr
        assert (out / name).read_text() == "mine"
    (out / name).unlink()
    for flags, there in ((("--rle", "--replace"), True), (("--replace",), False)):
        assert cli(*call, *flags).returncode == 0
        assert (out / SEGMENTS).exists() == (out / SEGMENT_LINES).exists() == there


def test_two_processes_take_turns(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    from workbench.runs import lock

    out = tmp_path / "out"
    call = ("predict", run.path, photos, "--out", out, "--json")
    told(cli(*call))
    held = lock.acquire(out)
    try:
        done = cli(*call)
    finally:
        lock.release(held)
    assert done.returncode == 2 and f"{out} is being written by another process" in done.stderr
    assert told(cli(*call))["skipped"] == 3


def test_a_list_of_a_stranger_removes_nothing_outside(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.png"
    mine.write_text("mine")
    out.mkdir()
    head = {"format": "workbench-predict", "version": 1, "settings": {}}
    done = {"path": "/a", "name": "a", "size": 1, "mtime_ns": 1, "classes": []}
    lines: list[Any] = [head, {"done": 3}, 5]
    for stem in ("../mine", str(tmp_path / "mine"), "sub/../../mine", 3):
        lines.append({"begun": stem, "suffixes": [".png"]})
        lines.append({"done": {**done, "stem": stem, "results": {".png": 4}}})
    (out / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    told(cli("predict", run.path, photos, "--out", out, "--replace", "--json"))
    assert mine.read_text() == "mine"
    (out / NAME).write_text("something else\n")
    refused = cli("predict", run.path, photos, "--out", out)
    assert refused.returncode == 2 and f"{NAME}: is no list of predictions" in refused.stderr


def test_a_full_disk_is_one_line_and_what_is_done_stays(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.inference import results

    out, real, calls = tmp_path / "out", results.write_mask, []

    def full(stem: Path, mask: np.ndarray) -> Path:
        calls.append(stem)
        if stem.name == "b":
            raise OSError(errno.ENOSPC, "No space left on device", str(stem))
        return real(stem, mask)

    monkeypatch.setattr(results, "write_mask", full)
    call = ("predict", run.path, photos, "--out", out, "--json")
    done = cli(*call)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {out}: no room is left on the disk")
    monkeypatch.setattr(results, "write_mask", real)
    assert told(cli(*call))["skipped"] in (1, 2)  # the third may have been written, too


def test_a_defect_in_a_thread_is_not_hidden(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.inference import read_ahead, results

    def defect(*_: object) -> None:
        raise ZeroDivisionError

    for module, name in ((results, "write_mask"), (read_ahead, "read_picture")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, defect)
            with pytest.raises(ZeroDivisionError):
                cli("predict", run.path, photos, "--out", tmp_path / name)


def test_running_out_of_memory_costs_one_picture(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.inference import files

    real = files.segment_bands

    def hungry(model: Any, picture: np.ndarray, **options: Any) -> Any:
        if picture.shape[0] == 30:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(model, picture, **options)

    draw(photos / "large.png", size=(30, 40))
    monkeypatch.setattr(files, "segment_bands", hungry)
    values = told(cli("predict", run.path, photos, "--out", tmp_path / "out", "--json"), 1)
    assert len(values["masks"]) == 3
    (line,) = values["failed"]
    assert line.startswith(f"{photos / 'large.png'}: out of memory; try a smaller --tile")


def test_ctrl_c_keeps_what_is_done(run: RunDirectory, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(200):
        draw(photos / f"{number:03d}.png", number, size=(160, 160))
    command = [sys.executable, "-m", "workbench", "predict", str(run.path), str(photos)]
    # What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = subprocess.Popen(
            [*command, "--out", str(out), "--top-k", "3"], stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, ours)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 3 and job.poll() is None:
        assert time.monotonic() < deadline
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 130, said
    assert said.splitlines()[-1] == "stopped" and "Traceback" not in said
    assert not list(out.glob(".tmp-*"))
    lines = [json.loads(line) for line in (out / NAME).read_text().splitlines()]
    done = [line["done"]["stem"] for line in lines if "done" in line]
    assert 0 < len(done) < 200 and done == [f"{number:03d}" for number in range(len(done))]
    assert all((out / f"{stem}.topk.npz").is_file() for stem in done)
