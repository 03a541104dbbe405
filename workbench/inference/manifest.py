"""What a batch of predictions has done: a list in the folder of its results, to go on from.

JSON lines, only ever added to. The first says what the results depend on; then come two for
every picture: one reaches the disk before anything of the picture is written, so that nothing
else in the folder is ever taken for a result, and one tells that it is done. A last line that a
killed process left torn does not count.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

from workbench.errors import DataError
from workbench.inference.picture_paths import is_below
from workbench.runs import lock
from workbench.runs.atomic import TEMPORARY_PREFIX

NAME: Final = "predict.jsonl"
SEGMENTS: Final = "segments.json"
SEGMENT_LINES: Final = "segments.jsonl"
SOURCE: Final = "run"
"""The setting that only says where a model came from: it may be moved or renamed."""
RLE: Final = "rle"
"""The setting that says whether the batch makes the two files of segments."""
RESULT_SUFFIXES: Final = (".png", ".tiff", ".overlay.jpg", ".overlay.png", ".topk.npz")
"""What may be made of a picture."""

_FORMAT: Final = "workbench-predict"
_VERSION: Final = 1
_TEMPORARY: Final = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}\d+-[0-9a-f]{{8}}-(.+)", re.DOTALL)


class Done(NamedTuple):
    """A picture that is segmented.

    Attributes:
        stem: Of its results.
        path: The picture's file, absolute.
        name: In lists of results.
        size: Bytes of the picture's file.
        mtime_ns: When it was last changed.
        results: Bytes of each file made of it, by the suffix.
        classes: Ids that occur.
        segments: Where its line of segments begins, and how long it is; None without.
        stamps: When each file made of it was written, by the suffix.
    """

    stem: str
    path: str
    name: str
    size: int
    mtime_ns: int
    results: dict[str, int]
    classes: Sequence[int]
    segments: tuple[int, int] | None = None
    stamps: Mapping[str, int] = {}


class Manifest:
    """The list of a folder, held by one process at a time.

    Attributes:
        out: The folder.
        begun: Suffixes that may have been written, by the stems that are not finished.
        done: What is finished, by stem.
    """

    def __init__(self, out: Path) -> None:
        """Names the folder; nothing is read or made yet."""
        self.out = out
        self.begun: dict[str, tuple[str, ...]] = {}
        self.done: dict[str, Done] = {}
        self._settings: dict[str, Any] | None = None
        self._lock: int | None = None
        self._file: int | None = None
        self._segments: BinaryIO | None = None
        self._length = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.out / NAME

    def read(self) -> Self:
        """Reads what is there, if anything is; again where another process may have added to it.

        Raises:
            DataError: The file is damaged, or of something else.
        """
        self.begun, self.done, self._settings, self._length = {}, {}, None, 0
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return self
        self._length = data.rfind(b"\n") + 1
        lines = data[: self._length].splitlines()
        if not lines:
            return self
        head = _parsed(lines[0])
        if head.get("format") != _FORMAT or head.get("version") != _VERSION:
            raise DataError(
                f"{self.path}: is no list of predictions that this version reads; choose another "
                "--out, or remove the folder"
            )
        settings = head.get("settings")
        self._settings = settings if isinstance(settings, dict) else {}
        for line in lines[1:]:
            self._take(_parsed(line))
        return self

    def _take(self, line: Mapping[str, Any]) -> None:
        if "begun" in line:
            named = line.get("suffixes")
            suffixes = named if isinstance(named, list) else []
            if is_below(line["begun"]):
                self.begun[line["begun"]] = tuple(s for s in RESULT_SUFFIXES if s in suffixes)
        elif "done" in line:
            done = _done(line["done"])
            if done is not None:
                self.done[done.stem] = done
                self.begun.pop(done.stem, None)

    @property
    def makes_segments(self) -> bool:
        """Whether the files of all segments belong to the batch."""
        return bool((self._settings or {}).get(RLE))

    def results(self) -> set[str]:
        """Paths below the folder of all that may have been made by the batch."""
        return {name for stem in {*self.done, *self.begun} for name in self.results_of(stem)}

    def results_of(self, stem: str) -> set[str]:
        """Those of one picture."""
        done = self.done.get(stem)
        suffixes = {*self.begun.get(stem, ()), *(done.results if done is not None else ())}
        return {stem + suffix for suffix in suffixes}

    def foreign(self, stem: str) -> list[str]:
        """Paths below the folder that are a picture's results by name, but not by the batch."""
        own = self.results_of(stem)
        names = (stem + suffix for suffix in RESULT_SUFFIXES)
        return [name for name in names if name not in own and os.path.lexists(self.out / name)]

    def by_hand(self, stem: str) -> list[str]:
        """Paths below the folder of a picture's results that somebody has changed since."""
        done = self.done.get(stem)
        if done is None or stem in self.begun:
            return []
        return [stem + suffix for suffix in done.results if self._is_changed(done, suffix)]

    def _is_changed(self, done: Done, suffix: str) -> bool:
        """What is empty, or short but of the time of writing, is no work: a machine went down."""
        try:
            status = (self.out / (done.stem + suffix)).stat()
        except OSError:
            return False
        other = 0 < status.st_size != done.results[suffix]
        return other and status.st_mtime_ns != done.stamps.get(suffix)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Makes sure that results so far depend on the same.

        Raises:
            DataError: They do not; says what differs.
        """
        if self._settings is None:
            return
        there, here = self._settings, _plain(settings)
        keys = [key for key in {**there, **here} if key != SOURCE]
        differ = [key for key in keys if there.get(key) != here.get(key)]
        if differ:
            what = "; ".join(f"{key}: {there.get(key)} then, {here.get(key)} now" for key in differ)
            raise DataError(
                f"{self.path}: the results there were made otherwise ({what}); choose another "
                "--out, or start over with --replace"
            )

    def start(self, settings: Mapping[str, Any]) -> None:
        """Notes what the results depend on, before any is written; only under the lock."""
        first = self._file is None and self._settings is None
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._file, self._length)  # a torn line
        os.lseek(self._file, 0, os.SEEK_END)
        if first:
            self._settings = _plain(settings)
            self._append({"format": _FORMAT, "version": _VERSION, "settings": self._settings})
        self.sync()

    def hold(self) -> None:
        """Takes the folder's lock, and makes the folder where there is none.

        Raises:
            RunError: Another process writes there.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = lock.acquire(self.out)

    def begin(self, stem: str, suffixes: Sequence[str]) -> None:
        """Notes what may be written of a picture; ``sync`` has to come before it is."""
        self._append({"begun": stem, "suffixes": list(suffixes)})
        self.begun[stem] = tuple(suffixes)

    def add(self, done: Done) -> None:
        """Notes a finished picture; reaches the disk with the next one or at the end."""
        stale = self.results_of(done.stem) - {done.stem + suffix for suffix in done.results}
        for name in stale:  # of the picture as it was before
            (self.out / name).unlink(missing_ok=True)
        self._append({"done": {**done._asdict(), "classes": list(done.classes)}})
        self.done[done.stem] = done._replace(classes=_compact(done.classes))
        self.begun.pop(done.stem, None)

    def add_segments(self, line: bytes) -> tuple[int, int]:
        """Keeps a picture's segments until all are known; says where."""
        if self._segments is None:
            self._segments = self._open_segments()
        begin = self._segments.tell()
        self._segments.write(line)
        self._segments.flush()
        return begin, len(line)

    def _open_segments(self) -> BinaryIO:
        """The file's end is where the last picture's line ends: a kill may have left a torn one."""
        file = (self.out / SEGMENT_LINES).open("ab")
        ends = [sum(done.segments) for done in self.done.values() if done.segments is not None]
        file.truncate(max((end for end in ends if end <= file.tell()), default=0))
        file.seek(0, os.SEEK_END)
        return file

    def is_done(self, stem: str, size: int, mtime_ns: int) -> bool:
        """Whether a picture is finished, unchanged since, and its results are all there."""
        done = self.done.get(stem)
        if done is None or stem in self.begun or (done.size, done.mtime_ns) != (size, mtime_ns):
            return False
        if done.segments is not None and sum(done.segments) > _size(self.out / SEGMENT_LINES):
            return False
        return all(
            _size(self.out / (stem + suffix)) == length or self._is_changed(done, suffix)
            for suffix, length in done.results.items()
        )

    def clear(self) -> None:
        """Removes all that belongs to the batch, the list itself last; only under the lock."""
        segments = (SEGMENTS, SEGMENT_LINES) if self.makes_segments else ()
        for name in (*sorted(self.results()), *segments, NAME):
            (self.out / name).unlink(missing_ok=True)
        self.begun, self.done, self._settings, self._length = {}, {}, None, 0

    def remove_leftovers(self, stems: Iterable[str]) -> None:
        """Removes what a killed process left half written; only under the lock.

        Args:
            stems: Of the pictures that it may have been at.
        """
        every = {*stems, *self.done, *self.begun}
        names = {stem + suffix for stem in every for suffix in RESULT_SUFFIXES} | {SEGMENTS}
        for folder in {(self.out / stem).parent for stem in every} | {self.out}:
            for item in list(folder.iterdir()) if folder.is_dir() else ():
                match = _TEMPORARY.fullmatch(item.name)
                if match and (folder / match[1]).relative_to(self.out).as_posix() in names:
                    item.unlink(missing_ok=True)

    def close(self) -> None:
        """Brings the list to the disk and lets the folder go."""
        if self._file is not None:
            self.sync()
            os.close(self._file)
        if self._segments is not None:
            self._segments.close()
        if self._lock is not None:
            lock.release(self._lock)
        self._file = self._segments = self._lock = None

    def _append(self, value: Mapping[str, Any]) -> None:
        assert self._file is not None
        # All ASCII: a file's name may be bytes that are no text.
        line = (json.dumps(value, allow_nan=False) + "\n").encode("ascii")
        while line:
            line = line[os.write(self._file, line) :]

    def sync(self) -> None:
        """Brings the list to the disk; from any thread."""
        assert self._file is not None
        if self._segments is not None:  # before the list says that they are there
            os.fsync(self._segments.fileno())
        os.fsync(self._file)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _done(value: object) -> Done | None:
    """A line of a finished picture; None where it is damaged, and the picture is done again."""
    try:
        done = Done(**value)  # type: ignore[arg-type]  # whatever the file says
        results = {str(suffix): int(length) for suffix, length in done.results.items()}
        stamps = {str(suffix): int(stamp) for suffix, stamp in done.stamps.items()}
        classes = _compact(done.classes)
        segments = None if done.segments is None else (int(done.segments[0]), int(done.segments[1]))
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError):
        return None
    texts = isinstance(done.name, str) and isinstance(done.path, str) and is_below(done.stem)
    if not texts or not results or not set(results) <= set(RESULT_SUFFIXES):
        return None
    return done._replace(results=results, classes=classes, segments=segments, stamps=stamps)


def _compact(classes: Sequence[int]) -> Sequence[int]:
    """A tenth of a list's memory, where there are as many of them as pictures."""
    return array("i", classes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As they come back from the file."""
    value: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    return value
