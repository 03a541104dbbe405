"""Reading and writing images and masks, with every failure named.

Free of torch, so that the processes which build masks start quickly.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from workbench.constants import IGNORE_ON_DISK
from workbench.errors import DataError, first_line

MAX_PIXELS: Final = 89_478_485
"""Largest image opened: a file of a few kB can claim any size and fill the memory
("decompression bomb"). This is Pillow's own threshold of suspicion."""

_MASK_MODES: Final = ("1", "L", "P", "I;16", "I;16B", "I;16L", "I")
UNDECODABLE: Final = (
    OSError,
    SyntaxError,  # Pillow's "broken PNG file"
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file of acceptable size; all that can go wrong becomes a DataError."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{path}: {width} x {height} pixels is over the limit of {MAX_PIXELS}; "
                    "cut the image into tiles"
                )
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: the file is missing; restore it") from error
    except PermissionError as error:
        raise DataError(f"{path}: may not be read; change its permissions") from error
    except MemoryError as error:  # a damaged length asks for gigabytes
        raise DataError(
            f"{path}: takes more memory than there is; replace the file with an intact copy, or "
            "cut the image into tiles"
        ) from error
    except UNDECODABLE as error:
        reason = first_line(error).rstrip(".")
        raise DataError(
            f"{path}: cannot be decoded ({reason}); replace the file with an intact copy"
        ) from error


def read_image(path: Path) -> Image.Image:
    """Reads an image as 8-bit RGB.

    An EXIF orientation is not applied: annotations are in the stored pixel grid.

    Raises:
        DataError: Missing, truncated, too large, or of more than 8 bits a channel.
    """
    with opened(path) as image:
        if image.mode.startswith("I") or image.mode == "F":
            raise DataError(
                f"{path}: holds {image.mode} values, more than 8 bits a channel; "
                "convert the image to 8-bit RGB"
            )
        # convert() on an RGB file copies; load() is enough and keeps the pixels after close.
        if image.mode == "RGB":
            image.load()
            return image
        return image.convert("RGB")


def read_mask(path: Path) -> npt.NDArray[Any]:
    """Reads a mask's raw values as stored: palette indices, grey levels or 16 bits.

    Returns:
        (H, W) uint8, uint16 or int32.

    Raises:
        DataError: Missing, truncated, too large, or a colour picture.
    """
    with opened(path) as image:
        if image.mode not in _MASK_MODES:
            raise DataError(
                f"{path}: a mask must be a palette, grey or 16-bit PNG of class ids, but this "
                f"is a colour picture (mode {image.mode}); store ids, not colours"
            )
        values: npt.NDArray[Any] = np.asarray(image)
    if values.dtype == np.bool_:
        return values.view(np.uint8)
    # Pillow names 16-bit modes by byte order; the rest of the program wants the native one.
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_color_codes(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a picture whose colours are numbers, as COCO's panoptic PNGs.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: Missing, truncated, too large, or of another kind than 8-bit RGB.
    """
    with opened(path) as image:
        if image.mode != "RGB":
            raise DataError(
                f"{path}: must be an 8-bit RGB picture whose colours are numbers, but has the "
                f"mode {image.mode}; restore the original file"
            )
        return np.asarray(image)


def mask_suffix(classes: int) -> str:
    """Suffix of masks: ".png" (16 bits) while all ids and the ignore value fit, else ".tif"."""
    return ".png" if classes <= IGNORE_ON_DISK else ".tif"


def write_mask(path: Path, mask: npt.NDArray[Any]) -> None:
    """Writes a mask of disk ids, atomically: 16-bit PNG or, for ".tif", 32-bit TIFF.

    Args:
        path: Ends in ".png" or ".tif"; its folder exists.
        mask: (H, W) uint16 for PNG, int32 for TIFF.
    """
    buffer = io.BytesIO()
    if path.suffix == ".png":
        # Level 1: masks are flat areas, and level 6 is four times slower for little.
        Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint16)).save(
            buffer, format="PNG", compress_level=1
        )
    else:
        Image.fromarray(np.ascontiguousarray(mask, dtype=np.int32)).save(
            buffer, format="TIFF", compression="tiff_deflate"
        )
    # Not runs.atomic: thousands of small masks a second, where one fsync each would cost
    # more than the work. A mask that a power cut leaves torn is found when it is read.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)
