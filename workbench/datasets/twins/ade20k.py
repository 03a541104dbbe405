"""ADE20K's twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from workbench.datasets.twins.drawing import picture, rectangles
from workbench.datasets.twins.scene import Painter
from workbench.vocabulary import Vocabulary, load_table


def write(
    out: Path,
    rng: np.random.Generator,
    images: int,
    size: tuple[int, int],
    paint: Painter | None = None,
) -> None:
    """Grey masks 0..150."""
    root = out / "ADEChallengeData2016"
    colors = Vocabulary.from_table(load_table("ade20k")).colors
    colors = np.concatenate([np.zeros((1, 3), np.uint8), colors])  # 0 = other
    for folder, prefix in (("training", "ADE_train"), ("validation", "ADE_val")):
        pictures, masks = root / "images" / folder, root / "annotations" / folder
        pictures.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number in range(1, images + 1):
            if paint is None:
                ground = int(rng.integers(1, 4))
                mask = rectangles(rng, size, background=ground, ids=(0, 5, 21, 150))
                photo = picture(rng, mask, colors)
            else:
                photo, mask = paint(rng, size)
            name = f"{prefix}_{number:08d}"
            photo.save(pictures / f"{name}.jpg", quality=90)
            Image.fromarray(mask).save(masks / f"{name}.png")
