"""COCO panoptic's twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.datasets.twins.drawing import picture, rectangles
from workbench.vocabulary import Vocabulary, load_table, raw_to_train

_CATEGORIES = (187, 1, 1, 64, 184)
"""Of the segments 1..5: sky behind, two persons of which one is a crowd, a plant, trees."""
_CROWD = 3
_LAST_THING = 90


def write(out: Path, rng: np.random.Generator, images: int, size: tuple[int, int]) -> None:
    """Segment ids as colours, void, a crowd, and a train photo without annotation."""
    table = load_table("coco-panoptic")
    colors = Vocabulary.from_table(table).colors
    train_ids = raw_to_train(table)[list(_CATEGORIES)]
    shown = np.concatenate([np.zeros((1, 3), np.uint8), colors[train_ids]])
    categories = [
        {
            "supercategory": row["supercategory"],
            "color": colors[row["train_id"]].tolist(),
            "isthing": int(row["raw_id"] <= _LAST_THING),
            "id": row["raw_id"],
            "name": row["name"],
        }
        for row in table.to_dict("records")
    ]
    for split, first in (("train", 1), ("val", images + 2)):
        photos, masks = out / f"{split}2017", out / "annotations" / f"panoptic_{split}2017"
        photos.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "info": {"description": "Generated scenes in the layout of COCO panoptic"},
            "licenses": [],
            "images": [],
            "annotations": [],
            "categories": categories,
        }
        for number in range(first, first + images):
            parts = rectangles(rng, size, background=1, ids=(2, 3, 4, 5, 0))
            picture(rng, parts, shown).save(photos / f"{number:012d}.jpg", quality=90)
            # Official ids are colours too, and most need all three channels.
            ids = np.concatenate([[0], rng.choice(2**24 - 65536, 5, replace=False) + 65536])
            _png(ids[parts]).save(masks / f"{number:012d}.png")
            content["images"].append(_image(number, size, split))
            content["annotations"].append(
                {
                    "segments_info": _segments(parts, ids),
                    "file_name": f"{number:012d}.png",
                    "image_id": number,
                }
            )
        path = out / "annotations" / f"panoptic_{split}2017.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    lonely = rectangles(rng, size, background=1, ids=(2,))
    picture(rng, lonely, shown).save(out / "train2017" / f"{images + 1:012d}.jpg", quality=90)


def _png(ids: npt.NDArray[np.int64]) -> Image.Image:
    """Segment ids (H, W) as R + 256 G + 65536 B."""
    return Image.fromarray(np.stack([ids, ids >> 8, ids >> 16], axis=-1).astype(np.uint8))


def _image(number: int, size: tuple[int, int], split: str) -> dict[str, Any]:
    name = f"{number:012d}.jpg"
    return {
        "license": 1,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/{split}2017/{name}",
        "height": size[0],
        "width": size[1],
        "date_captured": "2013-11-14 11:18:45",
        "flickr_url": "",
        "id": number,
    }


def _segments(parts: npt.NDArray[np.uint8], ids: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """The segments that can be seen."""
    segments = []
    for part in range(1, len(ids)):
        rows, columns = np.nonzero(parts == part)
        if len(rows):
            left, top = int(columns.min()), int(rows.min())
            box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
            segments.append(
                {
                    "id": int(ids[part]),
                    "category_id": _CATEGORIES[part - 1],
                    "iscrowd": int(part == _CROWD),
                    "bbox": box,
                    "area": len(rows),
                }
            )
    return segments
