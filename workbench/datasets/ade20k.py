"""ADE20K SceneParsing: 150 classes, every pixel labelled or "other"."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from workbench.datasets.base import INVALID, SegmentationDataset
from workbench.datasets.layout import Part
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_FOLDERS = {"train": "training", "val": "validation"}


class Ade20k(SegmentationDataset):
    """ADE20K in the layout of the SceneParsing challenge.

    Masks are 8-bit grey: 0 is "other" and ignored, 1..150 become train ids 0..149. (The full
    ADE20K release with its thousands of part labels is another format.)
    """

    key: ClassVar[str] = "ade20k"
    terms: ClassVar[str] = (
        "photos for non-commercial research and teaching, annotations under BSD 3-Clause"
    )
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    layout: ClassVar[str] = (
        "ADEChallengeData2016/images/{training,validation}/*.jpg and "
        "ADEChallengeData2016/annotations/{training,validation}/*.png"
    )
    folders: ClassVar[tuple[str, ...]] = ("ADEChallengeData2016",)
    parts: ClassVar[tuple[Part, ...]] = (
        Part("images/training/*.jpg", "training photos", "train", 20_210),
        Part("annotations/training/*.png", "training masks", "train", 20_210),
        Part("images/validation/*.jpg", "validation photos", "val", 2_000),
        Part("annotations/validation/*.png", "validation masks", "val", 2_000),
    )

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has images/ and annotations/ with an official split folder."""
        return any(
            (folder / "images" / name).is_dir() and (folder / "annotations" / name).is_dir()
            for name in _FOLDERS.values()
        )

    def load_vocabulary(self) -> Vocabulary:
        """The 150 classes, by the official order of frequency."""
        return Vocabulary.from_table(load_table(self.key))

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """0 -> ignored, 1..150 -> 0..149."""
        return raw_to_train(load_table(self.key), 256, unlisted=INVALID)

    def list_ids(self) -> list[str]:
        """Stems of the images, sorted; each must have a mask."""
        images = self._stems("images", ".jpg")
        unmatched = sorted(images - self._stems("annotations", ".png"))
        if unmatched:
            raise DataError(
                f"{self._place('annotations')}: {len(unmatched)} of {len(images)} images have no "
                f"mask, first {unmatched[0]}.png; unpack the archive again"
            )
        return sorted(images)

    def image_path(self, index: int) -> Path:
        """images/<training or validation>/<id>.jpg."""
        return self._place("images") / f"{self.ids[index]}.jpg"

    def mask_path(self, index: int) -> Path:
        """annotations/<training or validation>/<id>.png."""
        return self._place("annotations") / f"{self.ids[index]}.png"

    def _place(self, kind: str) -> Path:
        return self.root / kind / _FOLDERS[self.split]

    def _stems(self, kind: str, suffix: str) -> set[str]:
        folder = self._place(kind)
        if not folder.is_dir():
            raise DataError(f"{folder}: the folder is missing; data.root must hold {self.layout}")
        return {
            path.stem
            for path in folder.iterdir()
            if path.suffix == suffix and not path.name.startswith(".")
        }
