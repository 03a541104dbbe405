"""COCO-Stuff 10K: 91 stuff and 80 thing classes in MATLAB files."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.io import loadmat, whosmat

from workbench.datasets.base import INVALID, SegmentationDataset, decode_mask
from workbench.datasets.images import MAX_PIXELS
from workbench.datasets.layout import Part
from workbench.errors import DataError, first_line
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_LISTS: Final = {"train": "train", "val": "test", "test": "test"}
_NUMERIC: Final = (
    *("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
)
_COMPRESSED: Final = 15
_NUMBER_TYPES: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})
_NUMBER_CLASSES: Final = range(6, 16)
_HEADER_BYTES: Final = 2**16
"""Of a variable, in which flags, dimensions, name and the type of its numbers stand."""
_NAMES_OF_V1_0: Final = 172
_LAST_THING: Final = 91


class CocoStuff10k(SegmentationDataset):
    """COCO-Stuff 10K, version 1.1 (Caesar et al., CVPR 2018).

    The label map of an image is the variable ``S`` of its .mat file: 0 is unlabeled and
    ignored, 1..91 are COCO's things and 92..182 stuff. Eleven of the things were never
    annotated. So 171 ids are classes, in the order of their ids, and the eleven must not occur.
    With the variant "182" all ids are classes, and id i is train id i - 1: that is how the
    paper's reference implementation counts.

    The dataset has two official lists, train (9,000 images) and test (1,000). The test
    annotations are published and results are reported on them: "val" and "test" are both that
    list.
    """

    key: ClassVar[str] = "coco-stuff10k"
    terms: ClassVar[str] = "annotations under CC BY 4.0, photos under the terms of Flickr"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    layout: ClassVar[str] = "images/*.jpg, annotations/*.mat and imageLists/{train,test}.txt"
    folders: ClassVar[tuple[str, ...]] = (
        "cocostuff-10k-v1.1",
        "cocostuff10k/dataset",
        "cocostuff10k",
        "coco-stuff10k",
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("imageLists/train.txt", "list of train images", split="train", full=1),
        Part("imageLists/test.txt", "list of test images", split="val", full=1),
        Part("images/*.jpg", "photos", full=10_000),
        Part("annotations/*.mat", "label maps", full=10_000),
    )
    variants: ClassVar[tuple[str, ...]] = ("", "182")
    # The mean 0.4393, 0.4131, 0.3748 of the paper's reference implementation.
    mean_color: ClassVar[tuple[int, int, int]] = (112, 105, 96)

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has annotations/ and imageLists/."""
        return (folder / "annotations").is_dir() and (folder / "imageLists").is_dir()

    def load_vocabulary(self) -> Vocabulary:
        """The 171 classes that occur; with the variant "182" all."""
        return Vocabulary.from_table(self._table())

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """0 -> ignored, ids of classes -> 0..C-1."""
        return raw_to_train(self._table(), 256, unlisted=INVALID)

    @property
    def families(self) -> list[str]:
        """The family of each class, "things" or "stuff"; index = train id."""
        table = self._table()
        rows = table[table["train_id"].notna()].sort_values("train_id")
        return ["things" if raw_id <= _LAST_THING else "stuff" for raw_id in rows["raw_id"]]

    def list_ids(self) -> list[str]:
        """The split's list; each image must have a photo and a label map."""
        path = self.root / "imageLists" / f"{_LISTS[self.split]}.txt"
        try:
            ids = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: the list of the split {self.split!r} cannot be read; restore it, one "
                "image name a line"
            ) from error
        if len(set(ids)) < len(ids):
            twice = next(name for row, name in enumerate(ids) if name in ids[:row])
            raise DataError(f"{path}: {twice} is listed twice; remove one")
        for folder, suffix, kind in (("images", ".jpg", "photo"), ("annotations", ".mat", "map")):
            there = {entry.name for entry in (self.root / folder).glob(f"*{suffix}")}
            lacking = [name for name in ids if f"{name}{suffix}" not in there]
            if lacking:
                raise DataError(
                    f"{self.root / folder}: {len(lacking)} of the {len(ids)} images of the split "
                    f"{self.split!r} have no {kind}, first {lacking[0]}{suffix}; unpack the "
                    "archive again or shorten the list"
                )
        return ids

    def image_path(self, index: int) -> Path:
        """images/<id>.jpg."""
        return self.root / "images" / f"{self.ids[index]}.jpg"

    def mask_path(self, index: int) -> Path:
        """annotations/<id>.mat."""
        return self.root / "annotations" / f"{self.ids[index]}.mat"

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The label map as train ids; see the base class."""
        path = self.mask_path(index)
        return decode_mask(read_label_map(path), self.lookup, path, len(self.vocabulary))

    def _table(self) -> pd.DataFrame:
        """Rows of the ids that may occur, with the variant's train ids."""
        table = load_table(self.key)
        labelled = table["raw_id"] > 0
        if self.variant == "182":
            table["train_id"] = (table["raw_id"] - 1).astype("Int64").where(labelled)
        return table[~labelled | table["train_id"].notna()]


def read_label_map(path: Path) -> npt.NDArray[Any]:
    """Reads ``S`` of a COCO-Stuff 10K file; the other variables stay unread.

    Format: "MAT Format" in the README of the dataset's repository, nightrome/cocostuff10k.

    Args:
        path: A MATLAB file of version 4 to 7.2.

    Returns:
        (H, W) whole numbers, of the type in which they are stored.

    Raises:
        DataError: Missing, damaged, too large, of version 1.0 of the dataset, or ``S`` is
            missing or no matrix of ids.
    """
    with _parsing(path):
        _check_variables(path.read_bytes())  # before scipy looks at it
        found = {name: (shape, kind) for name, shape, kind in whosmat(str(path))}
        if "S" not in found:
            raise DataError(
                f"{path}: the variable 'S', the label map, is missing (there: "
                f"{shortened(list(found))}); use the official file"
            )
        shape, kind = found["S"]
        if len(shape) != 2 or 0 in shape or kind not in _NUMERIC:
            size = " x ".join(str(length) for length in shape)
            raise DataError(
                f"{path}: 'S' must be a matrix of ids, not {size} of {kind}; use the official file"
            )
        # Before reading: a small file can claim any size.
        if math.prod(shape) > MAX_PIXELS:
            raise DataError(
                f"{path}: 'S' claims {shape[1]} x {shape[0]} pixels, over the limit of "
                f"{MAX_PIXELS}; use the official file"
            )
        if math.prod(found.get("names", ((), ""))[0]) == _NAMES_OF_V1_0:
            raise DataError(
                f"{path}: is of version 1.0 of COCO-Stuff 10K, whose ids mean other classes; "
                "download version 1.1"
            )
        ids: npt.NDArray[Any] = loadmat(str(path), variable_names=["S"])["S"]
        # MATLAB's own numbers are float64; fractions, infinities and NaN fail the comparison.
        if ids.dtype.kind == "f" and (np.abs(ids) < 2**31).all() and (ids == np.rint(ids)).all():
            ids = ids.astype(np.int64)
        if ids.dtype.kind not in "iu":
            raise DataError(f"{path}: 'S' holds values that are no ids; use the official file")
        return ids


def _check_variables(data: bytes) -> None:
    """Follows the variables: scipy misses it where a file ends behind ``S``, and worse.

    Over an unknown type of numbers it reads memory that is not its own, and the process dies.
    Format: MathWorks, "MAT-File Format", level 5.

    Raises:
        ValueError: A variable is longer than what is left of the file, or not of numbers.
    """
    if 0 in data[:4]:  # level 4, as scipy tells it
        return
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("the mark of the byte order is missing")
    position = 128
    while position + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}2I", data, position)
        content = data[position + 8 : position + 8 + length]
        position += 8 + length
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, _HEADER_BYTES)[8:]
        _check_numbers(content[:_HEADER_BYTES], order)
    if position > len(data):
        raise ValueError("the file ends too early")


def _check_numbers(matrix: bytes, order: str) -> None:
    """Checks the type of a matrix's numbers, behind its flags, dimensions and name."""
    position = 0
    places: list[tuple[int, int]] = []  # type and place of each part
    while len(places) < 4 and position + 8 <= len(matrix):
        kind, length = struct.unpack_from(f"{order}2I", matrix, position)
        places.append((kind % 2**16 if kind >> 16 else kind, position))
        # Up to four bytes stand in the place of their length; all else is padded to eight.
        position += 8 if kind >> 16 else 8 + -(-length // 8) * 8
    if len(places) < 4:
        return
    flags = int(struct.unpack_from(f"{order}I", matrix, places[0][1] + 8)[0])
    if flags & 0xFF in _NUMBER_CLASSES:
        if flags >> 11 & 1:
            raise ValueError("complex numbers: values that are no ids")
        if places[3][0] not in _NUMBER_TYPES:
            raise ValueError(f"numbers of the unknown type {places[3][0]}")


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """All that can go wrong in a MATLAB file becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file is missing; restore it") from error
    except NotImplementedError as error:
        raise DataError(
            f"{path}: is in MATLAB's format 7.3, which cannot be read here; use the official file "
            "or save it with -v7"
        ) from error
    except Exception as error:  # scipy's parser raises whatever a damaged byte leads it into
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"{path}: the variable 'S' cannot be read ({reason}); replace the file with an intact "
            "copy"
        ) from error
