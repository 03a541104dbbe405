"""COCO panoptic as semantic segmentation: 80 thing and 53 stuff classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import INVALID, SegmentationDataset, ids_and_pixels
from workbench.datasets.images import read_color_codes
from workbench.datasets.layout import Part
from workbench.datasets.panoptic_json import Entry, load_entries
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_VOID: Final = 0
_NAMED: Final = 3


class CocoPanoptic(SegmentationDataset):
    """COCO 2017 with the panoptic annotations: every segment takes the class of its category.

    A mask is an RGB PNG whose pixels are segment ids, R + 256 G + 65536 B; the json says of
    which category each segment is. Id 0 is void and ignored. Segments marked ``iscrowd`` are
    groups of one category and are labelled like all others.

    Only what has both a photo and an entry in the json is in the split; ``skipped`` counts the
    rest and ``notes`` puts it in words. An entry without its PNG is an error.

    Attributes:
        skipped: How many photos have no entry ("unannotated") and how many entries no photo
            ("missing").
    """

    key: ClassVar[str] = "coco-panoptic"
    terms: ClassVar[str] = "annotations under CC BY 4.0, photos under the terms of Flickr"
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    layout: ClassVar[str] = (
        "{train,val}2017/*.jpg, annotations/panoptic_{train,val}2017.json and "
        "annotations/panoptic_{train,val}2017/*.png"
    )
    folders: ClassVar[tuple[str, ...]] = ("coco", "COCO", "coco2017", "coco-panoptic")
    parts: ClassVar[tuple[Part, ...]] = tuple(
        part
        for split, images in (("train", 118_287), ("val", 5_000))
        for part in (
            Part(f"annotations/panoptic_{split}2017.json", f"{split} segments", split, 1),
            Part(f"{{annotations/,}}panoptic_{split}2017/*.png", f"{split} masks", split, images),
            Part(f"{{,images/}}{split}2017/*.jpg", f"{split} photos", split, images),
        )
    )

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has a panoptic json."""
        return any(
            (folder / "annotations" / f"panoptic_{split}2017.json").is_file()
            for split in cls.splits
        )

    def load_vocabulary(self) -> Vocabulary:
        """The 133 classes in the order of their category ids, in COCO's own colours."""
        return Vocabulary.from_table(load_table(self.key))

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """Category id -> train id."""
        return raw_to_train(load_table(self.key), unlisted=INVALID)

    def list_ids(self) -> list[str]:
        """The images with an entry and a photo, in the order of the json."""
        path = self.root / "annotations" / f"panoptic_{self.split}2017.json"
        table = load_table(self.key)
        names = dict(zip(table["raw_id"].tolist(), table["name"].tolist(), strict=True))
        self._photos = self._photo_folder()
        entries = self._with_photo(load_entries(path, names))
        if not entries:
            return []
        self._masks = self._mask_folder(path)
        there = set(os.listdir(self._masks))
        ids = [entry.name for entry in entries]
        lacking = [name for name in ids if f"{name}.png" not in there]
        if lacking:
            raise DataError(
                f"{self._masks}: {len(lacking)} of {len(ids)} PNGs are missing, first "
                f"{lacking[0]}.png; unpack the archive again"
            )
        self._keep(entries)
        return ids

    def image_path(self, index: int) -> Path:
        """<split>2017/<the json's name>."""
        return self._photos / self._photo_names[index]

    def mask_path(self, index: int) -> Path:
        """panoptic_<split>2017/<id>.png."""
        return self._masks / f"{self.ids[index]}.png"

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The mask as train ids; see the base class.

        Raises:
            DataError: Also where the PNG's size or segments are not those of the json.
        """
        path = self.mask_path(index)
        codes = read_color_codes(path)
        height, width = (int(length) for length in self._sizes[index])
        if codes.shape[:2] != (height, width):
            raise DataError(
                f"{path}: the PNG is {codes.shape[1]} x {codes.shape[0]} but the json says "
                f"{width} x {height} pixels; use files of one version"
            )
        part = self._part(index)
        return decode_segments(codes, self._segments[part], self._train_ids[part], path)

    def classes_in(self, index: int) -> npt.NDArray[np.int64]:
        """The train ids of the image's segments, ascending, without reading the PNG."""
        return np.unique(self._train_ids[self._part(index)]).astype(np.int64)

    def notes(self) -> list[str]:
        """What was left out of the split, a line each; for ``workbench data check``."""
        notes = []
        if self.skipped["unannotated"]:
            notes.append(
                f"{self.split}: photos left out because the json has no entry for them: "
                f"{self.skipped['unannotated']}"
            )
        if self.skipped["missing"]:
            names = ", ".join(self._missing_names)
            notes.append(
                f"{self.split}: entries left out because {self._photos.name}/ lacks their photo: "
                f"{self.skipped['missing']}, first {names}"
            )
        return notes

    def _with_photo(self, entries: list[Entry]) -> list[Entry]:
        """The entries whose photo is there; counts what is left out."""
        there = set(os.listdir(self._photos)) if self._photos.is_dir() else set()
        missing = [entry.photo for entry in entries if entry.photo not in there]
        if entries and len(missing) == len(entries):
            raise DataError(
                f"{self._photos}: none of the {len(entries)} photos of the split {self.split!r} "
                f"is there, first {missing[0]}; put them into this folder"
            )
        annotated = {entry.photo for entry in entries}
        photos = {name for name in there if name.endswith(".jpg") and not name.startswith(".")}
        self._missing_names = missing[:_NAMED]
        self.skipped: dict[str, int] = {
            "unannotated": len(photos - annotated),
            "missing": len(missing),
        }
        return [entry for entry in entries if entry.photo in there]

    def _photo_folder(self) -> Path:
        """Where the photos are: in the root, or in images/ as some tools unpack them."""
        usual = self.root / f"{self.split}2017"
        within = self.root / "images" / usual.name
        return within if within.is_dir() and not usual.is_dir() else usual

    def _mask_folder(self, json_path: Path) -> Path:
        """Where the PNGs are: beside the json, or in the root."""
        candidates = [place / json_path.stem for place in (json_path.parent, self.root)]
        for folder in candidates:
            if folder.is_dir():
                return folder
        for folder in candidates:
            archive = folder.with_name(f"{folder.name}.zip")
            if archive.is_file():
                raise DataError(f"{archive}: is not unpacked; unpack it into {folder.parent}")
        raise DataError(
            f"{candidates[0]}: the folder of PNGs is missing; unpack {json_path.stem}.zip, which "
            "comes with the json, there"
        )

    def _keep(self, entries: list[Entry]) -> None:
        """Stores the entries as flat arrays: loader workers get a copy of the dataset."""
        self._photo_names = [entry.photo for entry in entries]
        self._sizes = np.array([entry.size for entry in entries], dtype=np.int32)
        self._ends = np.cumsum([len(entry.segments) for entry in entries])
        self._segments = np.concatenate([entry.segments for entry in entries])
        categories = np.concatenate([entry.categories for entry in entries])
        self._train_ids = self.lookup[categories].astype(np.int16)

    def _part(self, index: int) -> slice:
        """Where an image's segments are in the flat arrays."""
        return slice(int(self._ends[index - 1]) if index else 0, int(self._ends[index]))


def decode_segments(
    codes: npt.NDArray[np.uint8],
    segments: npt.NDArray[np.int32],
    values: npt.NDArray[np.integer[Any]],
    path: Path,
) -> npt.NDArray[np.int64]:
    """Segment ids, R + 256 G + 65536 B, -> the value of each segment.

    Format: "Panoptic Segmentation" in COCO's description of its annotations.

    Args:
        codes: (H, W, 3) uint8, the PNG's RGB.
        segments: (N,) ids of the image's segments, ascending, none 0.
        values: (N,) the value of each.
        path: Named in errors.

    Returns:
        (H, W) int64; IGNORE_INDEX where the id is 0, void.

    Raises:
        DataError: A pixel's id is neither 0 nor one of ``segments``.
    """
    red, green, blue = (codes[..., channel].astype(np.int32) for channel in range(3))
    ids = red | green << 8 | blue << 16
    known = np.concatenate([[_VOID], segments]).astype(np.int32)
    place = np.searchsorted(known, ids.ravel()).reshape(ids.shape)
    place[place == len(known)] = 0
    foreign = known[place] != ids
    if foreign.any():
        raise DataError(
            f"{path}: the PNG holds segments that the json lacks: {ids_and_pixels(ids[foreign])}; "
            "use files of one version"
        )
    train: npt.NDArray[np.int64] = np.concatenate([[IGNORE_INDEX], values]).astype(np.int64)[place]
    return train
