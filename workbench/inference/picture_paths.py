"""From what a person types to pictures, and where what is made of each goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.datasets.pictures import PICTURE_SUFFIXES
from workbench.errors import DataError

LIST = "-"
"""Stands for the list on standard input."""

_MAGIC = frozenset("*?[")


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
        missing: A line for each file of a list that is not there, and each folder that may
            not be read.
    """

    pictures: list[Picture]
    missing: list[str]


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
        DataError: A file is missing, a word gives no picture, or two pictures would have the
            same results.
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
    return Found(_told_apart(search.found), search.missing)


class _Search:
    """Collects pictures."""

    def __init__(self, out: Path, own: Collection[str]) -> None:
        self.out = Path(os.path.realpath(out))
        self.own = {str(self.out / name) for name in own}
        self.found: list[Picture] = []
        self.missing: list[str] = []

    def add_listed(self, path: Path) -> None:
        """Takes a file or folder; what is missing does not keep the rest of a list back."""
        if os.path.isdir(path):
            self._add_below(path, self._walk(path))
        elif os.path.isfile(path):
            self.found.append(Picture(path, path.stem))
        else:
            self.missing.append(f"{path}: no such picture")

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
            self._add_below(Path(*fixed), (path for path in matches if os.path.isfile(path)))
        else:
            raise DataError(f"{word}: no such picture or folder")
        if len(self.found) + len(self.missing) == before:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            raise DataError(f"{word}: no picture there (a name ends in one of {kinds})")

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
            if path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            relative = path.relative_to(base)
            place = root / relative
            if (within and place.is_relative_to(self.out)) or str(place) in self.own:
                continue
            self.found.append(Picture(path, relative.with_suffix("").as_posix()))


def _before_magic(pattern: Path) -> Iterator[str]:
    for part in pattern.parts:
        if _MAGIC.intersection(part):
            return
        yield part


def _told_apart(pictures: Iterable[Picture]) -> list[Picture]:
    """Each file once; an error where two files share a stem."""
    files: set[str] = set()
    stems: dict[str, Path] = {}
    kept = []
    for picture in pictures:
        file = os.path.realpath(picture.path)
        if file in files:
            continue
        files.add(file)
        if picture.stem in stems:
            raise DataError(
                f"{stems[picture.stem]} and {picture.path}: both would be called "
                f"{picture.stem!r} in the results; give the folder they are both in, or predict "
                "them apart"
            )
        stems[picture.stem] = picture.path
        kept.append(picture)
    return kept
