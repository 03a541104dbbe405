"""All segments of a batch as one file in COCO's format, made line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from workbench.errors import DataError
from workbench.inference.picture_paths import as_text
from workbench.runs import atomic_file
from workbench.vocabulary import Vocabulary


def segments_line(height: int, width: int, segments: list[dict[str, Any]]) -> bytes:
    """A picture's segments as they are kept until all are known."""
    value = {"height": height, "width": width, "segments": segments}
    return (json.dumps(value, allow_nan=False) + "\n").encode("ascii")


def write_coco(
    path: Path,
    vocabulary: Vocabulary,
    pictures: Iterable[tuple[str, tuple[int, int]]],
    lines: Path,
) -> int:
    """Writes what ``pycocotools.coco.COCO`` opens, in memory for one picture.

    Args:
        path: The file to create or replace.
        vocabulary: Category = class, by the same id.
        pictures: (name, (begin, length) of its line) of each, in the order of their ids from 1.
        lines: The file with the lines of ``segments_line``.

    Returns:
        The number of annotations.

    Raises:
        DataError: A line is damaged.
    """
    listed = list(pictures)
    with lines.open("rb") as source, atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(b'{"info": {"description": "Made by workbench predict"}, "licenses": [],\n')
        _write_list(file, "categories", _categories(vocabulary))
        images = (
            {
                "id": number,
                "file_name": as_text(name),
                "height": one["height"],
                "width": one["width"],
            }
            for number, name, one in _read(source, listed)
        )
        _write_list(file, "images", images)
        annotations = (
            {"image_id": number, **segment}
            for number, _, one in _read(source, listed)
            for segment in one["segments"]
        )
        numbered = ({"id": at, **item} for at, item in enumerate(annotations, start=1))
        count = _write_list(file, "annotations", numbered, last=True)
        file.write(b"}\n")
    return count


def _categories(vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    parents = vocabulary.table["supercategory"]
    for class_id, (name, parent) in enumerate(zip(vocabulary.names, parents, strict=True)):
        yield {"id": class_id, "name": name, "supercategory": str(parent)}


def _read(
    source: BinaryIO, listed: list[tuple[str, tuple[int, int]]]
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for number, (name, (begin, length)) in enumerate(listed, start=1):
        source.seek(begin)
        try:
            value = json.loads(source.read(length))
            yield number, name, {key: value[key] for key in ("height", "width", "segments")}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{source.name}: the segments of {name} are damaged; start over with --replace"
            ) from error


def _write_list(
    file: BinaryIO, key: str, values: Iterable[dict[str, Any]], *, last: bool = False
) -> int:
    file.write(f'"{key}": ['.encode("ascii"))
    count = 0
    for value in values:
        file.write((",\n" if count else "\n").encode("ascii"))
        file.write(json.dumps(value, allow_nan=False).encode("ascii"))
        count += 1
    file.write(b"\n]" if last else b"\n],\n")
    return count
