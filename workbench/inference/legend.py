"""A picture with the names of its classes below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

_TEXT: Final = 14  # pixels
_LINE: Final = 22
_SWATCH: Final = 12
_GAP: Final = 6
_LONGEST: Final = 32  # letters of a name
_NARROWEST: Final = 240


def with_legend(
    picture: Image.Image, entries: Sequence[tuple[str, npt.NDArray[np.uint8]]], *, more: int = 0
) -> Image.Image:
    """Adds lines of coloured squares and names, on white.

    Args:
        picture: RGB.
        entries: Text and colour (3,) of each class.
        more: How many classes are not named.

    Returns:
        A larger picture; no narrower than a name.
    """
    font = ImageFont.load_default(_TEXT)
    width = max(picture.width, _NARROWEST)
    swatches = [(_shortened(name), tuple(map(int, color))) for name, color in entries]
    places, x, line = [], _GAP, 0
    for text, color in [*swatches, *([(f"and {more} more", None)] if more else [])]:
        wide = (_SWATCH + _GAP if color else 0) + int(font.getlength(text)) + 2 * _GAP
        if x + wide > width and x > _GAP:
            x, line = _GAP, line + 1
        places.append((x, line, text, color))
        x += wide
    canvas = Image.new("RGB", (width, picture.height + (line + 1) * _LINE + _GAP), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for x, line, text, color in places:
        top = picture.height + line * _LINE + _GAP
        if color is not None:
            draw.rectangle((x, top + 1, x + _SWATCH, top + 1 + _SWATCH), fill=color, outline="gray")
            x += _SWATCH + _GAP
        draw.text((x, top - 2), text, fill="black", font=font)
    return canvas


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
