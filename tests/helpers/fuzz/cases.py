"""One case: a damaged file, and whether its reader answers as it should."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import numpy as np

from helpers.fuzz.mutations import bytes_changed, document_changed, odd_values
from helpers.fuzz.targets import TARGETS, place

_IN_MEMORY: Final = Path("/dev/shm")
LONGEST: Final = 10.0
"""Seconds of a processor that a reader may take."""


class Hang(BaseException):
    """A reader takes longer than it may; no reader must catch it."""


class Reader:
    """A target with its valid files, ready for cases."""

    def __init__(self, name: str, seed: int) -> None:
        """Reads each valid file once: it must be taken."""
        self.name, self._seed = name, seed
        self.target = TARGETS[name]
        self._files = list(self.target.files())
        self._documents = list(self.target.documents())
        self._odd = odd_values()
        memory = _IN_MEMORY if _IN_MEMORY.is_dir() else None  # a disk takes longer than a reader
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory))
        self._path = place(name, self._folder)
        self.slowest = 0.0
        self.taken = 0

    def close(self) -> None:
        """Removes its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def valid(self) -> list[bytes]:
        """The files before they are damaged."""
        return self._files

    def content(self, number: int) -> bytes:
        """The damaged file of a case: the same whenever it is asked for."""
        random = np.random.default_rng([self._seed, zlib.crc32(self.name.encode()), number])
        if self._documents and random.random() < 0.5:
            document = self._documents[int(random.integers(len(self._documents)))]
            return document_changed(document, random, self._odd)
        data = self._files[int(random.integers(len(self._files)))]
        return bytes_changed(data, self._files, random)

    def finding(self, content: bytes) -> str | None:
        """Reads a file; says in a line what is wrong with the answer, None where nothing is."""
        self._path.write_bytes(content)
        began = time.process_time()
        try:
            with at_most(LONGEST):
                self.target.read(self._path)
            self.taken += 1
        except self.target.refusals as error:
            lines = str(error).splitlines()
            if not lines or len(lines) > 1:
                return f"a message of {len(lines)} lines: {lines[:2]}"
        except Hang:
            return f"takes more than {LONGEST:g} s"
        except (Exception, RecursionError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.name}"
            text = " ".join(str(error).split())[:120]
            return f"{type(error).__name__} in {where}: {text}"
        finally:
            self.slowest = max(self.slowest, time.process_time() - began)
        return None


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises ``Hang`` in what takes more of a processor, where Python gets to run at all."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Hang

    # Time of the processor: on a busy machine the clock says nothing about a reader.
    handler = signal.signal(signal.SIGPROF, stop)
    timer = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        signal.setitimer(signal.ITIMER_PROF, *timer)
