"""Pascal VOC's twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from workbench.datasets.twins.drawing import picture, rectangles, with_border
from workbench.datasets.twins.scene import Painter
from workbench.vocabulary import Vocabulary, load_table


def write(
    out: Path,
    rng: np.random.Generator,
    images: int,
    size: tuple[int, int],
    paint: Painter | None = None,
) -> None:
    """Palette masks with 255 on the borders; the last train image only in the Aug folder."""
    root = out / "VOCdevkit" / "VOC2012"
    colors = Vocabulary.from_table(load_table("voc")).colors
    palette = np.full((256, 3), 224, np.uint8)
    palette[: len(colors)] = colors
    for folder in (
        "JPEGImages",
        "SegmentationClass",
        "SegmentationClassAug",
        "ImageSets/Segmentation",
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names: dict[str, list[str]] = {"train": [], "val": []}
    for split, first in (("train", 1), ("val", images + 1)):
        for number in range(first, first + images):
            name = f"2007_{number:06d}"
            if paint is None:
                mask = rectangles(rng, size, background=0, ids=(1, 8, 15, 20))
                photo = picture(rng, mask, palette)
                mask = with_border(mask)
            else:
                photo, mask = paint(rng, size)
            photo.save(root / "JPEGImages" / f"{name}.jpg", quality=90)
            if split == "train" and number == images:
                # SBD's masks are plain grey images, and their list is another one.
                Image.fromarray(mask).save(root / "SegmentationClassAug" / f"{name}.png")
                continue
            coded = Image.fromarray(mask)
            coded.putpalette(palette.tobytes())
            coded.save(root / "SegmentationClass" / f"{name}.png")
            names[split].append(name)
    lists = {**names, "trainval": names["train"] + names["val"]}
    for split, listed in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")
