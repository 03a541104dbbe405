"""COCO's panoptic annotation files, read into little memory.

Format: "Panoptic Segmentation" in https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.datasets.images import MAX_PIXELS
from workbench.datasets.json_lists import JsonLists
from workbench.errors import DataError

_FOLDERS: Final = ("", ".", "..")
_IDS: Final = range(2**63)
_SEGMENTS: Final = range(1, 2**24)  # 0 is void


class Entry(NamedTuple):
    """What the json says of one image.

    Attributes:
        name: Of the PNG, without suffix.
        photo: File name of the photo.
        size: Height and width in pixels.
        segments: (N,) int32 segment ids, ascending.
        categories: (N,) int32, the category id of each.
    """

    name: str
    photo: str
    size: tuple[int, int]
    segments: npt.NDArray[np.int32]
    categories: npt.NDArray[np.int32]


class _Photo(NamedTuple):
    """An item of the json's ``images``."""

    image_id: int
    name: str
    size: tuple[int, int]


class _Annotation(NamedTuple):
    """An item of the json's ``annotations``."""

    image_id: int
    name: str
    segments: npt.NDArray[np.int32]
    categories: npt.NDArray[np.int32]


def load_entries(path: Path, names: dict[int, str]) -> list[Entry]:
    """Reads a panoptic json.

    Each annotation is packed into arrays before the next one is parsed: the 1.3 million
    segments of the train split would be most of a GB as dictionaries.

    Args:
        path: The json file.
        names: Category id -> name. The json's categories must be among them: the ids of
            another vocabulary would pass for these.

    Returns:
        One entry per annotation, in their order.

    Raises:
        DataError: The file is missing or malformed.
    """
    lists: dict[str, list[Any]] = {}
    try:
        with path.open("rb") as file:
            content = JsonLists(file)
            if not content.is_object():
                raise _malformed(path, "is no object with 'images' and 'annotations'")
            for key, items in content:
                if key == "images":
                    lists[key] = [_photo(item, path) for item in items]
                elif key == "annotations":
                    lists[key] = [_annotation(item, names, path) for item in items]
                elif key == "categories":
                    lists[key] = list(items)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}); download it again") from error
    for key in ("images", "annotations", "categories"):
        if key not in lists:
            raise _malformed(path, f"the list {key!r} is missing")
    official = list(names.items())
    for item in lists["categories"]:
        if not isinstance(item, dict) or (item.get("id"), item.get("name")) not in official:
            raise _malformed(path, f"the category {shortened(item)} is not COCO's")
    return _joined(lists["images"], lists["annotations"], path)


def _joined(images: list[_Photo], annotations: list[_Annotation], path: Path) -> list[Entry]:
    """Annotations with the photos they belong to."""
    photos = {photo.image_id: photo for photo in images}
    if len(photos) < len(images):
        twice = Counter(photo.image_id for photo in images).most_common(1)[0][0]
        raise _malformed(path, f"image {twice} is listed twice")
    entries = []
    seen: set[int | str] = set()
    for item in annotations:
        if item.image_id not in photos:
            raise _malformed(path, f"image {item.image_id} is annotated but not in 'images'")
        if item.image_id in seen or item.name in seen:
            raise _malformed(path, f"image {item.image_id} ({item.name}.png) is annotated twice")
        seen |= {item.image_id, item.name}
        photo = photos[item.image_id]
        entries.append(Entry(item.name, photo.name, photo.size, item.segments, item.categories))
    return entries


def _photo(item: object, path: Path) -> _Photo:
    if not isinstance(item, dict):
        raise _malformed(path, f"the image {shortened(item)} is no object")
    image_id = _whole(item, "id", _IDS, "an image", path)
    what = f"image {image_id}"
    height = _whole(item, "height", range(1, MAX_PIXELS + 1), what, path)
    width = _whole(item, "width", range(1, MAX_PIXELS // height + 1), what, path)
    return _Photo(image_id, _file_name(item, what, path), (height, width))


def _annotation(item: object, names: dict[int, str], path: Path) -> _Annotation:
    if not isinstance(item, dict):
        raise _malformed(path, f"the annotation {shortened(item)} is no object")
    image_id = _whole(item, "image_id", _IDS, "an annotation", path)
    what = f"the annotation of image {image_id}"
    name = _file_name(item, what, path)
    if not name.endswith(".png"):
        raise _malformed(path, f"{what}: {name!r} is no PNG")
    parts = item.get("segments_info")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _malformed(path, f"{what}: 'segments_info' is no list of segments")
    pairs = []
    for part in parts:
        segment = _whole(part, "id", _SEGMENTS, what, path)
        category = _whole(part, "category_id", _IDS, what, path)
        if category not in names:
            raise _malformed(path, f"{what}: category_id {category} is none of COCO's {len(names)}")
        pairs.append((segment, category))
    packed = np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)
    twice = packed[1:, 0][np.diff(packed[:, 0]) == 0]
    if len(twice):
        raise _malformed(path, f"{what}: segment {twice[0]} is listed twice")
    return _Annotation(
        image_id, name.removesuffix(".png"), packed[:, 0].copy(), packed[:, 1].copy()
    )


def _whole(item: dict[str, Any], key: str, allowed: range, what: str, path: Path) -> int:
    value = item.get(key)
    if type(value) is not int or value not in allowed:
        raise _malformed(
            path,
            f"{what}: {key!r} is {shortened(value)}, not a whole number from {allowed[0]} to "
            f"{allowed[-1]}",
        )
    return value


def _file_name(item: dict[str, Any], what: str, path: Path) -> str:
    """A plain name: one with a folder could lead out of the data root."""
    value = item.get("file_name")
    if not isinstance(value, str) or value != os.path.basename(value) or value in _FOLDERS:
        raise _malformed(
            path, f"{what}: 'file_name' is {shortened(value)}, not a name without a folder"
        )
    if not value.isprintable():  # a line break in a name would break a message
        raise _malformed(path, f"{what}: 'file_name' is {shortened(value)}, not printable")
    return value


def _malformed(path: Path, finding: str) -> DataError:
    return DataError(f"{path}: {finding}; use the official file")
