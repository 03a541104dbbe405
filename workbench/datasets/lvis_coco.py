"""LVIS v1 things over COCO-stuff: 1284 classes; and ShapeWorld, generated in its layout.

The datasets read what ``prepare`` (re-exported here) made of the annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.constants import IGNORE_INDEX, IGNORE_ON_DISK
from workbench.datasets.base import SegmentationDataset, Transform, decode_mask, strict_lookup
from workbench.datasets.counts import ClassCounts
from workbench.datasets.images import mask_suffix, read_mask
from workbench.datasets.layout import Part
from workbench.datasets.lvis_prepare import PrepareReport, prepare
from workbench.datasets.lvis_sources import LAYOUT
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary

__all__ = ["LvisCoco", "PrepareReport", "ShapeWorld", "prepare"]


class LvisCoco(SegmentationDataset):
    """LVIS + COCO-stuff after ``workbench prepare lvis-coco ROOT``.

    Args:
        root: The data root (or its parent), with ``prepared/`` in it.
        split: "train" or "val", as the LVIS json has it.
        transform: Applied to (image uint8 (3, H, W), mask int64 (H, W)).
        variant: "legacy" has the labels published with the paper (``prepare`` with
            ``legacy_remap``).
        prepared: Folder of the prepared files, relative to the root or absolute; by default
            "prepared", or "prepared_legacy" for that variant.

    Raises:
        ConfigError: The split or variant is unknown.
        DataError: The root is missing or not prepared.
    """

    key: ClassVar[str] = "lvis-coco"
    terms: ClassVar[str] = "annotations under CC BY 4.0, photos under the terms of Flickr"
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    layout: ClassVar[str] = LAYOUT
    variants: ClassVar[tuple[str, ...]] = ("", "legacy")
    folders: ClassVar[tuple[str, ...]] = ("lvis-coco", "lvis_coco", "lvis", "coco", "COCO")
    parts: ClassVar[tuple[Part, ...]] = (
        Part("{,annotations/}lvis_v1_train.json", "LVIS annotations, train", "train", 1),
        Part("{,annotations/}lvis_v1_val.json", "LVIS annotations, val", "val", 1),
        Part("{,annotations/}stuff_train2017.json", "stuff annotations, train", "", 1, True),
        Part("{,annotations/}stuff_val2017.json", "stuff annotations, val", "", 1, True),
        Part("{,images/}train2017/*.jpg", "photos of train and val", "", 118_287),
        Part("{,images/}val2017/*.jpg", "photos of val", "val", 5_000),
    )

    def __init__(
        self,
        root: Path | str,
        split: str,
        transform: Transform | None = None,
        *,
        variant: str = "",
        prepared: Path | str | None = None,
    ) -> None:
        default = f"prepared_{variant}" if variant else "prepared"
        self._prepared_name = Path(prepared if prepared is not None else default)
        super().__init__(root, split, transform, variant=variant)

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Prepared, or with an LVIS json."""
        names = [
            f"{place}lvis_v1_{split}.json" for place in ("", "annotations/") for split in cls.splits
        ]
        done = [folder / name / "vocabulary.parquet" for name in ("prepared", "prepared_legacy")]
        return any(path.is_file() for path in done) or any(
            (folder / name).is_file() for name in names
        )

    def load_vocabulary(self) -> Vocabulary:
        """The vocabulary with the counts of the train split."""
        self.prepared = self.root / self._prepared_name
        path = self.prepared / "vocabulary.parquet"
        if not path.is_file():
            raise DataError(
                f"{self.root}: is not prepared ({self._prepared_name}/vocabulary.parquet is "
                f"missing); run: workbench prepare {self.key} {self.root}"
            )
        return Vocabulary.from_parquet(path)

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """Masks hold train ids; legacy masks raw ids 1..C and 0 for ignored pixels."""
        try:
            facts = json.loads((self.prepared / "prepare.json").read_text(encoding="utf-8"))
            legacy = bool(facts["legacy_remap"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.prepared}/prepare.json: missing or damaged; delete the folder and run: "
                f"workbench prepare {self.key} {self.root}"
            ) from error
        classes = np.arange(len(self.vocabulary))
        if mask_suffix(len(classes)) == ".tif":  # 32 bits: the ignore value is in read_mask
            size = len(classes) + int(legacy)
        else:
            size = IGNORE_ON_DISK + 1
        lookup = strict_lookup(classes + int(legacy), classes, size)
        if legacy:
            lookup[0] = IGNORE_INDEX
        elif size > IGNORE_ON_DISK and mask_suffix(len(classes)) == ".png":
            lookup[IGNORE_ON_DISK] = IGNORE_INDEX
        return lookup

    def list_ids(self) -> list[str]:
        """The images with a mask, in the order of the json."""
        path = self.prepared / f"images_{self.split}.parquet"
        if not path.is_file():
            raise DataError(
                f"{path}: the split {self.split!r} is not prepared; add lvis_v1_{self.split}.json "
                f"and its images and run: workbench prepare {self.key} {self.root}"
            )
        try:
            table = pd.read_parquet(path)
            self._paths = [str(value) for value in table["image_path"]]
            self._neg = [np.asarray(value, dtype=np.int64) for value in table["neg"]]
            self._partial = [np.asarray(value, dtype=np.int64) for value in table["not_exhaustive"]]
            # Older versions of prepare did not write this column.
            self._classes = (
                [np.asarray(value, dtype=np.int64) for value in table["classes"]]
                if "classes" in table
                else None
            )
            return [str(value) for value in table["id"]]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path}: is damaged; delete it and run: workbench prepare {self.key} {self.root}"
            ) from error

    def image_path(self, index: int) -> Path:
        """The photo, wherever the json says it lies."""
        return self.root / self._paths[index]

    def mask_path(self, index: int) -> Path:
        """The prepared mask."""
        suffix = mask_suffix(len(self.vocabulary))
        return self.prepared / "masks" / self.split / f"{self.ids[index]}{suffix}"

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The mask as train ids; see the base class.

        Raises:
            DataError: Also for an 8-bit file: ids above 255 cannot have survived in it.
        """
        path = self.mask_path(index)
        raw = read_mask(path)
        if raw.dtype == np.uint8:
            raise DataError(
                f"{path}: the mask has 8 bits, too few for {len(self.vocabulary)} classes; delete "
                f"it and run: workbench prepare {self.key} {self.root}"
            )
        if path.suffix == ".tif":
            ignored = raw == np.iinfo(np.int32).max
            train = decode_mask(np.where(ignored, 0, raw), self.lookup, path, len(self.vocabulary))
            train[ignored] = IGNORE_INDEX
            return train
        return decode_mask(raw, self.lookup, path, len(self.vocabulary))

    def classes_in(self, index: int) -> npt.NDArray[np.int64]:
        """The train ids in an image; ``prepare`` noted them."""
        return super().classes_in(index) if self._classes is None else self._classes[index]

    def known_counts(self) -> ClassCounts:
        """What ``prepare`` counted."""
        path = self.prepared / "class_counts.parquet"
        try:
            table = pd.read_parquet(path, columns=["split", "class_id", "images", "pixels"])
            rows = table[table["split"] == self.split].sort_values("class_id")
            if not np.array_equal(rows["class_id"], np.arange(len(self.vocabulary))):
                raise ValueError("other classes")
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path}: is damaged; run: workbench prepare {self.key} {self.root}"
            ) from error
        return ClassCounts(rows["images"].to_numpy(), rows["pixels"].to_numpy())

    def notes(self) -> list[str]:
        """How many of the json's images are not on disk."""
        path = self.prepared / f"missing_{self.split}.txt"
        if not path.is_file():
            return []
        missing = path.read_text(encoding="utf-8").splitlines()
        return [f"{self.split}: {len(missing)} images left out, missing on disk; see {path}"]

    def federated(self, index: int) -> dict[str, list[int]] | None:
        """LVIS checks a class only in some images: absent in ``neg``, partial in the other."""
        return {"neg": self._neg[index].tolist(), "not_exhaustive": self._partial[index].tolist()}


class ShapeWorld(LvisCoco):
    """Generated scenes in the LVIS + COCO-stuff layout, with a ``mapping.csv`` of their own."""

    key: ClassVar[str] = "shapeworld"
    terms: ClassVar[str] = "drawn by a program, nobody's photos"
    layout: ClassVar[str] = "what `workbench sample shapeworld ROOT` writes"
    folders: ClassVar[tuple[str, ...]] = ("shapeworld",)
    parts: ClassVar[tuple[Part, ...]] = (
        Part("mapping.csv", "classes", "", 1),
        *(
            part
            for split in ("train", "val")
            for part in (
                Part(f"lvis_v1_{split}.json", f"things, {split}", split, 1),
                Part(f"annotations/stuff_{split}2017.json", f"stuff, {split}", split, 1),
                Part(f"{split}2017/*.jpg", f"pictures, {split}", split),
            )
        ),
    )

    def federated(self, index: int) -> None:
        """Nothing: a generated scene is labelled whole, whatever the LVIS layout leaves open."""
        del index
