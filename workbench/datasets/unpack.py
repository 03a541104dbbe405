"""Unpacks an archive that may be damaged or hostile, whole or not at all."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

from workbench.errors import DataError, first_line
from workbench.progress import progress
from workbench.runs.atomic import TEMPORARY_PREFIX

UNPACKING: Final = f"{TEMPORARY_PREFIX}unpack-"
"""First characters of the folder that an archive is unpacked into before it is whole."""
MAX_BYTES: Final = 100_000_000_000
MAX_FILES: Final = 1_000_000
MAX_RATIO: Final = 100
"""Unpacked bytes per packed byte; photos and label images stay below 20."""
_RATIO_FLOOR: Final = 16_000_000
"""Unpacked bytes below which no ratio is suspicious."""
_CHUNK: Final = 1 << 20
_DAMAGE: Final = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(EOFError, NotImplementedError, UnicodeDecodeError),
)
"""What the readers raise on archives that are cut, damaged or packed in a way they do not know."""


class BadArchiveError(DataError):
    """The archive itself is at fault: damaged, hostile, or beyond the limits."""


class _Member(NamedTuple):
    name: str
    """As the archive has it."""
    size: int
    """Declared bytes."""
    is_folder: bool
    fault: str
    """Why its kind is refused, "" where it is a plain file or folder."""
    read: Callable[[], IO[bytes]]


def unpack(
    archive: Path | str,
    out: Path | str,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    nested: Sequence[str] = (),
) -> int:
    """Unpacks a .zip, .tar, .tar.gz or .tgz.

    Nothing but plain files and folders with names inside ``out`` is accepted, and of these only
    the bytes are taken: no owner, mode, time or link. Everything goes into a temporary folder in
    ``out`` first and is moved into place when the whole archive was read, so that a refused one
    leaves nothing behind and a killed call can be repeated. Files of the same name are replaced;
    others in ``out`` stay.

    Args:
        archive: The file.
        out: Folder to unpack into, made if it is missing.
        max_bytes: Most bytes to write.
        max_files: Most files to write.
        nested: Archives within the archive, by name, to unpack where they lie and delete.

    Returns:
        Number of files written.

    Raises:
        BadArchiveError: The archive is damaged, hostile or beyond a limit.
        DataError: ``out`` cannot be written, or has a folder where the archive has a file.
    """
    archive, out = Path(archive), Path(out)
    if not archive.is_file():
        raise BadArchiveError(f"{archive}: the file is missing; download it")
    temporary = out / f"{UNPACKING}{archive.name}"
    try:
        if temporary.exists():  # of a call that was killed
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        count = _extract(archive, temporary, _Plan(archive, max_bytes, max_files))
        for name in nested:
            inner = temporary / name
            if not inner.is_file():
                raise BadArchiveError(
                    f"{archive}: {name} is not in it; get the archive that the dataset's page names"
                )
            count += unpack(inner, inner.parent, max_bytes=max_bytes, max_files=max_files) - 1
            inner.unlink()
        _merge(temporary, out)
    except OSError as error:
        place = error.filename2 or error.filename or out
        raise DataError(
            f"{place}: cannot be written while unpacking {archive.name} ({error.strerror}); "
            "make room or move it away, and run the command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


@dataclass
class _Plan:
    """Checks members one by one and keeps where each goes."""

    archive: Path
    max_bytes: int
    max_files: int
    files: dict[tuple[str, ...], _Member] = field(default_factory=dict)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    bytes: int = 0

    def __post_init__(self) -> None:
        self.packed = self.archive.stat().st_size

    def add(self, member: _Member) -> None:
        """Takes a member into the plan.

        Raises:
            BadArchiveError: It must not be unpacked.
        """
        parts = self._inside(member.name)
        if member.fault:
            raise self.refuse(member.name, member.fault)
        if not parts and not member.is_folder:
            raise self.refuse(member.name, "has no name")
        if parts and (parts[0] == "__MACOSX" or parts[-1] == ".DS_Store"):
            return  # what the Finder of macOS adds
        above = {parts[:depth] for depth in range(1, len(parts))}
        if parts in self.files or (not member.is_folder and parts in self.folders):
            raise self.refuse(member.name, "is in it twice")
        if not above.isdisjoint(self.files):
            raise self.refuse(member.name, "lies in what is a file")
        self.folders |= above
        if member.is_folder:
            self.folders.add(parts)
            return
        self.files[parts] = member
        self.bytes += member.size
        if len(self.files) > self.max_files:
            raise self.refuse(member.name, f"is beyond the limit of {self.max_files} files")
        if self.bytes > self.max_bytes:
            raise self.refuse(
                member.name, f"goes beyond the limit of {self.max_bytes / 1e9:.3g} GB unpacked"
            )
        if self.bytes > max(_RATIO_FLOOR, MAX_RATIO * self.packed):
            raise self.refuse(member.name, f"unpacks to more than {MAX_RATIO} times the archive")

    def refuse(self, name: str, fault: str) -> BadArchiveError:
        """An error that names archive and member."""
        return BadArchiveError(
            f"{self.archive}: {name[:200]!r} {fault}, which is not safe to unpack; "
            "get the archive from its publisher again"
        )

    def _inside(self, name: str) -> tuple[str, ...]:
        """A name's parts, without empty ones and "."."""
        if "\\" in name or "\0" in name:
            raise self.refuse(name, "has a backslash or a null character in its name")
        if name.startswith("/") or re.match("[A-Za-z]:", name):
            raise self.refuse(name, "is an absolute path")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in parts:
            raise self.refuse(name, "leads out of the folder with '..'")
        return parts


def _extract(archive: Path, target: Path, plan: _Plan) -> int:
    """Writes an archive's files below an empty folder, and returns how many."""
    with _opened(archive) as members:
        with _reading(archive):
            for member in members:
                plan.add(member)
        for parts in plan.folders:
            target.joinpath(*parts).mkdir(parents=True, exist_ok=True)
        description = f"unpack {archive.name}"
        for parts, member in progress(plan.files.items(), description=description, unit="file"):
            written = 0
            with target.joinpath(*parts).open("xb") as sink:
                for piece in _pieces(archive, member):
                    written += len(piece)
                    if written > member.size:
                        break
                    sink.write(piece)
            if written != member.size:
                raise plan.refuse(member.name, "is not of the size that is declared")
    return len(plan.files)


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Member]]:
    """Lends an archive's members; tar's come as they are read, before what follows them."""
    with ExitStack() as stack:
        with _reading(archive):
            if archive.name.endswith(".zip"):
                members = _zip_members(stack.enter_context(zipfile.ZipFile(archive)))
            elif archive.name.endswith((".tar", ".tar.gz", ".tgz")):
                mode: Literal["r:", "r:gz"] = "r:" if archive.suffix == ".tar" else "r:gz"
                members = _tar_members(stack.enter_context(tarfile.open(archive, mode)))
            else:
                raise BadArchiveError(
                    f"{archive}: is no .zip, .tar, .tar.gz or .tgz; unpack it by hand"
                )
        yield members


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turns what goes wrong while an archive is read into one kind of error."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        reason = first_line(error)
        raise BadArchiveError(
            f"{archive}: is damaged or cut short ({reason}); delete it and download it again"
        ) from error


def _pieces(archive: Path, member: _Member) -> Iterator[bytes]:
    with _reading(archive), member.read() as source:
        while piece := source.read(_CHUNK):
            yield piece


def _zip_members(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        yield _zip_member(file, info)


def _tar_members(file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        yield _tar_member(file, info)
    assert file.fileobj is not None  # it is open
    file.fileobj.read(_CHUNK)  # up to the end, where gzip has the checksum


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    fault = ""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a symbolic link" if kind == stat.S_IFLNK else "is a device or a pipe"
    elif info.flag_bits & 1:
        fault = "is encrypted"
    # filename ends at a null character; orig_filename is what the archive really says.
    name = info.orig_filename
    return _Member(name, info.file_size, name.endswith("/"), fault, lambda: file.open(info))


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    fault = ""
    if info.issym():
        fault = "is a symbolic link"
    elif info.islnk():
        fault = "is a hard link"
    elif not (info.isreg() or info.isdir()):
        fault = "is a device or a pipe"

    def read() -> IO[bytes]:
        content = file.extractfile(info)
        assert content is not None  # it is a plain file
        return content

    return _Member(info.name, info.size, info.isdir(), fault, read)


def _merge(source: Path, target: Path) -> None:
    """Moves what is in one folder into another; folders that both have are merged."""
    with os.scandir(source) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            place = target / entry.name
            if entry.is_dir(follow_symlinks=False) and place.is_dir():
                _merge(Path(entry.path), place)
            else:
                os.replace(entry.path, place)
