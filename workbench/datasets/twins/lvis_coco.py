"""LVIS + COCO-stuff's twin.

The images of val lie mostly in ``train2017/``, as LVIS's do, and their stuff annotations in
the stuff file of that folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from workbench.datasets.twins.bedrooms import Room
from workbench.datasets.twins.drawing import picture
from workbench.vocabulary import Vocabulary, load_table

_THINGS: Final = ("banana", "cat", "curtain", "person", "teddy_bear", "zebra")
_SKY, _WALL, _GRASS, _CURTAIN, _OTHER = 157, 173, 124, 109, 183
_LETTERS: Final = {"rare": "r", "common": "c", "frequent": "f"}
_INFO: Final = {
    "description": "Generated in the layout of LVIS v1 and COCO-Stuff",
    "url": "",
    "version": "1.0",
    "year": 2020,
    "contributor": "",
    "date_created": "2020-06-14",
}
_LICENSES: Final = [
    {"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
]

Annotation = dict[str, Any]
Scene = tuple[Image.Image, list[Annotation], list[Annotation], dict[str, list[int]]]
"""Picture, stuff and LVIS annotations without image id, and LVIS's lists of what was checked."""


class _Classes(NamedTuple):
    things: list[int]
    """Raw ids of ``_THINGS``."""
    train_ids: dict[tuple[str, int], int]
    """(source, raw id) -> train id; C where there is none."""
    colors: npt.NDArray[np.uint8]
    """(C + 1, 3), by train id."""


def write(
    out: Path,
    rng: np.random.Generator,
    images: int,
    size: tuple[int, int],
    paint: Callable[[np.random.Generator, tuple[int, int], int], Room] | None = None,
) -> None:
    """LVIS polygons that overlap, over stuff as run lengths; some classes are in both."""
    table = load_table("lvis-coco")
    classes = _classes(table)
    # Ids are COCO's: with gaps, and those of the splits mixed.
    ids = np.cumsum(rng.integers(5, 2000, 2 * images))
    stuff: dict[str, tuple[list[Any], list[Annotation]]] = {"train": ([], []), "val": ([], [])}
    for split, own in (("train", ids[0::2]), ("val", ids[1::2])):
        entries, things = [], []
        for number, image_id in enumerate(own.tolist()):
            folder = "train" if split == "train" or number % 4 else "val"
            entry = _entry(image_id, folder, size)
            if paint is None:
                photo, lower, upper, checked = _shapes(rng, size, classes, number)
            else:
                photo, lower, upper, checked = _annotated(paint(rng, size, number))
            path = out / f"{folder}2017" / f"{image_id:012d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path, quality=90)
            entries.append(entry | checked)
            things += [{"image_id": image_id} | row for row in upper]
            stuff[folder][0].append({"file_name": path.name} | entry)
            stuff[folder][1].extend({"image_id": image_id} | row for row in lower)
        _write_json(
            out / f"lvis_v1_{split}.json", entries, things, _lvis_categories(table, things), 1
        )
    families = [
        {"supercategory": row.supercategory, "id": row.raw_id, "name": row.name}
        for row in table[(table["source"] == "stuff") & (table["raw_id"] >= 92)].itertuples(False)
    ]
    for folder, (entries, rows) in stuff.items():
        path = out / "annotations" / f"stuff_{folder}2017.json"
        _write_json(path, entries, rows, families, 10_000_000)


def _classes(table: pd.DataFrame) -> _Classes:
    lvis = table[table["source"] == "lvis"].set_index("name")["raw_id"]
    colors = Vocabulary.from_table(table).colors
    train = table["train_id"].fillna(len(colors)).tolist()
    keys = zip(table["source"].tolist(), table["raw_id"].tolist(), strict=True)
    return _Classes(
        things=lvis[list(_THINGS)].tolist(),
        train_ids=dict(zip(keys, train, strict=True)),
        colors=np.concatenate([colors, np.full((1, 3), 128, np.uint8)]),
    )


def _entry(image_id: int, folder: str, size: tuple[int, int]) -> dict[str, Any]:
    name = f"{folder}2017/{image_id:012d}.jpg"
    return {
        "id": image_id,
        "width": size[1],
        "height": size[0],
        "coco_url": f"http://images.cocodataset.org/{name}",
        "flickr_url": "",
        "license": 1,
        "date_captured": "2013-11-14 11:18:45",
    }


def _shapes(
    rng: np.random.Generator, size: tuple[int, int], classes: _Classes, number: int
) -> Scene:
    """Ellipses before bands."""
    raw = _bands(rng, size, number)
    truth = np.zeros(size, dtype=np.int32)
    for value in np.unique(raw).tolist():
        truth[raw == value] = classes.train_ids["stuff", value]
    upper = _things(rng, truth, classes, number)
    photo = picture(rng, truth, classes.colors)
    return photo, _stuff_rows(raw), upper, _verified(upper, classes, number)


def _annotated(room: Room) -> Scene:
    """A room's annotations as the files have them."""
    upper = [_thing_row(category, polygons) for category, polygons in room.things]
    checked = {"neg_category_ids": room.absent, "not_exhaustive_category_ids": room.partial}
    return room.picture, _stuff_rows(room.stuff), upper, checked


def _bands(rng: np.random.Generator, size: tuple[int, int], number: int) -> npt.NDArray[np.int64]:
    """Stuff in bands, a curtain in every other image, and "other" where COCO has things."""
    height, width = size
    raw = np.full(size, _GRASS)
    raw[: int(height * rng.uniform(0.5, 0.7))] = _WALL
    raw[: int(height * rng.uniform(0.2, 0.4))] = _SKY
    if number % 2:
        raw[:, : int(width * rng.uniform(0.15, 0.3))] = _CURTAIN
    top, left = int(height * 0.4), int(width * rng.uniform(0.35, 0.6))
    raw[top : top + height // 4, left : left + width // 4] = _OTHER
    return raw


def _stuff_rows(raw: npt.NDArray[np.int64]) -> list[Annotation]:
    """Stuff annotations of a map (H, W) of raw ids, as run lengths."""
    rows = []
    for value in np.unique(raw).tolist():
        inside = raw == value
        packed = coco.encode(np.asfortranarray(inside, dtype=np.uint8))
        rows.append(
            {
                "category_id": value,
                "segmentation": {"size": list(raw.shape), "counts": packed["counts"].decode()},
                "area": float(inside.sum()),
                "bbox": coco.toBbox(packed).tolist(),
                "iscrowd": 0,
            }
        )
    return rows


def _things(
    rng: np.random.Generator, truth: npt.NDArray[np.int32], classes: _Classes, number: int
) -> list[Annotation]:
    """Three things side by side, each over the next; the last is in two parts.

    Draws them into ``truth``.
    """
    height, width = truth.shape
    chosen = [classes.things[(number + step) % len(classes.things)] for step in range(3)]
    across = (np.array([0.3, 0.48, 0.68]) + rng.uniform(-0.08, 0.08, 3)) * width
    rows: list[Annotation] = []
    for step, (category, x) in enumerate(zip(chosen, across, strict=True)):
        radius = rng.uniform(0.14, 0.22, 2) * (width, height)
        centres = [(x, height * rng.uniform(0.35, 0.7))]
        if step == 2:  # one behind the others shows in two places
            radius = radius / 2
            centres.append((x, height * 0.15))
        rows.append(_thing_row(category, [_ellipse(centre, radius) for centre in centres]))
    canvas = Image.fromarray(truth)
    for row in reversed(rows):  # the first of the file lies on top
        value = classes.train_ids["lvis", row["category_id"]]
        for corners in row["segmentation"]:
            ImageDraw.Draw(canvas).polygon(corners, fill=value)
    truth[:] = np.asarray(canvas)
    return rows


def _thing_row(category: int, polygons: list[npt.NDArray[np.float64]]) -> Annotation:
    """An LVIS annotation; each polygon has corners (n, 2)."""
    points = np.concatenate(polygons)
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "category_id": category,
        "segmentation": [polygon.ravel().tolist() for polygon in polygons],
        "area": round(sum(_area(polygon) for polygon in polygons), 2),
        "bbox": [*low.round(2).tolist(), *(high - low).round(2).tolist()],
    }


def _ellipse(
    centre: tuple[float, float], radius: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Twelve corners (12, 2), x and y to a hundredth of a pixel, as in LVIS."""
    angle = np.arange(12) * np.pi / 6
    return (centre + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius).round(2)


def _area(polygon: npt.NDArray[np.float64]) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _verified(rows: list[Annotation], classes: _Classes, number: int) -> dict[str, list[int]]:
    """One class known to be absent; one not all of whose instances are labelled."""
    present = [row["category_id"] for row in rows]
    curtain = classes.things[_THINGS.index("curtain")]  # may be there as stuff
    absent = [raw for raw in classes.things if raw not in present and raw != curtain]
    return {
        "neg_category_ids": absent[:1],
        "not_exhaustive_category_ids": present[:1] if number % 2 else [],
    }


def _lvis_categories(table: pd.DataFrame, things: list[Annotation]) -> list[dict[str, Any]]:
    """All 1203 categories, with the counts of this file."""
    found = pd.DataFrame(
        [(row["category_id"], row["image_id"]) for row in things], columns=["id", "image_id"]
    )
    instances = found["id"].value_counts()
    images = found.drop_duplicates()["id"].value_counts()
    return [
        {
            "id": row.raw_id,
            "name": row.name,
            "synset": f"{row.name}.n.01",
            "synonyms": [row.name],
            "def": "",
            "image_count": int(images.get(row.raw_id, 0)),
            "instance_count": int(instances.get(row.raw_id, 0)),
            "frequency": _LETTERS[str(row.group)],
        }
        for row in table[table["source"] == "lvis"].itertuples(False)
    ]


def _write_json(
    path: Path,
    images: list[Any],
    annotations: list[Annotation],
    categories: list[dict[str, Any]],
    first: int,
) -> None:
    """Writes an annotation file; annotation ids count from ``first``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "info": _INFO,
        "licenses": _LICENSES,
        "images": images,
        "annotations": [{"id": first + n} | row for n, row in enumerate(annotations)],
        "categories": categories,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
