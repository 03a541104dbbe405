"""Pascal VOC 2012 segmentation: 20 classes and background, 255 on the borders."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import INVALID, SegmentationDataset
from workbench.datasets.layout import Part
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug")
_AUGMENTED_LISTS = ("train_aug", "trainaug")
_FILLED = "filled"
_BACKGROUND = 0


class Voc(SegmentationDataset):
    """Pascal VOC 2012, alone or with the SBD annotations as ``SegmentationClassAug``.

    Masks are palette PNGs whose indices are the ids (SBD's are often grey): 0 is background
    and a class, 255 marks object borders and is ignored. Each image's mask is the original
    one if there is one, else the augmented one.

    The split "train_aug" is the list ``train_aug.txt`` or ``trainaug.txt``; without one, it is
    "train" and all augmented masks that are not in "val".

    The variant "filled" counts the borders as background. It is a mistake that is easily made,
    and is here to measure what it costs.
    """

    key: ClassVar[str] = "voc"
    terms: ClassVar[str] = "photos under the terms of Flickr"
    variants: ClassVar[tuple[str, ...]] = ("", _FILLED)
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainval", "train_aug")
    layout: ClassVar[str] = (
        "VOCdevkit/VOC2012 with JPEGImages/*.jpg, SegmentationClass/*.png and "
        "ImageSets/Segmentation/*.txt"
    )
    folders: ClassVar[tuple[str, ...]] = ("VOC2012", "VOCdevkit/VOC2012")
    parts: ClassVar[tuple[Part, ...]] = (
        Part("JPEGImages/*.jpg", "photos of all tasks", full=17_125),
        Part("SegmentationClass/*.png", "masks", full=2_913),
        Part("SegmentationClassAug/*.png", "augmented masks (SBD)", optional=True),
        Part("ImageSets/Segmentation/train.txt", "list of train", "train", 1),
        Part("ImageSets/Segmentation/val.txt", "list of val", "val", 1),
        Part("ImageSets/Segmentation/trainval.txt", "list of trainval", "trainval", 1, True),
        Part("ImageSets/Segmentation/{train_aug,trainaug}.txt", "list of train_aug", "", 1, True),
    )

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has JPEGImages/ and a folder of masks."""
        return (folder / "JPEGImages").is_dir() and any(
            (folder / name).is_dir() for name in _MASK_FOLDERS
        )

    def load_vocabulary(self) -> Vocabulary:
        """Background and the 20 classes, in VOC's own colours."""
        return Vocabulary.from_table(load_table(self.key))

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """0..20 as they are, 255 -> ignored, or background in the variant "filled"."""
        lookup = raw_to_train(load_table(self.key), 256, unlisted=INVALID)
        if self.variant == _FILLED:
            lookup[lookup == IGNORE_INDEX] = _BACKGROUND
        return lookup

    def list_ids(self) -> list[str]:
        """The split's list; each image must have a file and a mask."""
        self._masks = {folder: self._stems(folder, ".png") for folder in _MASK_FOLDERS}
        ids = self._augmented() if self.split == "train_aug" else self._listed(self.split)
        masked = set().union(*self._masks.values())
        for kind, there in (("mask", masked), ("image", self._stems("JPEGImages", ".jpg"))):
            lacking = [name for name in ids if name not in there]
            if lacking:
                raise DataError(
                    f"{self.root}: {len(lacking)} of the {len(ids)} images of the split "
                    f"{self.split!r} have no {kind}, first {lacking[0]}; unpack the archive again "
                    "or shorten the list"
                )
        return ids

    def image_path(self, index: int) -> Path:
        """JPEGImages/<id>.jpg."""
        return self.root / "JPEGImages" / f"{self.ids[index]}.jpg"

    def mask_path(self, index: int) -> Path:
        """SegmentationClass/<id>.png, or SegmentationClassAug/<id>.png where that lacks it."""
        name = self.ids[index]
        folder = next(folder for folder in _MASK_FOLDERS if name in self._masks[folder])
        return self.root / folder / f"{name}.png"

    def _stems(self, folder: str, suffix: str) -> set[str]:
        place = self.root / folder
        if not place.is_dir():
            return set()
        return {path.stem for path in place.iterdir() if path.suffix == suffix}

    def _list_path(self, name: str) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{name}.txt"

    def _listed(self, name: str) -> list[str]:
        """Image names of a list; also reads lines "/JPEGImages/x.jpg /SegmentationClass/x.png"."""
        path = self._list_path(name)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: the list of the split {name!r} cannot be read; restore it, one image "
                "name a line"
            ) from error
        return [Path(line.split()[0]).stem for line in lines if line.strip()]

    def _augmented(self) -> list[str]:
        for name in _AUGMENTED_LISTS:
            if self._list_path(name).is_file():
                return self._listed(name)
        train = self._listed("train")
        held_out = set(self._listed("val")) if self._list_path("val").is_file() else set()
        if not self._masks["SegmentationClassAug"]:
            raise DataError(
                f"{self.root}: the split 'train_aug' needs SegmentationClassAug/, the masks of SBD "
                "(10,582 training images with them), or its list in ImageSets/Segmentation; add "
                f"them, or take VOC's own {len(train):,} with --data.train_split train"
            )
        extra = self._masks["SegmentationClassAug"] - held_out - set(train)
        return [*train, *sorted(extra)]
