"""Small generated copies of dataset layouts, for tests and for trying things out.

A twin has the official folder names and file formats, traps included (palette masks, border
values, ignored ids), but generated content: textured rectangles whose colour says their class,
so that a model can learn it. The twin of lvis-coco is ShapeWorld.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.errors import ConfigError
from workbench.vocabulary import Vocabulary, load_table

Mask = npt.NDArray[np.uint8]


def write_twin(
    key: str, out: Path | str, *, seed: int = 0, images: int = 6, size: tuple[int, int] = (48, 64)
) -> Path:
    """Writes a small generated dataset in an official layout.

    Args:
        key: "ade20k" or "voc".
        out: Folder to write into; the dataset's official top folder is made inside.
        seed: The same seed gives the same pixels.
        images: Images in each of train and val.
        size: Height and width in pixels.

    Returns:
        ``out``, which ``open_dataset`` accepts as the root.

    Raises:
        ConfigError: The key has no twin here, or too few images or pixels are asked for.
    """
    if key not in TWINS:
        raise ConfigError(f"no generated twin for {key!r}; known: {', '.join(sorted(TWINS))}")
    if images < 1 or min(size) < 32:
        raise ConfigError(f"a twin needs 1 image of 32 x 32 pixels or more, not {images} of {size}")
    out = Path(out)
    TWINS[key](out, np.random.default_rng(seed), images, size)
    return out


def _ade20k(out: Path, rng: np.random.Generator, images: int, size: tuple[int, int]) -> None:
    """Grey masks 0..150."""
    root = out / "ADEChallengeData2016"
    colors = Vocabulary.from_table(load_table("ade20k")).colors
    colors = np.concatenate([np.zeros((1, 3), np.uint8), colors])  # 0 = other
    for folder, prefix in (("training", "ADE_train"), ("validation", "ADE_val")):
        pictures, masks = root / "images" / folder, root / "annotations" / folder
        pictures.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number in range(1, images + 1):
            mask = _rectangles(rng, size, background=int(rng.integers(1, 4)), ids=(0, 5, 21, 150))
            name = f"{prefix}_{number:08d}"
            _picture(rng, mask, colors).save(pictures / f"{name}.jpg", quality=90)
            Image.fromarray(mask).save(masks / f"{name}.png")


def _voc(out: Path, rng: np.random.Generator, images: int, size: tuple[int, int]) -> None:
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
            mask = _rectangles(rng, size, background=0, ids=(1, 8, 15, 20))
            _picture(rng, mask, palette).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
            mask = _with_border(mask)
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


def _rectangles(
    rng: np.random.Generator, size: tuple[int, int], background: int, ids: tuple[int, ...]
) -> Mask:
    """One id everywhere and a rectangle of each of the others, (H, W) uint8."""
    height, width = size
    mask = np.full(size, background, dtype=np.uint8)
    for value in ids:
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        tall, wide = int(rng.integers(8, height // 2)), int(rng.integers(8, width // 2))
        mask[top : top + tall, left : left + wide] = value
    return mask


def _with_border(mask: Mask) -> Mask:
    """255 where a pixel's right or lower neighbour is of another id."""
    bordered = mask.copy()
    bordered[:, :-1][mask[:, :-1] != mask[:, 1:]] = 255
    bordered[:-1][mask[:-1] != mask[1:]] = 255
    return bordered


def _picture(rng: np.random.Generator, mask: Mask, colors: npt.NDArray[np.uint8]) -> Image.Image:
    """Each id in its colour, with noise."""
    noise = rng.integers(-20, 21, size=(*mask.shape, 1))
    return Image.fromarray((colors[mask] + noise).clip(0, 255).astype(np.uint8))


TWINS: Final[dict[str, Callable[[Path, np.random.Generator, int, tuple[int, int]], None]]] = {
    "ade20k": _ade20k,
    "voc": _voc,
}
"""Registry key -> writer."""
