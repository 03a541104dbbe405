"""What is made of one picture, and written: mask, overlay, segments, likely classes.

Bands of rows come in from top to bottom. Of a large picture only its labels are kept; the
likely classes of each pixel go to the disk as they come.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.constants import IGNORE_ON_DISK
from workbench.inference.bands import Band
from workbench.inference.rle import segments_of
from workbench.runs import atomic_file, write_mask
from workbench.runs.atomic import temporary_path
from workbench.runs.masks import with_suffix

TOP_K_SUFFIX: Final = ".topk.npz"
_LONGEST_JPEG: Final = 65_500  # pixels a side
_ROWS: Final = 256
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the same picture makes the same file


class Wanted(NamedTuple):
    """What to make beside the mask.

    Attributes:
        overlay: The picture with its classes' colours over it.
        segments: A run-length code of every class, with a score.
        top_k: How many likely classes of each pixel; 0 for none.
    """

    overlay: bool = False
    segments: bool = False
    top_k: int = 0

    @property
    def k(self) -> int:
        """How many classes of each pixel must be known with their probabilities."""
        return max(self.top_k, int(self.segments))


class Written(NamedTuple):
    """What was made.

    Attributes:
        files: The mask first.
        classes: Ids that occur, ascending.
        segments: One annotation a class, without ids; empty where none were wanted.
    """

    files: list[Path]
    classes: list[int]
    segments: list[dict[str, Any]]


class PictureResults:
    """The results of one picture; give it to ``discard`` unless it is finished."""

    def __init__(
        self,
        target: Path,
        picture: npt.NDArray[np.uint8],
        colors: npt.NDArray[np.uint8],
        wanted: Wanted,
    ) -> None:
        """Takes the memory for the labels.

        Args:
            target: The files to write, without suffix.
            picture: (H, W, 3); used up by an overlay.
            colors: (C, 3) of the classes.
            wanted: What to make.
        """
        self._target = target
        self._picture = picture if wanted.overlay else None
        self._colors = colors
        self._wanted = wanted
        small = len(colors) <= IGNORE_ON_DISK
        self._labels: npt.NDArray[Any] = np.empty(
            picture.shape[:2], dtype=np.uint16 if small else np.int32
        )
        self._sums = np.zeros(len(colors) if wanted.segments else 0)
        self._top: _TopK | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return len(self._labels), self._labels.shape[1]

    @property
    def bytes(self) -> int:
        """Memory it holds."""
        kept = 0 if self._picture is None else self._picture.nbytes
        return int(self._labels.nbytes + kept)

    def add(self, band: Band) -> None:
        """Takes some rows."""
        rows = slice(band.top, band.top + len(band.labels))
        self._labels[rows] = band.labels
        if band.probabilities is None or band.ids is None:
            return
        if self._wanted.segments:
            best = band.probabilities[..., 0].ravel().astype(np.float64)
            flat = band.labels.ravel()
            self._sums += np.bincount(flat, weights=best, minlength=len(self._sums))
        if self._wanted.top_k:
            if self._top is None:
                shape = (*self._labels.shape, self._wanted.top_k)
                path = with_suffix(self._target, TOP_K_SUFFIX)
                self._top = _TopK(path, shape, self._labels.dtype)
            k = self._wanted.top_k
            self._top.add(band.ids[..., :k], band.probabilities[..., :k])

    def finish(self) -> Written:
        """Writes all files; each is whole or not there."""
        try:
            files = [write_mask(self._target, self._labels)]
            counts = self._counts()
            segments = self._annotations(counts) if self._wanted.segments else []
            if self._picture is not None:
                files.append(self._write_overlay(self._picture))
            if self._top is not None:
                files.append(self._top.finish())
        finally:
            self.discard()
        return Written(files, np.flatnonzero(counts).tolist(), segments)

    def discard(self) -> None:
        """Removes what is half done."""
        if self._top is not None:
            self._top.discard()

    def _counts(self) -> npt.NDArray[np.int64]:
        """Pixels of each class, some rows at a time: NumPy counts a copy of eight bytes a label."""
        total = np.zeros(len(self._colors), dtype=np.int64)
        for top in range(0, len(self._labels), _ROWS):
            total += np.bincount(self._labels[top : top + _ROWS].ravel(), minlength=len(total))
        return total

    def _annotations(self, counts: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        height, width = self.shape
        return [
            {
                "category_id": segment.class_id,
                "segmentation": {"size": [height, width], "counts": segment.counts},
                "area": segment.area,
                "bbox": list(segment.box),
                "iscrowd": 0,
                "score": round(float(self._sums[segment.class_id] / counts[segment.class_id]), 6),
            }
            for segment in segments_of(self._labels)
        ]

    def _write_overlay(self, picture: npt.NDArray[np.uint8]) -> Path:
        blend(picture, self._labels, self._colors)
        image = Image.fromarray(picture)
        long = max(image.size) > _LONGEST_JPEG
        path = with_suffix(self._target, ".overlay.png" if long else ".overlay.jpg")
        with atomic_file(path, sync=False) as temporary:
            if long:
                image.save(temporary, format="PNG")
            else:
                image.save(temporary, format="JPEG", quality=90)
        return path


def blend(
    picture: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    colors: npt.NDArray[np.uint8],
) -> None:
    """Lays the classes' colours half over a picture, in place, some rows at a time."""
    for top in range(0, len(picture), _ROWS):
        rows = slice(top, top + _ROWS)
        mixed = picture[rows].astype(np.uint16) + colors[labels[rows]] + 1
        picture[rows] = (mixed >> 1).astype(np.uint8)


class _TopK:
    """The likely classes of each pixel: two arrays in one file that ``numpy.load`` opens."""

    def __init__(self, path: Path, shape: Sequence[int], ids: np.dtype[Any]) -> None:
        self._path = path
        self._shape = tuple(shape)
        self._kinds = {"ids": np.dtype(ids), "probabilities": np.dtype(np.float16)}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, tuple[Path, BinaryIO]] = {}
        for name in self._kinds:
            place = temporary_path(path)
            self._files[name] = (place, place.open("w+b"))

    def add(self, ids: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]) -> None:
        for name, values in (("ids", ids), ("probabilities", probabilities)):
            self._files[name][1].write(np.ascontiguousarray(values, dtype=self._kinds[name]).data)

    def finish(self) -> Path:
        # One archive takes one entry at a time, which is why both were kept apart so far.
        with (
            atomic_file(self._path, sync=False) as temporary,
            zipfile.ZipFile(temporary, "w") as archive,
        ):
            for name, (_, file) in self._files.items():
                file.seek(0)
                info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as entry:
                    np.lib.format.write_array_header_1_0(
                        entry,
                        {
                            "descr": np.lib.format.dtype_to_descr(self._kinds[name]),
                            "fortran_order": False,
                            "shape": self._shape,
                        },
                    )
                    shutil.copyfileobj(file, entry, 2**20)
        return self._path

    def discard(self) -> None:
        for place, file in self._files.values():
            file.close()
            place.unlink(missing_ok=True)
        self._files = {}
