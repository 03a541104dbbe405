"""A root of LVIS's size in its official layout, for measuring ``workbench prepare``.

Sizes, outlines and numbers of annotations follow the real files: side of an object (root of
its area) log-normal with median 26 pixels, 43 corners on average and more for larger objects,
coordinates with two decimals, a long tail of annotations per image. Stuff is drawn once as a
few layouts that cover the picture, and dealt out to the images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from workbench.vocabulary import load_table

WIDTH: Final = 640
HEIGHT: Final = 480

_STUFF_LAYOUTS: Final = 24
_STUFF_PER_IMAGE: Final = 7
_PHOTO_SITE: Final = "http://images.cocodataset.org"


class Written(NamedTuple):
    """What ``write_root`` wrote."""

    images: int
    annotations: int
    stuff_annotations: int
    json_bytes: int
    """Of both files."""


def write_root(
    root: Path, images: int, annotations_per_image: float, *, stuff: bool = False, seed: int = 0
) -> Written:
    """Writes the train split, one annotation at a time: no size is too large for the memory.

    The photos are empty files: ``prepare`` only asks whether they are there.

    Args:
        root: Folder to create.
        images: Number of images, each 640 x 480.
        annotations_per_image: On average.
        stuff: Whether to write a stuff json too.
        seed: The same seed gives the same bytes.

    Returns:
        Counts and sizes.
    """
    rng = np.random.default_rng(seed)
    ids = np.arange(1, images + 1) * 5  # with gaps, as COCO's ids have
    counts = rng.geometric(1 / annotations_per_image, images)
    photos = root / "train2017"
    photos.mkdir(parents=True)
    for image_id in ids.tolist():
        (photos / f"{image_id:012d}.jpg").touch()
    table = load_table("lvis-coco")
    things = table[table["source"] == "lvis"]
    names = dict(zip(things["raw_id"].astype(int), things["name"].astype(str), strict=True))
    path = root / "lvis_v1_train.json"
    with path.open("w", encoding="utf-8") as file:
        _write_lists(
            file,
            images=(_image(rng, image_id, len(names)) for image_id in ids.tolist()),
            annotations=_things(rng, np.repeat(ids, counts), len(names)),
            categories=({"id": raw, "name": name} for raw, name in names.items()),
        )
    size = path.stat().st_size
    if stuff:
        raw_ids = table.loc[table["source"] == "stuff", "raw_id"].to_numpy(dtype=np.int64)
        path = root / "annotations" / "stuff_train2017.json"
        path.parent.mkdir()
        with path.open("w", encoding="utf-8") as file:
            _write_lists(
                file,
                images=(
                    {"id": image_id, "width": WIDTH, "height": HEIGHT} for image_id in ids.tolist()
                ),
                annotations=_stuff(rng, ids, raw_ids),
                categories=({"id": raw, "name": f"stuff {raw}"} for raw in raw_ids.tolist()),
            )
        size += path.stat().st_size
    return Written(images, int(counts.sum()), images * _STUFF_PER_IMAGE * stuff, size)


def _write_lists(file: TextIO, **lists: Iterator[dict[str, Any]]) -> None:
    """A json object of lists, none of which is ever whole in memory."""
    file.write('{"info": {"description": "generated"}, "licenses": []')
    for key, items in lists.items():
        file.write(f', "{key}": [')
        for number, item in enumerate(items):
            file.write((", " if number else "") + json.dumps(item))
        file.write("]")
    file.write("}")


def _image(rng: np.random.Generator, image_id: int, classes: int) -> dict[str, Any]:
    listed = rng.integers(1, classes + 1, 10).tolist()
    return {
        "date_captured": "2013-11-19 20:30:17",
        "neg_category_ids": listed[:9],
        "id": image_id,
        "license": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "flickr_url": f"http://farm9.staticflickr.com/8081/{image_id}_ef74d48dff_z.jpg",
        "coco_url": f"{_PHOTO_SITE}/train2017/{image_id:012d}.jpg",
        "not_exhaustive_category_ids": listed[9:],
    }


def _things(
    rng: np.random.Generator, image_ids: npt.NDArray[np.int64], classes: int
) -> Iterator[dict[str, Any]]:
    weights = 1 / np.arange(1, classes + 1)
    order = rng.permutation(classes) + 1
    categories = order[rng.choice(classes, len(image_ids), p=weights / weights.sum())]
    sides = np.exp(rng.normal(3.25, 1.05, len(image_ids))).clip(2, 400)
    corners = 6.05 * sides**0.55 * np.exp(rng.normal(0, 0.35, len(image_ids)))
    in_parts = rng.random(len(image_ids)) < 0.1
    for number, (image_id, side, count) in enumerate(
        zip(image_ids, sides, corners.clip(4).astype(np.int64), strict=True)
    ):
        sizes = [count, max(4, count // 3)] if in_parts[number] else [count]
        parts = [_outline(rng, side, size) for size in sizes]
        xy = np.concatenate(parts)
        low, high = xy.min(axis=0), xy.max(axis=0)
        yield {
            "area": round(float(side) ** 2, 2),
            "id": number + 1,
            "segmentation": [part.ravel().tolist() for part in parts],
            "image_id": int(image_id),
            "bbox": [*low.round(2).tolist(), *(high - low).round(2).tolist()],
            "category_id": int(categories[number]),
        }


def _outline(rng: np.random.Generator, side: float, corners: int) -> npt.NDArray[np.float64]:
    """(corners, 2) of a star-like outline of about side² pixels, cut at the picture's edge."""
    draws = rng.random(6 + 2 * corners)
    angles = (np.arange(corners) + draws[6 : 6 + corners]) * (2 * np.pi / corners)
    radii = 1 + 0.3 * np.cos(2 * angles + 7 * draws[2]) + 0.2 * np.cos(3 * angles + 7 * draws[3])
    radii = radii * (0.9 + 0.2 * draws[6 + corners :]) * side * 0.55
    stretch = 0.6 + 0.9 * draws[4]
    xy = np.empty((corners, 2))
    xy[:, 0] = draws[0] * WIDTH + radii * np.cos(angles) * stretch
    xy[:, 1] = draws[1] * HEIGHT + radii * np.sin(angles) / stretch
    cut: npt.NDArray[np.float64] = xy.clip(0, (WIDTH, HEIGHT)).round(2)
    return cut


def _stuff(
    rng: np.random.Generator, image_ids: npt.NDArray[np.int64], raw_ids: npt.NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    layouts = [_stuff_layout(rng) for _ in range(min(_STUFF_LAYOUTS, len(image_ids)))]
    number = 0
    for image_id in image_ids.tolist():
        layout = layouts[rng.integers(len(layouts))]
        categories = rng.choice(raw_ids, _STUFF_PER_IMAGE, replace=False).tolist()
        for segmentation, category in zip(layout, categories, strict=True):
            number += 1
            yield {
                "segmentation": segmentation,
                "iscrowd": 0,
                "image_id": image_id,
                "category_id": category,
                "id": number,
            }


def _stuff_layout(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Run lengths of regions with wavy borders that cover the picture."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(8):
        wave, phase = rng.uniform(0.01, 0.12), rng.uniform(0, 7)
        x, y = x + 0.25 / wave * np.sin(wave * y + phase), y + 0.25 / wave * np.sin(wave * x)
    seeds = rng.random((_STUFF_PER_IMAGE, 2)) * (WIDTH, HEIGHT)
    nearest = np.argmin([np.hypot(x - left, y - top) for left, top in seeds], axis=0)
    regions = []
    for index in range(_STUFF_PER_IMAGE):
        packed = coco.encode(np.asfortranarray(nearest == index, dtype=np.uint8))
        regions.append({"size": [HEIGHT, WIDTH], "counts": packed["counts"].decode("ascii")})
    return regions
