"""Bring your own: a folder of images, a folder of masks and a table of classes."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import INVALID, SegmentationDataset, decode_mask
from workbench.datasets.images import read_mask
from workbench.datasets.layout import Part
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, raw_to_train, read_table

VAL_SHARE: Final = 0.2
"""Share of the images in val where nothing says how to split."""

_LISTED: Final = ("train", "val", "test")
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_SUFFIXES: Final = (".png", ".tif", ".tiff")
_WIDER: Final = {8: "16-bit PNG", 16: "32-bit TIFF"}


class Folder(SegmentationDataset):
    """``images/``, ``masks/`` and ``classes.csv``, sub-folders allowed.

    An image's id is its path below ``images/`` without the suffix, "street/0001"; its mask has
    the same path below ``masks/``. Suffixes may be in capitals.

    **Masks** hold raw ids: PNG of 8 bits (grey or palette) or 16, or TIFF of up to 32. The
    largest value (255, 65,535 or 2,147,483,647) is ignored unless the table lists it as a class.

    **classes.csv**, in UTF-8 with commas, has one row per raw id. A column ``name`` is enough:
    raw ids are then the row numbers from 0. With ``raw_id`` and ``name`` the classes keep the
    order of the rows. With ``train_id`` as well, an empty one means ignored, and several raw
    ids may share one. ``group``, ``supercategory`` and ``color`` ("#rrggbb") are optional.

    **Splits**, by the first of these that the folder has; "all" is every image:

    1. lists ``train.txt``, ``val.txt``, ``test.txt`` in the folder or its ``splits/``: an id,
       or the path below ``images/``, a line;
    2. sub-folders ``images/train``, ``images/val``, ``images/test``;
    3. otherwise an image is in "val" if the SHA-256 of its id, read as a fraction, is below
       ``VAL_SHARE``, else in "train". So images added later move no other. Of two images or
       more, each split gets at least one. There is no "test".
    """

    key: ClassVar[str] = "folder"
    splits: ClassVar[tuple[str, ...]] = (*_LISTED, "all")
    layout: ClassVar[str] = (
        "images/ (jpg, png, webp, bmp or tif), masks/ (png or tif of the same names), classes.csv "
        "and, to choose the splits, train.txt, val.txt and test.txt"
    )
    parts: ClassVar[tuple[Part, ...]] = (
        Part("classes.csv", "class table", full=1),
        Part("images/**/*.*", "images"),
        Part("masks/**/*.*", "masks"),
    )

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has one of the three; which of them is missing is then said by name."""
        return (folder / "classes.csv").is_file() or any(
            (folder / name).is_dir() for name in ("images", "masks")
        )

    def load_vocabulary(self) -> Vocabulary:
        """The classes of classes.csv."""
        path = self.root / "classes.csv"
        if not path.is_file():
            raise DataError(
                f"{path}: the class table is missing; write one with the column 'name' and a "
                "class in each row"
            )
        self._table = read_table(path, number=True)
        try:
            return Vocabulary.from_table(self._table)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """As classes.csv says; at least as long as 16-bit masks have values."""
        self._ids = RawIds(self._table, len(self.vocabulary))
        return self._ids.lookup

    def list_ids(self) -> list[str]:
        """The split's images, in the order of its list or else sorted; each must have a mask."""
        self._images = files_by_id(
            self.root / "images", IMAGE_SUFFIXES, f"data.root must hold {self.layout}"
        )
        self._masks = files_by_id(
            self.root / "masks", MASK_SUFFIXES, f"data.root must hold {self.layout}"
        )
        ids = self._split()
        unmatched = [name for name in ids if name not in self._masks]
        if unmatched:
            raise DataError(
                f"{self.root / 'masks'}: {len(unmatched)} of the {len(ids)} images of the split "
                f"{self.split!r} have no mask, first {unmatched[0]}.png (or .tif); add the masks "
                "or leave these images out"
            )
        return ids

    def image_path(self, index: int) -> Path:
        """images/<id> with whichever suffix it has."""
        return Path(self._images[self.ids[index]])

    def mask_path(self, index: int) -> Path:
        """masks/<id> with whichever suffix it has."""
        return Path(self._masks[self.ids[index]])

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The mask alone, as train ids; see the base class.

        Raises:
            DataError: Also where the file has too few bits for the table's ids.
        """
        return self._ids.read(self.mask_path(index))

    def _split(self) -> list[str]:
        ids = sorted(self._images)
        if self.split == "all":
            return ids
        places = (self.root / "splits", self.root)  # a later one wins
        lists = {path.stem: path for place in places for path in _lists(place)}
        if lists:
            if self.split not in lists:
                raise DataError(
                    f"{self.root / self.split}.txt: the list of the split {self.split!r} is "
                    f"missing; write it, one image a line, or use {' or '.join(lists)}"
                )
            return self._listed(lists[self.split])
        if any((self.root / "images" / name).is_dir() for name in _LISTED):
            return [name for name in ids if name.startswith(f"{self.split}/")]
        return {**_by_hash(ids), "test": []}[self.split]

    def _listed(self, path: Path) -> list[str]:
        """The ids in a list, in its order."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: the list cannot be read; save it as UTF-8, one image a line"
            ) from error
        lines_of: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            name = _id(line.strip(), path)
            if not name:
                continue
            if name not in self._images and name.lower().endswith(IMAGE_SUFFIXES):
                name = name.rpartition(".")[0]
            if name not in self._images:
                raise DataError(
                    f"{path} line {number}: images/ has no image {line.strip()!r}; correct the "
                    "line or add the image"
                )
            if name in lines_of:
                raise DataError(
                    f"{path} line {number}: the image {name!r} is also in line {lines_of[name]}; "
                    "delete one of the two"
                )
            lines_of[name] = number
        return list(lines_of)


class RawIds:
    """Reads masks of raw ids as train ids.

    Attributes:
        lookup: Raw id -> train id, IGNORE_INDEX or INVALID.

    Args:
        table: What ``workbench.vocabulary.read_table`` returned.
        classes: C, named in errors.
    """

    def __init__(self, table: pd.DataFrame, classes: int) -> None:
        lookup = raw_to_train(table, unlisted=INVALID)
        self._largest_raw_id = int(np.flatnonzero(lookup >= 0)[-1])
        self._classes = classes
        spare = max(0, 2**16 - len(lookup))
        self.lookup = np.pad(lookup, (0, spare), constant_values=INVALID)

    def read(self, path: Path) -> npt.NDArray[np.int64]:
        """One mask; the largest value its file can hold is ignored unless it is a class.

        Raises:
            DataError: The file cannot be read, holds an id that is not in the table, or has too
                few bits for the table's ids.
        """
        raw = read_mask(path)
        largest = int(np.iinfo(raw.dtype).max)
        if self._largest_raw_id > largest:
            bits = 8 * raw.itemsize
            raise DataError(
                f"{path}: the mask has {bits} bits, too few for the {self._classes} "
                f"classes, whose raw ids go up to {self._largest_raw_id}; save a {_WIDER[bits]}"
            )
        if largest < len(self.lookup) and self.lookup[largest] != INVALID:
            return decode_mask(raw, self.lookup, path, self._classes)
        ignored = raw == largest
        known = np.where(ignored, self._largest_raw_id, raw)
        train = decode_mask(known, self.lookup, path, self._classes)
        train[ignored] = IGNORE_INDEX
        return train


def files_by_id(folder: Path, suffixes: tuple[str, ...], remedy: str) -> dict[str, str]:
    """Id -> path of all files below a folder that have one of the suffixes.

    Args:
        folder: Searched with all below it; links are followed, hidden files left out.
        suffixes: In small letters, with their dot.
        remedy: What to do where there is no such folder.

    Raises:
        DataError: There is no such folder (the message ends with the remedy), or two files
            have the same id.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: the folder is missing; {remedy}")
    files: dict[str, str] = {}
    # Links are followed: large data often lies on another disk.
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder)
        for file in sorted(names):
            stem, suffix = os.path.splitext(file)
            if suffix.lower() not in suffixes or file.startswith("."):
                continue
            name = _id((below / stem).as_posix() if below.parts else stem, place)
            path = os.path.join(place, file)
            if name in files:
                raise DataError(
                    f"{path}: the id {name!r} is also that of {os.path.basename(files[name])}; "
                    "an id is the path without its suffix, so rename or delete one"
                )
            files[name] = path
    return files


def _id(text: str, place: Path | str) -> str:
    """A name as text that can be stored and compared."""
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of another encoding, as old archives have
        raise DataError(f"{place}: the name {text!r} is not UTF-8; rename it") from error
    # One form of accents: macOS unpacks decomposed names, which no typed list would match.
    return unicodedata.normalize("NFC", text)


def _lists(place: Path) -> list[Path]:
    """The split lists that a folder has."""
    paths = [place / f"{split}.txt" for split in _LISTED]
    return [path for path in paths if path.is_file()]


def _by_hash(ids: list[str]) -> dict[str, list[str]]:
    """A split into train and val that depends on nothing but the ids."""
    hashes = {name: hashlib.sha256(name.encode()).digest()[:8] for name in ids}
    ordered = sorted(ids, key=hashes.__getitem__)
    below = sum(int.from_bytes(digest, "big") < VAL_SHARE * 2**64 for digest in hashes.values())
    count = min(max(below, 1), len(ids) - 1)
    return {"train": sorted(ordered[count:]), "val": sorted(ordered[:count])}
