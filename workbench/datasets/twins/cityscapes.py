"""Cityscapes' twin."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageColor

from workbench.datasets.twins.drawing import picture, rectangles
from workbench.datasets.twins.scene import Painter
from workbench.vocabulary import load_table

_CITIES: Final = {"train": ("aachen", "zurich"), "val": ("frankfurt",), "test": ("berlin",)}


def write(
    out: Path,
    rng: np.random.Generator,
    images: int,
    size: tuple[int, int],
    paint: Painter | None = None,
) -> None:
    """Raw ids with void and left-out classes, beside the masks of instances and of colours.

    The split "test" is one image whose mask, as published, is void alone.
    """
    table = load_table("cityscapes")
    colors = np.zeros((256, 3), np.uint8)
    colors[table["raw_id"]] = [ImageColor.getrgb(str(color)) for color in table["color"]]
    instances = np.arange(256, dtype=np.uint16)
    instances[24:34] *= 1000  # of things: id x 1000 + number of the instance
    for split, cities in _CITIES.items():
        for number in range(images if split != "test" else 1):
            city = cities[number % len(cities)]
            photos, truth = out / "leftImg8bit" / split / city, out / "gtFine" / split / city
            photos.mkdir(parents=True, exist_ok=True)
            truth.mkdir(parents=True, exist_ok=True)
            frame = f"{city}_{number:06d}_000019"
            if paint is None:
                background = (7, 21, 23)[int(rng.integers(3))]  # road, vegetation, sky
                mask = rectangles(rng, size, background, ids=(0, 9, 11, 24, 26, 33))
                photo = picture(rng, mask, colors)
            else:
                photo, mask = paint(rng, size)
            photo.save(photos / f"{frame}_leftImg8bit.png")
            if split == "test":
                mask = rectangles(rng, size, background=3, ids=(1, 2))
            Image.fromarray(mask).save(truth / f"{frame}_gtFine_labelIds.png")
            Image.fromarray(instances[mask]).save(truth / f"{frame}_gtFine_instanceIds.png")
            opaque = Image.fromarray(colors[mask]).convert("RGBA")
            opaque.save(truth / f"{frame}_gtFine_color.png")
