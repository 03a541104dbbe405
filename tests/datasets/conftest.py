from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

LvisRoot = Callable[..., Path]


@pytest.fixture
def lvis_root(tmp_path: Path) -> LvisRoot:
    """Writes a root of a few photos with given annotations, in the official layout."""

    def write(
        things: dict[str, list[dict[str, Any]]],
        stuff: dict[str, list[dict[str, Any]]] | None = None,
        images: dict[str, list[dict[str, Any]]] | None = None,
        size: tuple[int, int] = (40, 50),
    ) -> Path:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        height, width = size
        images = images or {
            split: [
                {"id": image_id, "coco_url": f"http://x/{split}2017/{image_id:012d}.jpg"}
                for image_id in sorted({item["image_id"] for item in items})
            ]
            for split, items in things.items()
        }
        rng = np.random.default_rng(0)
        for split, items in things.items():
            for entry in images[split]:
                entry.update({"height": height, "width": width})
                path = root / "/".join(entry["coco_url"].split("/")[-2:])
                path.parent.mkdir(exist_ok=True)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
            content = {"images": images[split], "annotations": items, "categories": []}
            (root / f"lvis_v1_{split}.json").write_text(json.dumps(content))
        for split, items in (stuff or {}).items():
            content = {"images": [], "annotations": items, "categories": []}
            (root / "annotations" / f"stuff_{split}2017.json").write_text(json.dumps(content))
        return root

    return write
