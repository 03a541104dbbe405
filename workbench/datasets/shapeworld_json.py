"""The LVIS v1 and COCO-Stuff json of a ShapeWorld split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

_LETTERS: Final = {"rare": "r", "common": "c", "frequent": "f"}
_NEGATIVES: Final = 8

Annotation = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """The annotations of one image, without running ids."""

    things: list[Annotation]
    stuff: list[Annotation]
    dropped: int


def _info() -> dict[str, Any]:
    return {"description": "ShapeWorld, generated scenes", "version": "1"}


def _image_record(image_id: int, split: str, size: int) -> dict[str, Any]:
    return {
        "id": image_id,
        "width": size,
        "height": size,
        "coco_url": f"generated://shapeworld/{split}2017/{image_id:012d}.jpg",
    }


def _numbered(rows: list[Annotation], first: int) -> list[Annotation]:
    return [{"id": first + index} | row for index, row in enumerate(rows)]


def lvis_json(
    drawn: list[Drawn], table: pd.DataFrame, split: str, first_id: int, size: int, seed: int
) -> dict[str, Any]:
    """Builds the LVIS v1 json of a split; counts are those of the drawn annotations."""
    things = table[table["source"] == "lvis"]
    rng = np.random.default_rng([seed, 31, first_id])
    images = []
    image_count = np.zeros(len(things) + 1, dtype=np.int64)
    instance_count = np.zeros(len(things) + 1, dtype=np.int64)
    draws = rng.integers(1, len(things) + 1, (len(drawn), _NEGATIVES))
    for offset, item in enumerate(drawn):
        present = [row["category_id"] for row in item.things]
        np.add.at(instance_count, present, 1)
        image_count[np.unique(np.array(present, dtype=np.int64))] += 1
        # Every class is annotated everywhere; like LVIS, only some absent ones are listed.
        absent = sorted(set(draws[offset].tolist()) - set(present))
        images.append(
            _image_record(first_id + offset, split, size)
            | {"neg_category_ids": absent, "not_exhaustive_category_ids": []}
        )
    categories = [
        {
            "id": raw,
            "name": name.replace(" ", "_"),
            "synset": f"{name.replace(' ', '_')}.n.01",
            "synonyms": [name.replace(" ", "_")],
            "def": f"a {name}",
            "image_count": int(image_count[raw]),
            "instance_count": int(instance_count[raw]),
            "frequency": _LETTERS[group],
        }
        for raw, name, group in zip(things["raw_id"], things["name"], things["group"], strict=True)
    ]
    annotations = _numbered([row for item in drawn for row in item.things], 1)
    return {
        "info": _info(),
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def stuff_json(
    drawn: list[Drawn], table: pd.DataFrame, split: str, first_id: int, size: int
) -> dict[str, Any]:
    """Builds the COCO-Stuff json of a split."""
    stuff = table[table["source"] == "stuff"]
    categories = [
        {"id": raw, "name": name, "supercategory": family}
        for raw, name, family in zip(
            stuff["raw_id"], stuff["name"], stuff["supercategory"], strict=True
        )
    ]
    images = [
        _image_record(first_id + offset, split, size)
        | {"file_name": f"{first_id + offset:012d}.jpg"}
        for offset in range(len(drawn))
    ]
    return {
        "info": _info(),
        "licenses": [],
        "images": images,
        "annotations": _numbered([row for item in drawn for row in item.stuff], 1),
        "categories": categories,
    }
