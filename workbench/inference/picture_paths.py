"""From what a person types to pictures, and where what is made of each goes."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.datasets.pictures import PICTURE_SUFFIXES
from workbench.errors import DataError

LIST = "-"
"""Stands for the list on standard input."""

UNREAD_SUFFIXES = frozenset(
    {
        *(".heic", ".heif", ".hif", ".jxl", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jxr"),
        *(".psd", ".psb", ".xcf", ".svg", ".eps", ".exr", ".hdr", ".dds", ".pcx", ".qoi"),
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf"),
        *(".rw2", ".raf", ".pef", ".srw", ".raw", ".3fr", ".iiq", ".rwl", ".x3f", ".erf"),
        *(".kdc", ".dcr", ".mrw", ".dcm", ".fits"),
    }
)
"""Pictures of a folder that are left out, in lower case: people would look for their masks."""

_MAGIC = frozenset("*?[")


_NO_FILE = "not a file, but a pipe, a socket or a device"


class Picture(NamedTuple):
    """A picture to segment.

    Attributes:
        path: The file.
        stem: Where its results go: a path below the folder for results, without suffix, with
            "/" on every system.
    """

    path: Path
    stem: str

    @property
    def name(self) -> str:
        """Its own name in a list of results: the stem with the picture's suffix."""
        return self.stem + self.path.suffix


class Found(NamedTuple):
    """What was found.

    Attributes:
        pictures: No picture twice, no stem twice.
        missing: A line for each file of a list that is not there, each folder that may not be
            read, and each pipe or device that is called like a picture.
        unread: How many files of kinds that are not read were passed over, by the suffix.
    """

    pictures: list[Picture]
    missing: list[str]
    unread: Mapping[str, int] = {}


def unread_line(unread: Mapping[str, int]) -> str:
    """Files that were passed over, for people."""
    count = sum(unread.values())
    what = "1 file of a kind that is" if count == 1 else f"{count} files of kinds that are"
    return f"{what} not read: " + ", ".join(f"{kind} {n}" for kind, n in sorted(unread.items()))


def is_below(stem: object) -> bool:
    """Whether a stem is a path that stays below the folder for results."""
    if not isinstance(stem, str) or "\0" in stem:
        return False
    return all(part not in ("", ".", "..") for part in stem.split("/"))


def as_text(name: Path | str) -> str:
    """A file's name for people and JSON: bytes that are no text are written out."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def find_pictures(
    words: Sequence[str], out: Path, *, listed: Iterable[str] = (), own: Collection[str] = ()
) -> Found:
    """Finds pictures.

    Args:
        words: Files, folders (sub-folders are mirrored in the results), patterns with ``*``,
            ``?``, ``[...]`` and ``**``, and "-" for the list.
        out: Folder for results. What lies below it is none of the pictures of a folder or
            pattern around it.
        listed: Lines of the list, a file or folder each; empty ones do not count.
        own: Results that lie in ``out`` from before, by their paths there: no pictures.

    Raises:
        DataError: A file is missing, a word gives no picture, results would not lie below
            ``out``, or two pictures would have the same ones.
    """
    search = _Search(out, own)
    for word in words:
        before = len(search.found)
        if word == LIST:
            for line in listed:
                if line.strip():
                    search.add_listed(Path(line.rstrip("\r\n")))
            if len(search.found) == before and not search.missing:
                raise DataError("-: the list on standard input names no picture")
            continue
        search.add_word(word)
    return Found(_told_apart(search.found), search.missing, search.unread())


class _Search:
    """Collects pictures."""

    def __init__(self, out: Path, own: Collection[str]) -> None:
        self.out = Path(os.path.realpath(out))
        self.own = {str(self.out / name) for name in own}
        self.found: list[Picture] = []
        self.missing: list[str] = []
        self._unread: set[Path] = set()

    def unread(self) -> dict[str, int]:
        """Files of kinds that are not read, by the suffix."""
        return dict(Counter(path.suffix.lower() for path in self._unread))

    def add_listed(self, path: Path) -> None:
        """Takes a file or folder; what is missing does not keep the rest of a list back."""
        if os.path.isdir(path):
            self._add_below(path, self._walk(path))
        elif os.path.isfile(path):
            self.found.append(Picture(path, path.stem))
        else:
            self.missing.append(f"{path}: {_NO_FILE if path.exists() else 'no such picture'}")

    def add_word(self, word: str) -> None:
        """Takes a file, a folder or a pattern."""
        path, before = Path(word), len(self.found) + len(self.missing)
        if os.path.isfile(path):  # also one whose name looks like a pattern
            self.found.append(Picture(path, path.stem))
            return
        if os.path.isdir(path):
            self._add_below(path, self._walk(path))
        elif _MAGIC.intersection(word):
            fixed = [part for part in _before_magic(path)]
            matches = (Path(name) for name in sorted(glob.iglob(word, recursive=True)))
            self._add_below(Path(*fixed), matches)
        else:
            raise DataError(f"{word}: {_NO_FILE if path.exists() else 'no such picture or folder'}")
        if len(self.found) + len(self.missing) == before:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            passed = f"; {unread_line(self.unread())}" if self._unread else ""
            raise DataError(f"{word}: no picture there (a name ends in one of {kinds}){passed}")

    def _walk(self, folder: Path) -> Iterator[Path]:
        def note(error: OSError) -> None:
            self.missing.append(f"{error.filename}: {error.strerror}; its pictures are left out")

        for place, folders, names in os.walk(folder, onerror=note):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))

    def _add_below(self, base: Path, paths: Iterable[Path]) -> None:
        root = Path(os.path.realpath(base))
        within = self.out != root and self.out.is_relative_to(root)
        for path in paths:
            suffix = path.suffix.lower()
            if suffix not in PICTURE_SUFFIXES | UNREAD_SUFFIXES or os.path.isdir(path):
                continue
            # A pattern may go up and down again.
            relative = Path(os.path.normpath(path.relative_to(base)))
            place = root / relative
            if (within and place.is_relative_to(self.out)) or str(place) in self.own:
                continue
            if suffix in UNREAD_SUFFIXES:
                self._unread.add(place)
            elif os.path.isfile(path) or not os.path.exists(path):  # reading tells what is wrong
                self.found.append(Picture(path, relative.as_posix().removesuffix(path.suffix)))
            else:
                self.missing.append(f"{path}: {_NO_FILE}")


def _before_magic(pattern: Path) -> Iterator[str]:
    for part in pattern.parts:
        if _MAGIC.intersection(part):
            return
        yield part


def _told_apart(pictures: Iterable[Picture]) -> list[Picture]:
    """Each file once; an error where two files share a stem, or one leads out of the results."""
    files: set[str] = set()
    stems: dict[str, Path] = {}
    kept = []
    for picture in pictures:
        file = os.path.realpath(picture.path)
        if file in files:
            continue
        files.add(file)
        if not is_below(picture.stem):
            raise DataError(
                f"{picture.path}: its results would be called {picture.stem!r} and not lie below "
                "--out; give its folder, without '..' after a '*'"
            )
        if picture.stem in stems:
            raise DataError(
                f"{stems[picture.stem]} and {picture.path}: both would be called "
                f"{picture.stem!r} in the results; give the folder they are both in, or predict "
                "them apart"
            )
        stems[picture.stem] = picture.path
        kept.append(picture)
    return kept
