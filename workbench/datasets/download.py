"""Downloads a dataset's archives and unpacks them; a call that was stopped is taken up again."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypedDict

import pooch

from workbench.datasets import DATASETS, get_dataset
from workbench.datasets.archives import INSTEAD, SOURCES, Archive, Source
from workbench.datasets.fetch import ResumingDownloader
from workbench.datasets.unpack import UNPACKING, BadArchiveError, unpack
from workbench.errors import ConfigError, DataError, RunError
from workbench.progress import say
from workbench.runs.atomic import write_json
from workbench.runs.lock import LOCK_FILE, acquire, release

NOTE: Final = "downloads.json"
"""File in the root that says which archives are finished."""
FOLDER: Final = "downloads"
"""Folder in the root for archives and what is there of them."""
_SLACK: Final = 3
"""An archive may unpack to so many times of what it is known to need."""


class _Finished(TypedDict):
    """An archive that was fetched and checked."""

    size: int
    hash: str
    files: list[int]
    """Of each of its contents, how many there were when it was unpacked; empty before."""
    kept: bool


def download_dataset(key: str, root: Path | str, *, keep_archives: bool = False) -> dict[str, Any]:
    """Downloads and unpacks a dataset; does only what is not done yet.

    An archive that lies in the root already, put there by hand, is checked and used, and is not
    deleted. Sets that share archives may share a root.

    Args:
        key: Registry key, for instance "ade20k".
        root: Folder for the dataset; its official folders are made inside.
        keep_archives: Keep the archives in ``root/downloads``.

    Returns:
        Plain values: ``dataset``, ``root``, ``result`` (a sentence), ``downloaded`` and
        ``unpacked`` (names of archives), ``next`` (a command) and ``hint`` where there is one.

    Raises:
        ConfigError: The key is unknown, or there is nothing to download for it.
        DataError: The disk has no room, a download failed or is not what was published, an
            archive has to be downloaded by hand, or another process is at work.
    """
    if key not in SOURCES:
        if key not in DATASETS:
            get_dataset(key)  # raises with the list of all
        own = f"{key}: no source of it is known; put its files there yourself"
        raise ConfigError(INSTEAD.get(key, own))
    root = Path(root).expanduser()
    source = SOURCES[key]
    with _locked(_above(root, source.top)) as base:
        job = _Job(key, source, base, keep_archives)
        job.run()
    done = len(job.downloaded) + len(job.unpacked)
    values = {
        "dataset": key,
        "root": str(root),
        "result": "complete" if done else "nothing to do, everything is there",
        "downloaded": job.downloaded,
        "unpacked": job.unpacked,
        "next": f"{source.after} {key} {shlex.quote(str(root))}",
    }
    return values | ({"hint": source.hint} if source.hint and source.archives[0].url else {})


def _above(root: Path, top: str) -> Path:
    """The folder that archives with a top folder unpack into, given that one or its parent."""
    parts = PurePosixPath(top).parts
    for depth in range(len(parts), 0, -1):
        if root.parts[-depth:] == parts[:depth]:
            return root.parents[depth - 1]
    return root


@contextmanager
def _locked(base: Path) -> Iterator[Path]:
    """Makes the root and its folder for downloads, for one process at a time."""
    folder = base / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = acquire(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made ({error.strerror}); choose a folder you can write to"
        ) from error
    except RunError as error:
        what = str(error).partition(";")[0]
        raise DataError(f"{what}; wait until it is free or choose another folder") from error
    try:
        yield base
    finally:
        if all(path.name == LOCK_FILE for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
        release(lock)


@dataclass
class _Job:
    """One call of ``download_dataset``."""

    key: str
    source: Source
    base: Path
    keep: bool
    downloaded: list[str] = field(default_factory=list)
    unpacked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.base / FOLDER
        self.finished = self._read_note()

    def run(self) -> None:
        """Fetches and unpacks what is not there, one archive after the other."""
        for leftover in self.base.glob(f"{UNPACKING}*"):
            shutil.rmtree(leftover)
        self._delete_used()
        pending = [archive for archive in self.source.archives if not self._is_done(archive)]
        missing = [archive for archive in pending if not archive.url and not self._by_hand(archive)]
        pending = [archive for archive in pending if archive not in missing]
        if pending:
            self._check_room(pending)
        for archive in pending:
            if self._by_hand(archive):
                path = self.base / archive.name
                self._check(path, archive)
            else:
                path = self._fetch(archive)
            self._unpack(path, archive)
        if missing:
            names = " and ".join(f"{item.name} ({item.size / 1e9:.1f} GB)" for item in missing)
            found = [item.name for item in self.source.archives if item not in missing]
            raise DataError(
                f"{self.base}: missing {names} (found: {', '.join(found) or 'none'}); "
                f"{self.source.hint}, download what is missing into this folder and run the "
                "command again"
            )

    def _by_hand(self, archive: Archive) -> bool:
        return (self.base / archive.name).is_file()

    def _is_done(self, archive: Archive) -> bool:
        """As complete as it was when we unpacked it, or as it was published."""
        wanted = [content.files for content in archive.content]
        entry = self.finished.get(archive.name)
        if entry is not None and len(entry["files"]) == len(wanted):
            wanted = entry["files"]
        return all(there >= want for there, want in zip(self._files(archive), wanted, strict=True))

    def _files(self, archive: Archive) -> list[int]:
        """How many files of each of an archive's contents are there."""
        return [
            max(sum(1 for _ in self.base.glob(place)) for place in content.places)
            for content in archive.content
        ]

    def _check_room(self, pending: list[Archive]) -> None:
        """Says how much there is to do, and refuses to begin what the disk cannot hold."""
        fetched = used = peak = 0
        for archive in pending:
            size = 0 if self._by_hand(archive) else self._missing_of(archive)
            fetched += size
            peak = max(peak, used + size + archive.unpacked)
            used += archive.unpacked + (size if self.keep else 0)
        free = shutil.disk_usage(self.base).free
        say(
            f"{self.key}: {fetched / 1e9:.1f} GB to download; archives and files need up to "
            f"{peak / 1e9:.1f} GB of disk, {free / 1e9:.1f} GB are free; to unpack: "
            f"{', '.join(archive.name for archive in pending)}"
        )
        if peak > free:
            raise DataError(
                f"{self.base}: {self.key} needs {peak / 1e9:.1f} GB for archives and files, but "
                f"only {free / 1e9:.1f} GB are free; make room or choose another folder"
            )

    def _missing_of(self, archive: Archive) -> int:
        """Bytes of an archive that are still to be downloaded."""
        files = (self.folder / name for name in (archive.name, f"{archive.name}.part"))
        return max(archive.size - sum(file.stat().st_size for file in files if file.is_file()), 0)

    def _fetch(self, archive: Archive) -> Path:
        """Downloads an archive, or what is missing of it, and checks it."""
        size = archive.size if archive.hash else None
        downloader = ResumingDownloader(self.folder / f"{archive.name}.part", size)
        fetched_before = (self.folder / archive.name).is_file()
        pooch.get_logger().setLevel("WARNING")  # our bar says what is going on
        try:
            path = Path(
                pooch.retrieve(
                    archive.url,
                    known_hash=archive.hash,
                    fname=archive.name,
                    path=self.folder,
                    downloader=downloader,
                )
            )
        except ValueError as error:  # how pooch reports a wrong hash; it deleted the file
            downloader.forget()
            raise DataError(f"{archive.url}: {error} Run the command again.") from error
        downloader.forget()
        if not fetched_before:
            self.downloaded.append(archive.name)
        self._note(archive, path, [])
        return path

    def _check(self, path: Path, archive: Archive) -> None:
        """Compares an archive that was put there by hand with the published one."""
        if archive.hash is not None:
            say(f"checking {path}")
            algorithm, expected = archive.hash.split(":")
            got = pooch.file_hash(str(path), alg=algorithm)
            if got != expected:
                raise DataError(
                    f"{path}: is not the published archive, or not all of it: expected "
                    f"{archive.hash}, got {algorithm}:{got}; delete it and run the command again"
                )

    def _unpack(self, path: Path, archive: Archive) -> None:
        try:
            unpack(path, self.base, max_bytes=_SLACK * archive.unpacked, nested=archive.nested)
        except BadArchiveError:
            if path.parent == self.folder and archive.hash is None:
                path.unlink()  # else the next call would take it for a finished download
            raise
        files = self._files(archive)
        if not all(files):
            places = ", ".join(content.places[0] for content in archive.content)
            raise DataError(
                f"{path}: the archive does not hold {places}; get the one that the dataset's page "
                "names"
            )
        self.unpacked.append(archive.name)
        self._note(archive, path, files)
        self._delete_used()

    def _note(self, archive: Archive, path: Path, files: list[int]) -> None:
        before = self.finished.get(archive.name)
        known = archive.hash or (before["hash"] if before is not None else "")
        self.finished[archive.name] = _Finished(
            size=path.stat().st_size,
            hash=known or f"sha256:{pooch.file_hash(str(path))}",
            files=files,
            kept=self.keep,
        )
        write_json(self.base / NOTE, {"archives": self.finished})

    def _delete_used(self) -> None:
        """Deletes our archives that are unpacked, also those that a killed call left."""
        for name, entry in self.finished.items():
            if entry["files"] and not entry["kept"]:
                (self.folder / name).unlink(missing_ok=True)

    def _read_note(self) -> dict[str, _Finished]:
        try:
            archives = json.loads((self.base / NOTE).read_text(encoding="utf-8"))["archives"]
            return {
                str(name): _Finished(
                    size=int(entry["size"]),
                    hash=str(entry["hash"]),
                    files=[int(count) for count in entry["files"]],
                    kept=bool(entry["kept"]),
                )
                for name, entry in archives.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.base / NOTE}: cannot be read; delete it and run the command again"
            ) from error
