"""Pictures that people hand in: of any kind, brought upright and to eight bits of RGB.

A dataset's pictures are read by ``images.read_image`` instead: annotations are in the stored
pixel grid, and a picture of an unexpected kind is a mistake there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.datasets.images import UNDECODABLE, opened
from workbench.errors import DataError, first_line

PICTURE_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga"),
    }
)
"""By which pictures are found in folders, in lower case."""

_ROWS: Final = 256
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What else Pillow raises over damaged files, beside what it says it raises.
_DAMAGED: Final = (KeyError, TypeError, AttributeError, OverflowError)


def read_picture(path: Path) -> Image.Image:
    """Reads a picture as people see it: upright, 8-bit RGB, on white where it is transparent.

    Of 16 bits the upper eight stay; of an animation or of several pages the first is taken.

    Raises:
        DataError: Missing, damaged, too large, or of numbers that are no colours.
    """
    with opened(path) as image:
        return upright_rgb(image, label=str(path))


def upright_rgb(image: Image.Image, *, label: str = "the picture") -> Image.Image:
    """A Pillow image of any kind as ``read_picture`` gives it.

    Args:
        image: As opened.
        label: How the error calls it.

    Raises:
        DataError: It is damaged, or holds numbers that are no colours.
    """
    try:
        image.load()
        return _turned(_to_rgb(image, label), orientation_of(image))
    except (*UNDECODABLE, *_DAMAGED) as error:
        raise DataError(
            f"{label}: cannot be decoded ({first_line(error).rstrip('.')}); replace the file with "
            "an intact copy"
        ) from error


def orientation_of(image: Image.Image) -> Image.Transpose | None:
    """How to turn a loaded picture upright by its EXIF data; None where it is, or they are broken.

    Of a TIFF Pillow has turned it, and says nothing.
    """
    try:
        value = image.getexif().get(_ORIENTATION)
    except (*UNDECODABLE, *_DAMAGED):
        return None  # a picture with broken EXIF data is still a picture
    return _UPRIGHT.get(value) if isinstance(value, int) else None


def to_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """An RGB image as an array (H, W, 3) of its own, some rows at a time.

    At once NumPy would be given all of it as bytes first: another copy of a large picture.
    """
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, _ROWS):
        bottom = min(top + _ROWS, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def picture_pixels(path: Path) -> int:
    """Number of pixels by the file's header; 0 where it cannot be read."""
    try:
        with opened(path) as image:
            return image.width * image.height
    except (DataError, *_DAMAGED):
        return 0


def _to_rgb(image: Image.Image, label: str) -> Image.Image:
    mode = image.mode
    # Pillow gives 16-bit grey of portable pixmaps as 32-bit integers, scaled to 16 bits.
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        values = np.asarray(image)
        # The upper byte, as Pillow takes of 16-bit colours.
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if mode.startswith("I") or mode == "F":
        raise DataError(
            f"{label}: holds {'fractions' if mode == 'F' else 'integers of 32 bits'}, no colours; "
            "convert it to a picture of 8 or 16 bits"
        )
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def _turned(image: Image.Image, how: Image.Transpose | None) -> Image.Image:
    return image if how is None else image.transpose(how)
