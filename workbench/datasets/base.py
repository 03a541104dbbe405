"""What every dataset is: pairs of an RGB image and a mask of train ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from workbench.constants import IGNORE_INDEX
from workbench.datasets.images import read_image, read_mask
from workbench.datasets.layout import Part
from workbench.errors import ConfigError, DataError
from workbench.vocabulary import Vocabulary

if TYPE_CHECKING:
    from workbench.datasets.counts import ClassCounts

INVALID: Final = -1
"""Entry of a lookup array for raw ids that must not occur in a mask."""

Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Sample(TypedDict):
    """One image with its mask.

    ``image`` stays uint8: the model normalises, so that training, prediction and export
    cannot do it differently.
    """

    image: Tensor
    """uint8 (3, H, W), RGB 0..255."""
    mask: Tensor
    """int64 (H, W), train ids 0..C-1 or IGNORE_INDEX."""
    id: str
    """Name of the image, unique within the split."""
    index: int
    """Position in the split."""


class SegmentationDataset(Dataset[Sample], ABC):
    """One split of a dataset on disk.

    A subclass says where the files are (``find_root``, ``list_ids``, ``image_path``,
    ``mask_path``) and what a mask's raw ids mean (``make_lookup``); reading and checking
    happen here, once for all.

    Args:
        root: The dataset's own folder or its parent.
        split: One of ``splits``.
        transform: Applied to (image uint8 (3, H, W), mask int64 (H, W)).
        variant: One of ``variants``: another reading of the same files.

    Raises:
        ConfigError: The split or variant is unknown; the message lists the known ones.
        DataError: The folder does not hold the dataset; the message says what belongs there.
    """

    key: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    layout: ClassVar[str]
    """The expected files in a few words, for error messages."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Names under which a parent folder may hold the dataset, relative."""
    parts: ClassVar[tuple[Part, ...]] = ()
    """What the layout consists of, for ``workbench data check``."""
    variants: ClassVar[tuple[str, ...]] = ("",)
    """Other readings of the same files, chosen by ``data.variant``; "" is the usual one."""
    terms: ClassVar[str] = ""
    """Under which terms its publisher gives it away, in a sentence; "" where nobody knows."""
    mean_color: ClassVar[tuple[int, int, int]] = (124, 116, 104)
    """RGB 0..255 that pads crops; ImageNet's mean unless a dataset has its own."""

    def __init__(
        self,
        root: Path | str,
        split: str,
        transform: Transform | None = None,
        *,
        variant: str = "",
    ) -> None:
        if split not in self.splits:
            raise ConfigError(f"{self.key} has no split {split!r}; known: {', '.join(self.splits)}")
        if variant not in self.variants:
            known = ", ".join(name for name in self.variants if name) or "none"
            raise ConfigError(
                f"data.variant: {self.key} has no variant {variant!r}; known: {known}"
            )
        self.variant: str = variant
        self.root: Path = self.find_root(Path(root).expanduser())
        self.split: str = split
        self.transform: Transform | None = transform
        self.vocabulary: Vocabulary = self.load_vocabulary()
        self.lookup: npt.NDArray[np.int64] = self.make_lookup()
        self.ids: list[str] = self.list_ids()
        if not self.ids:
            raise DataError(
                f"{self.root}: the split {split!r} of {self.key} has no image; "
                f"expected {self.layout}"
            )

    @classmethod
    @abstractmethod
    def is_root(cls, folder: Path) -> bool:
        """Whether a folder is the dataset's own."""

    @abstractmethod
    def load_vocabulary(self) -> Vocabulary:
        """The classes. ``root`` and ``split`` are set.

        Raises:
            DataError: A table that the dataset brings is missing or malformed.
        """

    @abstractmethod
    def make_lookup(self) -> npt.NDArray[np.int64]:
        """Array (n,) int64, raw id -> train id, IGNORE_INDEX or INVALID; ids from n are invalid."""

    @abstractmethod
    def list_ids(self) -> list[str]:
        """Names of the split's images. ``root``, ``split`` and ``vocabulary`` are set.

        Raises:
            DataError: A folder, list or mask is missing; the message says what belongs there.
        """

    @abstractmethod
    def image_path(self, index: int) -> Path:
        """The image file."""

    @abstractmethod
    def mask_path(self, index: int) -> Path:
        """The mask file."""

    @classmethod
    def find_root(cls, root: Path) -> Path:
        """The dataset's own folder, given it or its parent.

        Raises:
            DataError: Neither holds the dataset.
        """
        for folder in (root, *(root / name for name in cls.folders)):
            if cls.is_root(folder):
                return folder
        what = "is missing" if not root.exists() else f"holds no {cls.key}"
        raise DataError(f"{root}: the folder {what}; data.root must hold {cls.layout}")

    def federated(self, index: int) -> dict[str, list[int]] | None:
        """Which classes were checked in an image, where not all were.

        Returns:
            None where every class is labelled in every image; else ``neg`` (train ids
            verified absent) and ``not_exhaustive`` (labelled only in part).
        """
        del index
        return None

    def classes_in(self, index: int) -> npt.NDArray[np.int64]:
        """The train ids that occur in an image, (n,) int64, ascending.

        Reads the mask; a dataset that keeps a list of them may answer from it.

        Raises:
            DataError: The mask is unreadable.
        """
        mask = self.read_mask(index)
        return np.unique(mask[mask != IGNORE_INDEX])

    def known_counts(self) -> ClassCounts | None:
        """The split's class counts where the dataset keeps them; None = count the masks."""
        return None

    def notes(self) -> list[str]:
        """What a user should know about this split's files, one line each: images skipped, ..."""
        return []

    def __len__(self) -> int:
        """Number of images."""
        return len(self.ids)

    def read_mask(self, index: int) -> npt.NDArray[np.int64]:
        """The mask alone, as train ids.

        Returns:
            (H, W) int64, 0..C-1 or IGNORE_INDEX.

        Raises:
            DataError: The file is unreadable or holds ids outside the vocabulary.
        """
        path = self.mask_path(index)
        raw = read_mask(path)
        return decode_mask(raw, self.lookup, path, len(self.vocabulary))

    def read(self, index: int) -> tuple[Image.Image, npt.NDArray[np.int64]]:
        """Reads and checks one pair, before any transform.

        Returns:
            RGB image and its mask (H, W) int64 of train ids or IGNORE_INDEX.

        Raises:
            DataError: A file is missing or cannot be decoded, the two differ in size, or the
                mask holds ids outside the vocabulary.
        """
        image = read_image(self.image_path(index))
        mask = self.read_mask(index)
        if image.size != (mask.shape[1], mask.shape[0]):
            raise DataError(
                f"{self.mask_path(index)}: the mask is {mask.shape[1]} x {mask.shape[0]} but "
                f"the image {self.image_path(index).name} is {image.size[0]} x "
                f"{image.size[1]} pixels; use files of one version"
            )
        return image, mask

    def __getitem__(self, index: int) -> Sample:
        """Reads one pair as tensors and applies the transform."""
        if not 0 <= index < len(self.ids):
            raise IndexError(f"{self.key} {self.split} has {len(self.ids)} images, not {index}")
        picture, ids = self.read(index)
        mask = torch.from_numpy(ids)
        if self.transform is None:
            image = to_tensor(picture)
        else:
            # Pixels stay interleaved in memory: resizing is quicker so, and a crop is small.
            image, mask = self.transform(torch.from_numpy(np.array(picture)).permute(2, 0, 1), mask)
        return Sample(image=image.contiguous(), mask=mask, id=self.ids[index], index=index)


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, H, W)."""
    # numpy makes the copy: torch would start all its threads for these few bytes.
    return torch.from_numpy(np.array(np.asarray(image).transpose(2, 0, 1), order="C"))


def decode_mask(
    raw: npt.NDArray[Any], lookup: npt.NDArray[np.int64], path: Path, classes: int
) -> npt.NDArray[np.int64]:
    """Raw ids -> train ids through one lookup array.

    Args:
        raw: (H, W) of whole numbers as stored.
        lookup: Raw id -> train id, IGNORE_INDEX or INVALID.
        path: Named in errors.
        classes: C, named in errors.

    Returns:
        (H, W) int64.

    Raises:
        DataError: An id is INVALID or beyond the lookup.
    """
    if raw.size and raw.min() >= 0 and raw.max() < len(lookup):
        train: npt.NDArray[np.int64] = lookup.take(raw)
    else:
        known = (raw >= 0) & (raw < len(lookup))
        train = np.where(known, lookup[np.where(known, raw, 0)], INVALID)
    if (train == INVALID).any():
        raise DataError(
            f"{path}: the mask holds ids that none of the {classes} classes has: "
            f"{ids_and_pixels(raw[train == INVALID])}; correct the mask or use the dataset it "
            "belongs to"
        )
    return train


def ids_and_pixels(ids: npt.NDArray[Any]) -> str:
    """For messages: "12 (345 pixels), ..." of the first five ids in an array."""
    values, counts = np.unique(ids, return_counts=True)
    found = ", ".join(
        f"{value} ({count} pixels)"
        for value, count in zip(values[:5].tolist(), counts[:5].tolist(), strict=True)
    )
    return f"{found} ..." if len(values) > 5 else found


def strict_lookup(raw: npt.ArrayLike, train: npt.ArrayLike, size: int) -> npt.NDArray[np.int64]:
    """A lookup array whose unlisted ids are INVALID.

    Args:
        raw: (N,) raw ids.
        train: (N,) train ids or IGNORE_INDEX.
        size: Length, 256 for 8-bit masks and 65,536 for 16-bit ones.

    Returns:
        (size,) int64.

    Examples:
        >>> strict_lookup(raw=[0, 300], train=[IGNORE_INDEX, 0], size=2**16)[[0, 1, 300]]
        array([-100,   -1,    0])
    """
    lookup = np.full(size, INVALID, dtype=np.int64)
    lookup[np.asarray(raw, dtype=np.int64)] = np.asarray(train, dtype=np.int64)
    return lookup
