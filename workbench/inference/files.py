"""Segmenting picture files: a batch that can be stopped and goes on where it was.

Pictures are decoded ahead by threads and results are written by threads, so that the network
need not wait; both ways only so much lies in memory. One bad picture does not stop the others.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from workbench.constants import IGNORE_ON_DISK
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError, DataError, WorkbenchError, is_out_of_memory
from workbench.inference.bands import segment_bands
from workbench.inference.coco_json import segments_line, write_coco
from workbench.inference.manifest import (
    RLE,
    SEGMENT_LINES,
    SEGMENTS,
    Done,
    Manifest,
)
from workbench.inference.picture_paths import Found, Picture, as_text
from workbench.inference.read_ahead import ReadPicture, read_ahead
from workbench.inference.results import TOP_K_SUFFIX, PictureResults, Wanted, Written
from workbench.inference.targets import check_free, check_segments, check_targets, is_done
from workbench.inference.tiles import Tiling
from workbench.models import SegmentationModel
from workbench.progress import progress
from workbench.runs.vocabulary_json import vocabulary_to_json
from workbench.vocabulary import Vocabulary

_THREADS: Final = 2
_MEMORY: Final = 2**29
"""Bytes that pictures read ahead may take, and as many those that wait to be written; a single
picture may take more."""
_OF_THE_NAME: Final = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
"""Why a result cannot be written while others can."""


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to segment.

    Attributes:
        model: In evaluation mode, on its device.
        vocabulary: Of the classes that are predicted.
        classes: Take the place of the model's own; None leaves them.
        settings: What else its results depend on, for the list of a batch: plain values.
    """

    model: SegmentationModel
    vocabulary: Vocabulary
    classes: ClassEmbeddings | None
    settings: dict[str, Any]


class Batch(NamedTuple):
    """What became of a batch.

    Attributes:
        masks: Of the pictures that are done, in the order of the pictures.
        skipped: How many of them were done before.
        by_hand: Of how many of these somebody has changed a result since; it is kept.
        classes: How many different classes occur.
        failed: A line for each picture that could not be segmented.
        segments: The file of all segments, if one was wanted.
        unread: Files of kinds that are not read, by the suffix.
    """

    masks: list[Path]
    skipped: int
    by_hand: int
    classes: int
    failed: list[str]
    segments: Path | None
    unread: Mapping[str, int]

    def values(self) -> dict[str, Any]:
        """As a command prints it."""
        return {
            "masks": [as_text(path) for path in self.masks],
            "skipped": self.skipped,
            "by_hand": self.by_hand,
            "classes": self.classes,
            "segments": None if self.segments is None else as_text(self.segments),
            "failed": [as_text(line) for line in self.failed],
            "unread": dict(self.unread),
        }


def digest(predictor: Predictor) -> str:
    """A short text that differs wherever two models or their classes do."""
    found = hashlib.sha256(vocabulary_to_json(predictor.vocabulary).encode())
    tensors = dict(predictor.model.state_dict())
    if predictor.classes is not None:
        given = predictor.classes._asdict()
        tensors |= {f"classes.{name}": value for name, value in given.items() if value is not None}
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return found.hexdigest()[:16]


def predict_files(
    predictor: Predictor,
    found: Found,
    out: Path,
    *,
    wanted: Wanted | None = None,
    tiling: Tiling | None = None,
    replace: bool = False,
) -> Batch:
    """Writes the results of every picture below a folder; goes on with what is there.

    Args:
        predictor: The model.
        found: The pictures.
        out: Folder for the results, made if it is missing.
        wanted: What to make beside the masks.
        tiling: How large pictures are cut.
        replace: Remove what an earlier batch left in the folder, and begin anew.

    Raises:
        ConfigError: More likely classes are wanted than there are.
        DataError: A result would replace something, what is there was made otherwise, or the
            disk is full.
        RunError: Another process writes to the folder.
    """
    wanted, tiling = wanted or Wanted(), tiling or Tiling()
    if not 0 <= wanted.top_k <= len(predictor.vocabulary):
        raise ConfigError(f"--top-k: 0 to {len(predictor.vocabulary)} classes, not {wanted.top_k}")
    settings = {
        **predictor.settings,
        **{"tile": tiling.tile, "overlap": tiling.overlap, "overlay": wanted.overlay},
        **{RLE: wanted.segments, "top_k": wanted.top_k, "weights": digest(predictor)},
    }
    with _full_disk_told(out):
        return _predict(predictor, found, out, settings, wanted, tiling, replace=replace)


@contextlib.contextmanager
def _full_disk_told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"{out}: no room is left on the disk; make room and give the same command again, "
            "what is done stays"
        ) from error


def _predict(
    predictor: Predictor,
    found: Found,
    out: Path,
    settings: dict[str, Any],
    wanted: Wanted,
    tiling: Tiling,
    *,
    replace: bool,
) -> Batch:
    manifest = Manifest(out).read()
    if not replace:
        manifest.check(settings)
    check_segments(manifest, wanted.segments)
    check_targets(manifest, found.pictures, replace=replace)
    try:
        manifest.hold()
        manifest.read()  # another process may have been at it since
        if replace:
            manifest.clear()
        manifest.check(settings)
        manifest.start(settings)
        manifest.remove_leftovers(picture.stem for picture in found.pictures)
        with warnings.catch_warnings():
            # Pillow's, about files of which it then says that they are damaged.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return _Work(predictor, manifest, wanted, tiling).run(found)
    finally:
        manifest.close()


def _suffixes(wanted: Wanted, classes: int) -> list[str]:
    """What may be made of a picture."""
    return [
        *([".png"] if classes <= IGNORE_ON_DISK else [".png", ".tiff"]),
        *([".overlay.jpg", ".overlay.png"] if wanted.overlay else []),
        *([TOP_K_SUFFIX] if wanted.top_k else []),
    ]


class _Writing(NamedTuple):
    """A segmented picture whose results are being written."""

    picture: Picture
    read: ReadPicture
    results: PictureResults
    bytes: int
    future: Future[Written]


class _Work:
    """One call's work on a batch; everything but decoding and encoding is in one thread."""

    def __init__(
        self, predictor: Predictor, manifest: Manifest, wanted: Wanted, tiling: Tiling
    ) -> None:
        self._predictor = predictor
        self._manifest = manifest
        self._wanted = wanted
        self._tiling = tiling
        self._colors = predictor.vocabulary.colors
        self._suffixes = _suffixes(wanted, len(self._colors))
        self._failed: dict[str, str] = {}
        self._writing: deque[_Writing] = deque()

    def run(self, found: Found) -> Batch:
        """Segments what is not done yet."""
        todo = [picture for picture in found.pictures if not is_done(self._manifest, picture)]
        skipped = len(found.pictures) - len(todo)
        left = {picture.stem for picture in found.pictures} - {picture.stem for picture in todo}
        by_hand = sum(bool(self._manifest.by_hand(stem)) for stem in left)
        readers = ThreadPoolExecutor(_THREADS, thread_name_prefix="read")
        writers = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        bar = progress(
            read_ahead(todo, readers, limit=_MEMORY),
            description="predict",
            total=len(found.pictures),
            initial=skipped,
            unit="img",
        )
        try:
            for picture, future in bar:
                self._segment(picture, future, writers)
                self._settle(_MEMORY)
            self._settle(0)
        except BaseException:  # Ctrl-C too: what is done stays
            self._keep_what_is_done()
            raise
        finally:
            bar.close()
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)
        return self._batch(found, skipped, by_hand)

    def _segment(
        self, picture: Picture, future: Future[ReadPicture], writers: ThreadPoolExecutor
    ) -> None:
        results = None
        try:
            read = future.result()
            target = self._manifest.out / picture.stem
            results = PictureResults(target, read.pixels, self._colors, self._wanted)
            for band in segment_bands(
                self._predictor.model,
                read.pixels,
                classes=self._predictor.classes,
                k=self._wanted.k,
                tiling=self._tiling,
            ):
                results.add(band)
            check_free(self._manifest, picture.stem)  # something may have come meanwhile
            self._manifest.begin(picture.stem, self._suffixes)
        except BaseException as error:
            if results is not None:
                results.discard()
            self._note(picture, error)
            return
        job = writers.submit(self._write, results)
        size = results.bytes
        self._writing.append(_Writing(picture, read.without_pixels(), results, size, job))

    def _write(self, results: PictureResults) -> Written:
        try:
            self._manifest.sync()  # what is begun is known before there is any of it
            return results.finish()
        finally:
            results.discard()

    def _note(self, picture: Picture, error: BaseException) -> None:
        """Remembers what went wrong with a picture; raises what is not the picture's fault."""
        if is_out_of_memory(error):
            line = f"{picture.path}: out of memory; try a smaller --tile, or close other programs"
        elif isinstance(error, WorkbenchError):
            line = str(error)
        elif isinstance(error, OSError) and error.errno in _OF_THE_NAME:
            line = f"{picture.path}: its result cannot be written ({error.strerror})"
        else:
            raise error
        self._failed[picture.stem] = line

    def _settle(self, limit: int) -> None:
        """Notes what is written, in order; waits while more than so many bytes are not."""
        while self._writing:
            over = sum(one.bytes for one in self._writing) > limit
            if not (over or self._writing[0].future.done()):
                return
            one = self._writing[0]
            try:
                self._done(one, one.future.result())
            except (OSError, MemoryError) as error:
                self._note(one.picture, error)
            self._writing.popleft()

    def _keep_what_is_done(self) -> None:
        for one in self._writing:
            if one.future.cancel():
                one.results.discard()
                continue
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self._done(one, one.future.result())

    def _done(self, one: _Writing, written: Written) -> None:
        height, width = one.results.shape
        segments = None
        if self._wanted.segments:
            line = segments_line(height, width, written.segments)
            segments = self._manifest.add_segments(line)
        stem = one.picture.stem
        start = len(Path(stem).name)
        files = {path.name[start:]: path.stat() for path in written.files}
        self._manifest.add(
            Done(
                stem=stem,
                path=os.path.realpath(one.picture.path),
                name=one.picture.name,
                size=one.read.size,
                mtime_ns=one.read.mtime_ns,
                results={suffix: status.st_size for suffix, status in files.items()},
                classes=written.classes,
                segments=segments,
                stamps={suffix: status.st_mtime_ns for suffix, status in files.items()},
            )
        )

    def _batch(self, found: Found, skipped: int, by_hand: int) -> Batch:
        out, every = self._manifest.out, self._manifest.done
        done = [
            every[picture.stem] for picture in found.pictures if picture.stem not in self._failed
        ]
        lines = [
            (one.name, one.segments)
            for stem, one in sorted(every.items())
            if one.segments is not None and stem not in self._failed
        ]
        segments = out / SEGMENTS if self._wanted.segments and lines else None
        if segments is not None:
            write_coco(segments, self._predictor.vocabulary, lines, out / SEGMENT_LINES)
        return Batch(
            masks=[out / (one.stem + next(iter(one.results))) for one in done],
            skipped=skipped,
            by_hand=by_hand,
            classes=len({class_id for one in done for class_id in one.classes}),
            failed=found.missing
            + [
                self._failed[picture.stem]
                for picture in found.pictures
                if picture.stem in self._failed
            ],
            segments=segments,
            unread=found.unread,
        )
