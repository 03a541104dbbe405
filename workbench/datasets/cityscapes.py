"""Cityscapes with its fine annotations: 19 classes of street scenes, the rest ignored."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import INVALID, SegmentationDataset, decode_mask, strict_lookup
from workbench.datasets.images import read_mask
from workbench.datasets.layout import Part
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_IMAGE: Final = "_leftImg8bit.png"
_LABEL_IDS: Final = "_gtFine_labelIds.png"
_TRAIN_IDS: Final = "_gtFine_labelTrainIds.png"
_ARCHIVES: Final = {
    "leftImg8bit": "leftImg8bit_trainvaltest.zip",
    "gtFine": "gtFine_trainvaltest.zip",
}
_WEBSITE: Final = "https://www.cityscapes-dataset.com"


class Cityscapes(SegmentationDataset):
    """Cityscapes as its archives unpack, with the classes of its benchmark.

    Masks are 8-bit grey. Each image's mask is ``labelIds`` (0..33 as annotated) if there is
    one, else ``labelTrainIds`` (0..18 and 255, as the authors' cityscapesScripts write them).
    Both become train ids 0..18; void and the rare classes that the benchmark leaves out are
    ignored.

    The published masks of "test" hold void alone, so nothing can be scored on that split: its
    truth stays on the benchmark's server.
    """

    key: ClassVar[str] = "cityscapes"
    terms: ClassVar[str] = "the licence of Cityscapes: non-commercial use, not to be passed on"
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    layout: ClassVar[str] = (
        f"leftImg8bit/{{train,val,test}}/<city>/*{_IMAGE} and "
        f"gtFine/{{train,val,test}}/<city>/*{_LABEL_IDS}; register at {_WEBSITE}, download "
        f"{' and '.join(_ARCHIVES.values())} and unpack both there"
    )
    folders: ClassVar[tuple[str, ...]] = ("cityscapes", "Cityscapes")
    parts: ClassVar[tuple[Part, ...]] = tuple(
        part
        for split, full in (("train", 2975), ("val", 500), ("test", 1525))
        for part in (
            Part(f"leftImg8bit/{split}/*/*{_IMAGE}", f"{split} photos", split, full),
            Part(f"gtFine/{split}/*/*{_LABEL_IDS}", f"{split} masks", split, full),
            Part(f"gtFine/{split}/*/*{_TRAIN_IDS}", "(or these)", split, full, optional=True),
        )
    )

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Has the top folder of one of the archives."""
        return any((folder / name).is_dir() for name in _ARCHIVES)

    def load_vocabulary(self) -> Vocabulary:
        """The 19 classes of the benchmark, in the official colours and categories."""
        return Vocabulary.from_table(load_table(self.key))

    def make_lookup(self) -> npt.NDArray[np.int64]:
        """labelIds: the 19 classes -> 0..18, the other ids 0..33 and 255 -> ignored."""
        return raw_to_train(load_table(self.key), 256, unlisted=INVALID)

    def list_ids(self) -> list[str]:
        """Frames "<city>_<sequence>_<number>", sorted; each must have a mask."""
        frames = self._files("leftImg8bit", _IMAGE)
        masks = self._files("gtFine", _TRAIN_IDS) | self._files("gtFine", _LABEL_IDS)
        unmatched = sorted(frames.keys() - masks.keys())
        if unmatched:
            raise DataError(
                f"{self.root / 'gtFine' / self.split}: {len(unmatched)} of {len(frames)} images "
                f"have no mask, first {frames[unmatched[0]].parent.name}/{unmatched[0]}"
                f"{_LABEL_IDS}; unpack {_ARCHIVES['gtFine']} from {_WEBSITE} again"
            )
        ids = sorted(frames)
        self._images = [frames[name] for name in ids]
        self._masks = [masks[name] for name in ids]
        return ids

    def image_path(self, index: int) -> Path:
        """leftImg8bit/<split>/<city>/<id>_leftImg8bit.png."""
        return self._images[index]

    def mask_path(self, index: int) -> Path:
        """The labelIds in gtFine/<split>/<city>/, or the labelTrainIds where there are none."""
        return self._masks[index]

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The mask alone, as train ids; see the base class."""
        path = self.mask_path(index)
        if path.name.endswith(_LABEL_IDS):
            return super().read_mask(index)
        classes = np.arange(len(self.vocabulary))
        lookup = strict_lookup([*classes, 255], [*classes, IGNORE_INDEX], 256)
        return decode_mask(read_mask(path), lookup, path, len(classes))

    def _files(self, kind: str, ending: str) -> dict[str, Path]:
        """The split's files of a kind, by frame."""
        folder = self.root / kind / self.split
        remedy = f"unpack {_ARCHIVES[kind]} from {_WEBSITE} (after registration) in {self.root}"
        if not folder.is_dir():
            raise DataError(f"{folder}: the folder is missing; {remedy}")
        files: dict[str, Path] = {}
        for path in sorted(folder.glob(f"*/*{ending}")):
            name = path.name.removesuffix(ending)
            if name.startswith("."):  # what macOS adds to archives
                continue
            if name in files:
                raise DataError(
                    f"{path}: the frame {name} is also in {files[name].parent}; delete one"
                )
            files[name] = path
        if not files and ending == _IMAGE:
            raise DataError(f"{folder}: the folder has no <city>/*{ending}; {remedy}")
        return files
