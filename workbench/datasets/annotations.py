"""Class ids of pixels from COCO-style annotation files (polygons and run lengths).

Free of torch and pandas: worker processes import this module and should start quickly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from workbench.datasets.images import MAX_PIXELS
from workbench.datasets.json_lists import JsonLists
from workbench.errors import DataError, one_line

_IMAGE_KEYS: Final = (
    *("id", "width", "height", "coco_url", "file_name"),
    *("neg_category_ids", "not_exhaustive_category_ids"),
)
_TOLERANCE: Final = 2.0
"""Pixels by which a polygon may reach out of its image; what is outside is not painted."""


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
    sha256: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)
    regions: dict[int, list[Region]] = field(default_factory=dict)
    """Image id -> its annotations in the order of the file, with raw category ids."""
    without_area: list[Any] = field(default_factory=list)
    """Ids of annotations with an empty segmentation, or with a box or area of 0."""


def load_annotations(path: Path, keep: frozenset[int] | None = None) -> AnnotationFile:
    """Reads an LVIS or COCO annotation file.

    Each segmentation is packed into bytes before the next one is parsed: as Python floats, the
    1.3 million annotations of LVIS's train split would take some 10 GB.

    Args:
        path: The json file.
        keep: Image ids whose annotations are wanted; all if None.

    Raises:
        DataError: The file is missing, is not such a file, or an annotation is malformed.
    """
    loaded = AnnotationFile(path)
    packer = _Packer(loaded, keep)
    found = set()
    try:
        with path.open("rb") as file:
            lists = JsonLists(file)
            if not lists.is_object():
                raise DataError(
                    f"{path}: holds no annotations; expected an object with 'annotations'"
                )
            for name, items in lists:
                found.add(name)
                if name == "images":
                    loaded.images = [_image(entry, path) for entry in items]
                elif name == "annotations":
                    for entry in items:
                        packer.add(entry)
            loaded.sha256 = lists.sha256()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}); download it again") from error
    for name in ("images", "annotations"):
        if name not in found:
            raise DataError(f"{path}: the list {name!r} is missing; use the official file")
    packer.check_fit()
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


class _Packer:
    """Packs annotations one by one.

    A file may list its images after the annotations: what these have to agree on is
    remembered, for ``check_fit``.
    """

    def __init__(self, loaded: AnnotationFile, keep: frozenset[int] | None) -> None:
        self.loaded = loaded
        self.keep = keep
        self.first: dict[int, Any] = {}
        """Image id -> id of its first annotation."""
        self.reach: dict[int, tuple[float, float]] = {}
        """Image id -> largest x and y of its polygons."""

    def add(self, entry: Any) -> None:  # noqa: ANN401 - checked here
        """Packs an annotation, if it is wanted.

        Raises:
            DataError: It is malformed; the message names the file and its id.
        """
        name = one_line(entry.get("id") if isinstance(entry, dict) else entry)
        if not isinstance(entry, dict) or "segmentation" not in entry:
            raise DataError(
                f"{self.loaded.path}: annotation {name} has no 'segmentation'; "
                "use the official file"
            )
        try:
            self._add(entry)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else one_line(error)
            raise DataError(
                f"{self.loaded.path}: annotation {name}: {reason}; correct it, or use the "
                "official file"
            ) from error

    def _add(self, entry: dict[str, Any]) -> None:
        image_id, category = entry["image_id"], entry["category_id"]
        if not isinstance(image_id, int) or not isinstance(category, int):
            raise TypeError("image_id and category_id must be whole numbers")
        self.first.setdefault(image_id, one_line(entry.get("id")))
        if self.keep is not None and image_id not in self.keep:
            return
        segmentation = entry["segmentation"]
        packed = (
            _packed_run_lengths(segmentation)
            if isinstance(segmentation, dict)
            else self._packed_polygons(segmentation, image_id)
        )
        try:
            flat = not min([entry.get("area", 1), *entry.get("bbox", ())[2:]]) > 0
        except TypeError as error:
            raise TypeError("area must be a number and bbox a list of four numbers") from error
        if flat or not packed:
            self.loaded.without_area.append(entry.get("id"))
        self.loaded.regions.setdefault(image_id, []).append(Region(category, packed))

    def _packed_polygons(self, segmentation: object, image_id: int) -> list[bytes]:
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
            # Python's own functions: numpy's take thrice the time for so few numbers.
            if math.isnan(sum(polygon)):
                raise ValueError("a polygon has a coordinate that is not a number")
            if (lowest := min(polygon)) < -_TOLERANCE:
                raise ValueError(f"a polygon has the coordinate {lowest}, outside the image")
            x, y = self.reach.get(image_id, (0.0, 0.0))
            self.reach[image_id] = max(x, *polygon[0::2]), max(y, *polygon[1::2])
            polygons.append(points.tobytes())
        return polygons

    def check_fit(self) -> None:
        """Every image is listed once, every annotation is of a listed image and lies in it.

        Raises:
            DataError: One is not; the message names the file and the image.
        """
        path = self.loaded.path
        sizes: dict[int, tuple[int, int]] = {}
        for entry in self.loaded.images:
            if entry["id"] in sizes:
                raise DataError(f"{path}: image {entry['id']} is listed twice; remove one")
            sizes[entry["id"]] = entry["width"], entry["height"]
        for image_id, name in self.first.items():
            if image_id not in sizes:
                raise DataError(
                    f"{path}: annotation {name}: image_id {image_id} is not in the list "
                    "'images'; remove the annotation or add the image"
                )
        for image_id, regions in self.loaded.regions.items():
            for _, segmentation in regions:
                if isinstance(segmentation, RunLengths):
                    width, height = sizes[image_id]
                    if (segmentation.width, segmentation.height) != (width, height):
                        raise DataError(
                            f"{path}: image {image_id}: a segmentation is of "
                            f"{segmentation.width} x {segmentation.height}, the image of "
                            f"{width} x {height} pixels; use annotations of the same images"
                        )
        for image_id, reach in self.reach.items():
            for axis, value, size in zip("xy", reach, sizes[image_id], strict=True):
                if value > size + _TOLERANCE:
                    raise DataError(
                        f"{path}: image {image_id}: a polygon reaches to {axis} = {value}, "
                        f"outside the image of {size} pixels; use annotations of the same images"
                    )


def _packed_run_lengths(segmentation: dict[str, Any]) -> RunLengths:
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


def _image(entry: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401 - checked here
    """What is needed of an image's entry, which must have an id and a size."""
    for key in ("id", "width", "height"):
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, int) or (key != "id" and value < 1):
            name = one_line(entry.get("id") if isinstance(entry, dict) else entry)
            raise DataError(
                f"{path}: image {name}: {key!r} must be a whole number; use the official file"
            )
    if entry["width"] * entry["height"] > MAX_PIXELS:  # which no picture that is read has
        raise DataError(
            f"{path}: image {entry['id']}: {one_line(entry['width'])} x "
            f"{one_line(entry['height'])} pixels are over the limit of {MAX_PIXELS}; use the "
            "official file"
        )
    return {key: entry[key] for key in _IMAGE_KEYS if key in entry}
