"""The two annotations behind a prepared mask, each as a mask of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.datasets.annotations import AnnotationFile, Region, load_annotations, paint
from workbench.datasets.base import decode_mask
from workbench.datasets.lvis_coco import LvisCoco
from workbench.datasets.lvis_sources import SPLITS, annotation_path, load_mapping
from workbench.errors import DataError

Mask = npt.NDArray[np.int64]


class Layers(NamedTuple):
    """Masks of one image, each (H, W) int64 of train ids or IGNORE_INDEX.

    Attributes:
        stuff: What COCO-stuff says.
        things: What LVIS says.
        merged: LVIS over stuff, as ``prepare`` makes it.
    """

    stuff: Mask
    things: Mask
    merged: Mask


def read_layers(dataset: LvisCoco, indices: Sequence[int]) -> list[Layers]:
    """Paints each annotation of some images by itself.

    Reads the annotation files, which takes a minute or two for the real ones: ask for all
    images at once.

    Args:
        dataset: LVIS + COCO-stuff; with the variant "legacy", ids are remapped as there.
        indices: Of images in the dataset.

    Returns:
        Layers in the order of the indices.

    Raises:
        DataError: An annotation file is missing or malformed.
    """
    mapping = load_mapping(dataset.root, dataset.variant == "legacy")
    wanted = [int(dataset.ids[index]) for index in indices]
    lvis = _load(dataset, f"lvis_v1_{dataset.split}.json", wanted)
    stuff = [_load(dataset, f"stuff_{split}2017.json", wanted) for split in SPLITS]
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in lvis.images}

    def painted(regions: list[Region], image_id: int) -> Mask:
        raw = paint(regions, *sizes[image_id], mapping.fill)
        return decode_mask(raw, dataset.lookup, lvis.path, len(dataset.vocabulary))

    found = []
    for image_id in wanted:
        below, above = mapping.layers(stuff, lvis, image_id)
        found.append(Layers(*(painted(part, image_id) for part in (below, above, below + above))))
    return found


def _load(dataset: LvisCoco, name: str, wanted: list[int]) -> AnnotationFile:
    path = annotation_path(dataset.root, name)
    if path is None:
        raise DataError(f"{dataset.root}: {name} is missing; the layers are painted from it")
    return load_annotations(path, keep=frozenset(wanted))
