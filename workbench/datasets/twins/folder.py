"""The twin of a folder of one's own: 300 classes, more than 8 bits can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image, ImageColor

from workbench.constants import IGNORE_ON_DISK
from workbench.datasets.twins.drawing import picture, rectangles, with_border
from workbench.vocabulary import palette

_CLASSES: Final = 300
_USED: Final = np.array([1, 3, 255, 256, 298, 300])
"""Raw ids that occur, the first two as backgrounds: few, so that a small model learns them."""


def write(out: Path, rng: np.random.Generator, images: int, size: tuple[int, int]) -> None:
    """16-bit masks: 0 is void, 1..300 the classes, 65,535 the borders; and a list a split."""
    colors = palette(_CLASSES)
    classes = pd.DataFrame(
        {
            "raw_id": range(_CLASSES + 1),
            "train_id": ["", *range(_CLASSES)],
            "name": ["void", *(f"paint {number:03d}" for number in range(_CLASSES))],
            "group": ["", *(("frequent", "common", "rare")[i // 100] for i in range(_CLASSES))],
            "color": ["", *colors],
        }
    )
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    classes.to_csv(out / "classes.csv", index=False, lineterminator="\n")
    paints = np.array([ImageColor.getrgb(colors[raw - 1]) for raw in _USED], dtype=np.uint8)
    raw_ids = np.full(256, IGNORE_ON_DISK, dtype=np.uint16)  # with_border marks 255
    raw_ids[: len(_USED)] = _USED
    for split in ("train", "val"):
        names = [f"{split}_{number:04d}" for number in range(images)]
        for name in names:
            mask = rectangles(rng, size, background=int(rng.integers(2)), ids=(2, 3, 4, 5))
            picture(rng, mask, paints).save(out / "images" / f"{name}.jpg", quality=90)
            Image.fromarray(raw_ids[with_border(mask)]).save(out / "masks" / f"{name}.png")
        text = "".join(f"{name}\n" for name in names)
        (out / f"{split}.txt").write_text(text, encoding="utf-8", newline="\n")
