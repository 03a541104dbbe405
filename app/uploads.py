"""Pictures people hand in: read safely, turned upright, brought to eight bits of RGB.

Everything happens in memory; nothing is written anywhere.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from workbench.datasets.pictures import orientation_of

MAX_BYTES: Final = 20 * 2**20
MAX_PIXELS: Final = 24_000_000
WORK_PIXELS: Final = 400_000
"""What the model is shown at most: memory and time grow with it."""
MIN_SIDE: Final = 16
TYPES: Final = ("jpg", "jpeg", "png", "webp")

_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What Pillow raises over damaged files, depending on where they are damaged.
_DAMAGED = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError),
    *(AttributeError, OverflowError, MemoryError, struct.error, zlib.error),
)


class UploadError(Exception):
    """A picture that cannot be taken; the message is for the person who handed it in."""


class Upload(NamedTuple):
    """A picture ready for the model.

    Attributes:
        image: RGB, upright.
        notes: What was done to it, in words.
    """

    image: Image.Image
    notes: tuple[str, ...]


def limits() -> str:
    """What is taken, in words."""
    return (
        f"JPEG, PNG or WebP, up to {MAX_BYTES // 2**20} MB and {MAX_PIXELS // 10**6} megapixels; "
        f"larger than {WORK_PIXELS / 1e6:g} megapixel is scaled down for the model. "
        "The picture stays in memory and is never saved."
    )


def read_upload(content: bytes) -> Upload:
    """Reads a picture file.

    Raises:
        UploadError: It is no JPEG, PNG or WebP, damaged, too large or too small.
    """
    if not content:
        raise UploadError("This file is empty. Choose a JPEG, PNG or WebP picture.")
    if len(content) > MAX_BYTES:
        raise UploadError(
            f"This file has {len(content) / 2**20:.0f} MB; the limit is {MAX_BYTES // 2**20} MB. "
            "Save it smaller and try again."
        )
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as file:
            _check_size(*file.size)
            return _prepared(file)
    except _BOMB as error:
        raise _too_large("more pixels than can be read safely") from error
    except UnidentifiedImageError as error:
        raise UploadError(
            "This is no JPEG, PNG or WebP picture (or its beginning is damaged)."
        ) from error
    except _DAMAGED as error:
        raise UploadError(
            "This picture is damaged or cut off and cannot be read. Save or download it again."
        ) from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width:,} × {height:,} pixels")
    if min(width, height) < MIN_SIDE:
        raise UploadError(
            f"This picture has {width} × {height} pixels; at least {MIN_SIDE} a side are needed."
        )


def _too_large(what: str) -> UploadError:
    return UploadError(
        f"This picture has {what}; the limit is {MAX_PIXELS // 10**6} megapixels. "
        "Save it smaller and try again."
    )


def _prepared(file: Image.Image) -> Upload:
    notes = []
    if getattr(file, "n_frames", 1) > 1:
        notes.append("only its first frame is used")
    scale = min(1.0, (WORK_PIXELS / (file.width * file.height)) ** 0.5)
    size = (file.width, file.height)
    target = (max(1, int(size[0] * scale)), max(1, int(size[1] * scale)))
    if min(target) < MIN_SIDE:
        raise UploadError(
            f"This picture ({size[0]:,} × {size[1]:,}) is too narrow to be scaled down to "
            f"{WORK_PIXELS / 1e6:g} megapixel."
        )
    file.draft("RGB", target)  # a large JPEG is decoded small: less time, less memory
    file.load()
    orientation = orientation_of(file)
    image = _to_rgb(file, notes)
    if scale < 1:
        notes.append(f"scaled from {size[0]:,} × {size[1]:,} to {target[0]:,} × {target[1]:,}")
        image = image.resize(target, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if orientation is not None:
        image = image.transpose(orientation)
        notes.append("turned upright as its EXIF data says")
    return Upload(image, tuple(notes))


def _to_rgb(file: Image.Image, notes: list[str]) -> Image.Image:
    """Eight bits of RGB; transparent parts become white."""
    mode = file.mode
    if mode.startswith("I") or mode == "F":
        notes.append("16-bit grey was brought to 8 bits")
        grey = (np.clip(np.asarray(file), 0, 2**16 - 1).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in file.info:
        clear = file.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent parts are shown white")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    if mode == "CMYK":
        notes.append("CMYK was turned into RGB without its colour profile")
    return file.convert("RGB")
