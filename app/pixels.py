"""Label maps as pictures that a browser takes: no Streamlit, all tested."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def data_url(image: Image.Image, *, quality: int | None = None) -> str:
    """Packs a picture into a URL: JPEG of the given quality, or PNG without one."""
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, format="PNG", compress_level=3)
        kind = "png"
    else:
        image.convert("RGB").save(buffer, format="JPEG", quality=quality)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def encode_ids(mask: npt.NDArray[np.int64]) -> Image.Image:
    """Writes class ids into colours without loss, for a canvas to read back.

    Args:
        mask: (H, W) train ids up to 2**24 - 2; negative = ignored.

    Returns:
        RGB picture: red + 256 green + 65536 blue = id + 1, and 0 = ignored.
    """
    shifted = np.where(mask < 0, 0, mask + 1)
    channels = [(shifted >> shift) & 255 for shift in (0, 8, 16)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
