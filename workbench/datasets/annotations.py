"""Class ids of pixels from COCO-style annotation files (polygons and run lengths).

Free of torch and pandas: worker processes import this module and should start quickly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from workbench.errors import DataError

_FARTHEST: Final = 1e5
"""Largest coordinate accepted: rasterising allocates a point per pixel of every edge."""


class RunLengths(NamedTuple):
    """A mask as COCO's compressed run lengths, column by column."""

    height: int
    width: int
    counts: bytes


Segmentation = list[bytes] | RunLengths
"""Polygons, each the bytes of float64 x0 y0 x1 y1 ..., or run lengths."""


class Region(NamedTuple):
    """One annotation: the id of its class and where it is."""

    class_id: int
    segmentation: Segmentation


@dataclass
class AnnotationFile:
    """The parts of an annotation file that masks need."""

    path: Path
    sha256: str
    images: list[dict[str, Any]] = field(default_factory=list)
    regions: dict[int, list[Region]] = field(default_factory=dict)
    """Image id -> its annotations in the order of the file, with raw category ids."""


def load_annotations(path: Path, keep: frozenset[int] | None = None) -> AnnotationFile:
    """Reads an LVIS or COCO annotation file.

    Each segmentation is packed into bytes while the parser is still running: as Python
    floats, the 1.3 million annotations of LVIS's train split would take some 10 GB.

    Args:
        path: The json file.
        keep: Image ids whose annotations are wanted; all if None.

    Raises:
        DataError: The file is missing, is not such a file, or an annotation is malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error

    def pack(entry: dict[str, Any]) -> dict[str, Any] | tuple[int, Region] | None:
        if "segmentation" not in entry:
            return entry
        if keep is not None and entry.get("image_id") not in keep:
            return None
        return _packed(entry, path)

    try:
        content = json.loads(data, object_hook=pack)
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no annotations; expected an object with 'annotations'")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise DataError(f"{path}: the list {key!r} is missing; use the official file")
    loaded = AnnotationFile(path, hashlib.sha256(data).hexdigest(), content["images"])
    for item in content["annotations"]:
        if isinstance(item, dict):
            raise DataError(
                f"{path}: annotation {item.get('id')} has no 'segmentation'; use the official file"
            )
        if item is not None:
            image_id, region = item
            loaded.regions.setdefault(image_id, []).append(region)
    _check_images(loaded)
    return loaded


def paint(regions: Iterable[Region], height: int, width: int, fill: int) -> npt.NDArray[Any]:
    """Paints regions one over another.

    Args:
        regions: Later ones cover earlier ones.
        height: Of the mask, in pixels.
        width: Of the mask, in pixels.
        fill: Value of pixels without a region.

    Returns:
        (height, width), uint16 where all values fit, else int32; column-major.

    Raises:
        ValueError: Run lengths do not fit the mask.
    """
    regions = list(regions)
    largest = max([fill, *(region.class_id for region in regions)])
    dtype = np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32
    # Column by column, as run lengths are.
    flat = np.full(height * width, fill, dtype=dtype)
    for class_id, segmentation in regions:
        lengths = run_lengths(segmentation, height, width)
        ones = lengths[1 : len(lengths) // 2 * 2]  # from the first run inside to the last
        if len(ones):
            inside = np.repeat(np.arange(len(ones)) % 2 == 0, ones)
            start = int(lengths[0])
            np.copyto(flat[start : start + len(inside)], dtype(class_id), where=inside)
    mask: npt.NDArray[Any] = flat.reshape(width, height).T
    return mask


def run_lengths(segmentation: Segmentation, height: int, width: int) -> npt.NDArray[np.int64]:
    """Lengths of runs outside and inside a segmentation, in turn, column by column.

    Args:
        segmentation: Polygons are rasterised as pycocotools does it.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        (N,) lengths that add up to height * width; the first run lies outside.

    Raises:
        ValueError: Run lengths are damaged or of another image size.
    """
    if isinstance(segmentation, RunLengths):
        if (segmentation.height, segmentation.width) != (height, width):
            raise ValueError(f"run lengths of a {segmentation.width} x {segmentation.height} image")
        counts = segmentation.counts
    elif segmentation:
        polygons = [np.frombuffer(polygon, dtype=np.float64) for polygon in segmentation]
        parts = coco.frPyObjects(polygons, height, width)
        counts = (parts[0] if len(parts) == 1 else coco.merge(parts))["counts"]
    else:
        return np.array([height * width])
    lengths = _uncompressed(counts)
    if lengths.min(initial=0) < 0 or lengths.sum() != height * width:
        raise ValueError("run lengths do not add up to the image")
    return lengths


def _uncompressed(counts: bytes) -> npt.NDArray[np.int64]:
    """Lengths from COCO's text form: signed base 32, each relative to the one before the last.

    pycocotools' own decode fills a whole image per annotation, takes damaged text for pixels,
    and warns with each call under numpy 2.
    """
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((digits & 32) == 0)  # the last digit of each number
    if len(last) == 0 or last[-1] != len(digits) - 1:
        raise ValueError("run lengths end in the middle of a number")
    first = np.concatenate([[0], last[:-1] + 1])
    places = last - first + 1
    if places.max() > 8:
        raise ValueError("run lengths hold a number too large")
    shift = 5 * (np.arange(len(digits)) - np.repeat(first, places))
    numbers = np.add.reduceat((digits & 31) << shift, first)
    numbers -= np.where(digits[last] & 16, 1 << (5 * places), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _packed(entry: dict[str, Any], path: Path) -> tuple[int, Region]:
    """(image id, region) of one annotation, compact."""
    try:
        image_id, category = entry["image_id"], entry["category_id"]
        if not isinstance(image_id, int) or not isinstance(category, int):
            raise TypeError("image_id and category_id must be whole numbers")
        return image_id, Region(category, _packed_segmentation(entry["segmentation"]))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}: annotation {entry.get('id')}: {reason}; use the official file"
        ) from error


def _packed_segmentation(segmentation: object) -> Segmentation:
    if isinstance(segmentation, dict):
        height, width = (int(value) for value in segmentation["size"])
        counts = segmentation["counts"]
        if isinstance(counts, list):  # uncompressed, as COCO has it for crowds
            if sum(counts) != height * width or min(counts) < 0:
                raise ValueError("segmentation counts do not add up to the image")
            counts = coco.frPyObjects(segmentation, height, width)["counts"]
        packed = counts.encode("ascii") if isinstance(counts, str) else counts
        if not isinstance(packed, bytes):
            raise TypeError("segmentation counts must be text or a list of numbers")
        return RunLengths(height, width, packed)
    if not isinstance(segmentation, list):
        raise TypeError("segmentation must be a list of polygons or run lengths")
    polygons = []
    for polygon in segmentation:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or len(points) % 2:
            raise ValueError("a polygon must be a list x0, y0, x1, y1, ...")
        if len(points) < 6:
            # No area; and pycocotools would take four numbers for a box.
            continue
        if not np.abs(points).max() < _FARTHEST:  # also catches NaN
            raise ValueError("a polygon's coordinates lie far outside any image")
        polygons.append(points.tobytes())
    return polygons


def _check_images(loaded: AnnotationFile) -> None:
    """Every image entry has an id of its own and a size."""
    seen: set[int] = set()
    for entry in loaded.images:
        for key in ("id", "width", "height"):
            value = entry.get(key) if isinstance(entry, dict) else None
            if not isinstance(value, int) or (key != "id" and value < 1):
                name = entry.get("id") if isinstance(entry, dict) else entry
                raise DataError(
                    f"{loaded.path}: image {name}: {key!r} must be a whole number; "
                    "use the official file"
                )
        if entry["id"] in seen:
            raise DataError(f"{loaded.path}: image {entry['id']} is listed twice; remove one")
        seen.add(entry["id"])
